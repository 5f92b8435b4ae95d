"""What needs more than the core of gemnet brings: one line that names the extra, instead of a traceback."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from gemnet.core.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {
    "detection": ("mmengine", "mmcv", "mmdet", "mmpretrain", "cv2", "pycocotools", "matplotlib", "rich", "yaml"),
    "search": ("mmengine", "matplotlib", "moocore", "numba", "llvmlite", "rich", "scipy", "sklearn", "threadpoolctl"),
    "export": ("onnx", "onnxruntime", "onnxscript", "onnx_ir"),
    "openvino": ("openvino", "nncf"),
    "ncnn": ("ncnn", "pnnx"),
    "executorch": ("executorch", "torchao"),
    "litert": ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    "ray": ("ray",),
}
"""By extra of pyproject.toml, the modules that it brings and the core does not."""


class MissingExtraError(UserError, ImportError):
    """A library that comes with an extra is not installed; the message has the command that installs it."""


def need(extra: str, *modules: str) -> None:
    """Raises MissingExtraError where one of `modules`, by default all that come with `extra`, is not installed.

    Imports none of them.
    """
    for module in modules or EXTRAS[extra]:
        if sys.modules.get(module) is None and find_spec(module) is None:
            raise MissingExtraError(_message(module, extra))


def missing_extra(error: BaseException) -> MissingExtraError | None:
    """The error that names the extra, where `error` is that, or came of a module that an extra brings; else None."""
    if isinstance(error, MissingExtraError):
        return error
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    extras = [extra for extra, modules in EXTRAS.items() if module in modules]
    if not extras or (sys.modules.get(module) is not None):  # there, but not what the library expects in it
        return None
    return MissingExtraError(_message(module, extras[0]))


def _message(module: str, extra: str) -> str:
    return f'{module} is not installed; install what this needs with: pip install "gemnet[{extra}]"'
