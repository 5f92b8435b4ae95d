"""GEMNet: mobile backbones made of searched cells.

Importing is cheap: what is named here is imported when it is first asked for. timm knows the models as soon as both, timm and
gemnet, are imported, in whichever order; nothing else is changed. What is for OpenMMLab lies in `gemnet.openmmlab`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemnet.core.importing import watch

if TYPE_CHECKING:
    from gemnet.architecture import Architecture
    from gemnet.cell import Cell, CellError
    from gemnet.complexity import BudgetError, fit, network_cost
    from gemnet.fusion import fused
    from gemnet.models import gemnet_a, gemnet_b
    from gemnet.network import GEMNet

__version__ = "0.1.0"
__all__ = [
    "Architecture", "BudgetError", "Cell", "CellError", "GEMNet", "fit", "fused", "gemnet_a", "gemnet_b", "network_cost",
]  # fmt: skip

_HOMES = {
    "Architecture": "architecture",
    "BudgetError": "complexity",
    "Cell": "cell",
    "CellError": "cell",
    "GEMNet": "network",
    "fit": "complexity",
    "fused": "fusion",
    "gemnet_a": "models",
    "gemnet_b": "models",
    "network_cost": "complexity",
}
_MODULES = {*_HOMES.values(), "backbone"}


@contextmanager
def _models_after() -> Iterator[None]:
    yield
    import_module("gemnet.models")


watch({"timm": _models_after})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"gemnet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'gemnet' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gemnet.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
