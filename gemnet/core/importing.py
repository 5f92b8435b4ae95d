"""What is added to another library when that is imported, in whichever order, so that nothing need import it for that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Context = Callable[[], AbstractContextManager[None]]

AROUND: dict[str, Context] = {}
"""By module, within what it is executed."""


class _Around(Loader):
    """A module's own loader, which executes it within a context once; nothing of this is left on the module."""

    def __init__(self, loader: Loader, context: Context) -> None:
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


def watch(contexts: Mapping[str, Context]) -> None:
    """Have the modules that `contexts` names executed within their contexts; those that are imported already have them now.

    A module that is watched already keeps its context: a second call changes nothing.
    """
    if not any(isinstance(finder, Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, Watch())
    for name in contexts.keys() - AROUND.keys():
        AROUND[name] = contexts[name]
        if name in sys.modules:
            with contexts[name]():
                pass
