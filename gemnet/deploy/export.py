"""A trained network in a form for deployment: ONNX, TorchScript or torch.export, normalisation folded, outputs checked.

What is written is read again and compared with eager on random images, of several sizes where height and width are free; where
it differs by more than the tolerance, the file is removed and ExportError tells by how much.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from gemnet.checkpoints.class_names import checkpoint_classes
from gemnet.core.errors import UserError
from gemnet.core.extras import need
from gemnet.fusion import fused
from gemnet.model_table import MODELS
from gemnet.network import GEMNet
from gemnet.weights import load_classifier, load_features

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest output (at least 1)."""
BATCHES = (2, 1, 5)
"""Batch sizes that are compared; the first is the one that is traced."""
SIZES = ((1, 1), (7, 20), (33, 47), (64, 131), (97, 64))
"""Heights and widths that are compared beside the given one where they are free: tiny, odd, high and wide."""


class ExportError(UserError):
    """A target that is not offered, or an export that does not compute what the model does."""


def create(
    name: str,
    checkpoint: str | None = None,
    num_classes: int = 1000,
    in_chans: int = 3,
    features: bool = False,
    prefix: str | None = None,
    weights: str | None = None,
    **settings: Any,
) -> GEMNet:
    """timm's model `name`, one of ours, with the weights of a checkpoint of any library; settings that are None are left out.

    Without a checkpoint, the weights are random, which is told, as is what was taken from a checkpoint. The names of its
    classes, if it has them, are the model's `class_names`, and go into the exported files. features: only the
    maps are wanted, so that a detector's checkpoint will do. prefix, weights: as `gemnet.weights.load_weights`. Raises
    ExportError for a model that is not ours, WeightsError for a checkpoint that does not fit.
    """
    if name not in (*MODELS, "gemnet"):
        raise ExportError(f"model {name!r} is not offered; expected {', '.join(MODELS)} or gemnet")
    given = {key: value for key, value in settings.items() if value is not None}
    budget = [key for key in given if key in ("cell", "target_macs", "target_params", "residual")]
    if budget and name != "gemnet":
        raise ExportError(f"{', '.join(budget)}: only for the model gemnet, which takes a cell")
    if checkpoint is None and (prefix, weights) != (None, None):
        raise ExportError("a prefix or a kind of weights: only with a checkpoint")
    model = cast(GEMNet, timm.create_model(name, num_classes=0 if features else num_classes, in_chans=in_chans, **given))
    if checkpoint is None:
        print(f"{name}: no checkpoint is given: its weights are random", file=sys.stderr)
    elif features:
        taken, left_out = load_features(model, checkpoint, prefix, weights)
        print(taken)
        if left_out:
            print(f"{checkpoint}: no weights of {', '.join(left_out)} are in it: their maps are left out")
    else:
        print(load_classifier(model, checkpoint, prefix, weights))
        # torch takes every attribute of a module for a tensor or a module.
        model.class_names = checkpoint_classes(checkpoint).classes  # type: ignore[assignment]
    return model


def _class_names(model: nn.Module) -> dict[str, str]:
    """What a file is given of its classes, which `create` found in the checkpoint: a JSON list of names under "classes"."""
    names = getattr(model, "class_names", None)
    return {CLASSES: json.dumps(names, ensure_ascii=False)} if names else {}


class Features(nn.Module):
    """The network's stages as a tuple of maps, and last the head convolution's, if any: what a detector's neck takes."""

    def __init__(self, network: GEMNet) -> None:
        super().__init__()
        self.stem, self.stages, self.head_conv = network.stem, network.stages, network.head_conv

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [B, C, H, W] -> maps [B, C_i, ceil(H / 2^i), ceil(W / 2^i)]."""
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        if not isinstance(self.head_conv, nn.Identity):
            outputs.append(self.head_conv(x))
        return tuple(outputs)


Run = Callable[[Tensor], Sequence[Tensor]]
CLASSES = "classes"
"""Under which a file has the names of its classes: ONNX's metadata, the extra files of TorchScript and torch.export."""
Dimensions = dict[int, torch.export.Dim]
"""The free dimensions of the images by their place: batch, and height and width where they are free."""


def _onnx(model: nn.Module, example: Tensor, path: Path, free: Dimensions) -> Run:
    need("export", "onnx", "onnxruntime", "onnxscript")
    import onnxruntime

    names = [f"output{index}" for index in range(len(_tuple(model(example))))]
    program = torch.onnx.export(
        model, (example,), None, input_names=["images"], output_names=names, dynamic_shapes=(free,), dynamo=True, verbose=False
    )
    if program is None:  # as it is without dynamo
        raise ExportError("torch.onnx gave no program")
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces with the paths of this machine
    program.model.metadata_props.update(_class_names(model))
    program.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(output) for output in session.run(None, {"images": images.numpy()})]


def _torchscript(model: nn.Module, example: Tensor, path: Path, free: Dimensions) -> Run:
    traced = torch.jit.trace(model, example, check_trace=False)  # every dimension is free
    torch.jit.save(traced, str(path), _extra_files=_class_names(model))
    loaded = torch.jit.load(str(path))
    return lambda images: _tuple(loaded(images))


def _torch_export(model: nn.Module, example: Tensor, path: Path, free: Dimensions) -> Run:
    program = torch.export.export(model, (example,), dynamic_shapes=(free,), strict=False)
    torch.export.save(program, str(path), extra_files=_class_names(model))
    loaded = torch.export.load(str(path)).module()
    return lambda images: _tuple(loaded(images))


FORMATS: dict[str, tuple[str, Callable[[nn.Module, Tensor, Path, Dimensions], Run]]] = {
    "onnx": (".onnx", _onnx),
    "torchscript": (".pt", _torchscript),
    "torch.export": (".pt2", _torch_export),
}
"""Name of a format -> ending of its files, and how to write one."""


def smallest_side(model: GEMNet, form: str) -> int:
    """The smallest height and width, in pixels, of an export in which they are free.

    torch.export takes a side of 1 for a constant, so there the last map must be more than one position high and wide.
    """
    return model.architecture.stride + 1 if form == "torch.export" else 1


def export(
    model: GEMNet,
    path: str | Path,
    form: str = "onnx",
    input_size: tuple[int, int, int] = (3, 224, 224),
    features: bool = False,
    fold: bool = True,
    tolerance: float = TOLERANCE,
    dynamic_size: bool = False,
) -> float:
    """Write `model`, a GEMNet of timm's kind, to `path`; returns the largest relative difference from eager.

    form: one of FORMATS. The batch is free, as the dimension `batch`; height and width are `input_size`'s, or, with
    `dynamic_size`, free from `smallest_side` on, as `height` and `width`. features: the stages' maps, not the logits. fold:
    take `fused`'s form. Raises ExportError for another format or ending, a size that is too small, and where the outputs differ
    by more than `tolerance`; then no file is left.
    """
    path = Path(path)
    if form not in FORMATS:
        raise ExportError(f"format {form!r} is not offered; expected {', '.join(FORMATS)}")
    suffix, write = FORMATS[form]
    if path.suffix != suffix:
        raise ExportError(f"{path}: a file of format {form} ends with {suffix}")
    channels, height, width = input_size
    if min(input_size) < 1:
        raise ExportError(f"input size {input_size}: expected channels, height and width of at least 1")
    free, traced, sizes = {0: torch.export.Dim("batch", min=1, max=65536)}, (height, width), [(height, width)]
    if dynamic_size:
        least = smallest_side(model, form)
        if min(height, width) < least:
            raise ExportError(f"input size {height} x {width}: {form} with a free size takes at least {least} pixels a side")
        symbolic = smallest_side(model, "torch.export")  # which ONNX is made through
        free |= {place: torch.export.Dim(name, min=symbolic) for place, name in ((2, "height"), (3, "width"))}
        traced = (max(height, symbolic), max(width, symbolic))
        sizes += [size for size in (*SIZES, (2 * symbolic + 1, 3 * symbolic)) if min(size) >= least]
    plain = (Features(model) if features else model).eval().cpu()
    exported = fused(plain) if fold else plain
    random = torch.Generator().manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    try:
        with torch.no_grad(), quiet():
            run = write(exported, torch.randn(BATCHES[0], channels, *traced, generator=random), path, free)
            for count, size in product(BATCHES, sizes):
                images = torch.randn(count, channels, *size, generator=random)
                for found, expected in zip(run(images), _tuple(plain(images)), strict=True):
                    if not expected.isfinite().all():
                        raise ExportError("the model's outputs are not finite (NaN or infinity); nothing can be compared")
                    scale = expected.abs().max().clamp(min=1)
                    worst = max(worst, ((found - expected).abs().max() / scale).item())
        if not worst <= tolerance:
            raise ExportError(f"{path}: outputs differ from the model's by {worst:.1e}, more than {tolerance:.0e}")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return worst


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings, which are about other models."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
