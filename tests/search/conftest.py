import pytest

from search.core.parts import REGISTRIES


@pytest.fixture(autouse=True)
def registered_parts_go(monkeypatch):
    """What a test registers is forgotten after it."""
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
