"""What gemnet adds when another library is imported, so that `import gemnet` itself imports none of them.

timm comes to know the models, an mmcv without compiled operators finds stand-ins, and the data sets of mmdet and mmpretrain
leave out their note on a library that nobody asked for. Where timm or mmcv is imported already, that happens at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

UNASKED = "Could not import OneDL"
"""How the note begins that the forks of OpenMMLab print, though at the level DEBUG, where their sponsor's library is absent."""


@contextmanager
def _models_after() -> Iterator[None]:
    yield
    import_module("gemnet.models")


@contextmanager
def _operators_before() -> Iterator[None]:
    import_module("gemnet.openmmlab.mmcv_ops")
    yield


@contextmanager
def _missing_told_after() -> Iterator[None]:
    yield
    import_module("gemnet.openmmlab.mmcv_ops").refuse_missing()


@contextmanager
def _without_unasked_note() -> Iterator[None]:
    told = io.StringIO()
    try:
        with redirect_stdout(told):
            yield
    finally:
        sys.stdout.writelines(line for line in told.getvalue().splitlines(True) if not line.startswith(UNASKED))


AROUND: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "timm": _models_after,
    "mmcv": _operators_before,
    "mmcv.ops": _missing_told_after,
    "mmdet.datasets": _without_unasked_note,
    "mmpretrain.datasets": _without_unasked_note,
}


class _Around(Loader):
    """A module's own loader, which executes it within a context once; nothing of this is left on the module."""

    def __init__(self, loader: Loader, context: Callable[[], AbstractContextManager[None]]) -> None:
        self.loader, self.context = loader, context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        with self.context():
            self.loader.exec_module(module)


class Watch(MetaPathFinder):
    """Finds the modules in AROUND as the other finders do, and has them executed within their contexts."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in AROUND:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, Watch))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Around(spec.loader, AROUND[name])
        return spec


def watch() -> None:
    """Begin; for what is imported already, at once. A second call changes nothing."""
    if any(isinstance(finder, Watch) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Watch())
    for name in AROUND.keys() & sys.modules.keys():
        with AROUND[name]():
            pass
