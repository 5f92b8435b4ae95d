"""mmcv's compiled operators on torchvision and torch, for an mmcv that was installed without a compiler.

mmdet imports `mmcv.ops`, and that imports the compiled module `mmcv._ext`. `install()` appends a finder to `sys.meta_path`
that offers a stand-in for `mmcv._ext`. A finder at the end is asked last: where the compiled module exists, it is used and
the stand-in never is. Nothing of mmcv is imported here.

The stand-in has what the detectors of mmdet use in training and testing, in mmcv's calling convention (outputs are written into
tensors that the caller made). On CPU and GPU, in any floating dtype; what torchvision lacks in half precision is computed in
float32. Of every other operator it is told when a module is made that needs it (`gemnet.mmcv_ops.missing`), or at the latest when
it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from gemnet.mmcv_ops import deform, focal_loss, nms, reassembly, roi, sync_bn

EXTENSION = "mmcv._ext"


class OperatorMissing:
    """Stands for an operator of mmcv that is not offered here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(refusal(f"mmcv's operator {self.name!r} is not offered"))


def refusal(what: str) -> str:
    """`what`, why, and the remedy."""
    return (
        f"{what}: mmcv was installed without its compiled operators, and gemnet.mmcv_ops stands in for those of mmdet's detectors "
        "only. To compile mmcv, unpack its source, set -std=c++20 in its setup.py where torch wants that, and there: "
        "MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --force-reinstall . (all commands: README.md, 'No compiler "
        "is needed')"
    )


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
    """The stand-in for `mmcv._ext`."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):  # what the import system and pickle ask every module for
            raise AttributeError(name)
        return OPERATORS.get(name) or OperatorMissing(name)


class Finder(MetaPathFinder, Loader):
    """Finds the stand-in where nothing else finds the compiled module."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == EXTENSION else None

    def create_module(self, spec: ModuleSpec) -> Extension:
        return Extension(spec.name, __doc__)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Offer the stand-in from now on; a second call changes nothing."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
