"""mmcv's compiled operators on torchvision and torch, for an mmcv that was installed without a compiler.

mmdet imports `mmcv.ops`, and that imports the compiled module `mmcv._ext`. `install()` appends a finder to `sys.meta_path`
that offers a stand-in for `mmcv._ext`. A finder at the end is asked last: where the compiled module exists, it is used and
the stand-in never is. Nothing of mmcv is imported here.

The stand-in has what the detectors of mmdet use in training and testing, in mmcv's calling convention (outputs are written into
tensors that the caller made). On CPU and GPU, in any floating dtype; what torchvision lacks in half precision is computed in
float32. A module that needs any other operator says so when it is made (`missing.py`), a function when it is
called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from gemnet.openmmlab.mmcv_ops import deform, focal_loss, nms, reassembly, roi, sync_bn
from gemnet.openmmlab.mmcv_ops.missing import refusal, refuse_modules, replace_fallbacks

EXTENSION = "mmcv._ext"


class OperatorMissing:
    """Stands for an operator of mmcv that is not offered here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise refusal(f"mmcv's operator {self.name!r} is not offered")


def get_compiler_version() -> str:
    return "none, the operators are torchvision's"


def get_compiling_cuda_version() -> str:
    return "none"


OPERATORS: dict[str, Callable[..., Any]] = {
    name: value
    for part in (deform, focal_loss, nms, reassembly, roi, sync_bn)
    for name, value in vars(part).items()
    if getattr(value, "__module__", None) == part.__name__ and callable(value) and not name.startswith("_")
} | {operator.__name__: operator for operator in (get_compiler_version, get_compiling_cuda_version)}


class Extension(ModuleType):
    """The stand-in for `mmcv._ext`. missing: the operators that were asked for and are not offered."""

    def __init__(self, name: str, doc: str | None = None) -> None:
        super().__init__(name, doc)
        self.missing: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):  # what the import system and pickle ask every module for
            raise AttributeError(name)
        if name in OPERATORS:
            return OPERATORS[name]
        self.missing.add(name)
        return OperatorMissing(name)


class Finder(MetaPathFinder, Loader):
    """Finds the stand-in where nothing else finds the compiled module."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == EXTENSION else None

    def create_module(self, spec: ModuleSpec) -> Extension:
        return Extension(spec.name, __doc__)

    def exec_module(self, module: ModuleType) -> None:
        pass


def refuse_missing() -> None:
    """Have the modules of `mmcv.ops`, which was imported, say what they lack; nothing where its operators are compiled."""
    extension = sys.modules.get(EXTENSION)
    if isinstance(extension, Extension):
        refuse_modules(extension.missing)


def install() -> None:
    """Offer the stand-in from now on; a second call changes nothing.

    What of mmdet was imported before, without operators, is given them.
    """
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
        replace_fallbacks()
