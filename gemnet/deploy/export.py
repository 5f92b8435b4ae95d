"""A trained network in a form for deployment, normalisation folded, outputs checked, with what an app needs beside it.

What is written is read again in its own runtime and compared with eager: on photos, and on random images, of several sizes
where height and width are free. Where it differs by more than the tolerance, nothing is written.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from gemnet.checkpoints.class_names import checkpoint_classes
from gemnet.core.errors import DataError
from gemnet.core.files import made_apart, save_text
from gemnet.deploy.about import PIXELS, about_network, script_of, text_of
from gemnet.deploy.classifier_runner import prepare
from gemnet.deploy.runtimes.table import ExportError, Run, Runtime, runtime
from gemnet.fusion import fused
from gemnet.images.folders import image_files
from gemnet.model_table import MODELS
from gemnet.network import GEMNet
from gemnet.weights import load_classifier, load_features

__all__ = ["ExportError", "Features", "create", "export", "quiet", "smallest_side"]

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest output (at least 1)."""
BATCHES = (2, 1, 5)
"""Batch sizes that are compared; the first is the one that is traced."""
SIZES = ((1, 1), (7, 20), (33, 47), (64, 131), (97, 64))
"""Heights and widths that are compared beside the given one where they are free: tiny, odd, high and wide."""


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


CLASSES, METADATA = "classes", "gemnet"
"""Under which a file that has a place for it holds the names of its classes, and its whole JSON."""
PHOTOS = Path(__file__).with_name("photos")
"""The photos that an export is compared on where no others are given."""
LARGEST_BATCH = 65536


def smallest_side(model: GEMNet, form: str) -> int:
    """The smallest height and width, in pixels, of an export in which they are free.

    Where sides of 1 are taken for constants, the last map must be more than one position high and wide.
    """
    return 1 if runtime(form).tiny_sizes else model.architecture.stride + 1


def export(
    model: GEMNet,
    path: str | Path,
    form: str = "onnx",
    input_size: tuple[int, int, int] = (3, 224, 224),
    features: bool = False,
    fold: bool = True,
    tolerance: float = TOLERANCE,
    dynamic_size: bool = False,
    images: Sequence[str | Path] = (),
    origin: Mapping[str, Any] | None = None,
) -> float:
    """Write a network for a runtime, with a JSON and a script beside it, once it has shown the same outputs.

    Args:
        model: A GEMNet of timm's kind.
        path: The file. Beside it go, as `beside` names them, a JSON with all that an app must know and, for images of 1 or 3
            channels, a script that needs the runtime, NumPy and Pillow alone; and what else the runtime needs.
        form: The runtime, one of `RUNTIMES`.
        input_size: Channels, height and width. The batch is free.
        features: The stages' maps, not the logits.
        fold: Take `fused`'s form.
        tolerance: The largest difference of an output, relative to the largest output (at least 1).
        dynamic_size: Leave height and width free from `smallest_side` on.
        images: Photos that are compared on; by default those of the package.
        origin: Where the network comes from, for the JSON, as `about.origin_of` tells it.

    Returns:
        The largest relative difference from eager.

    Raises:
        ExportError: For another runtime or ending, a size that is too small or cannot be free, a network that the runtime does
            not take, and where the outputs differ by more than `tolerance`.
        MissingExtraError: What the runtime needs is not installed.
        DataError: A photo cannot be read.
    """
    path, entry = Path(path), runtime(form)
    if path.suffix != entry.ending:
        raise ExportError(f"{path}: a file for {form} ends with {entry.ending}")
    channels, height, width = input_size
    if min(input_size) < 1:
        raise ExportError(f"input size {input_size}: expected channels, height and width of at least 1")
    free, traced, sizes = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}, (height, width), [(height, width)]
    if dynamic_size:
        if not entry.free_size:
            raise ExportError(f"{entry.title} takes images of one size: leave the free size out, or take another runtime")
        least = smallest_side(model, form)
        if min(height, width) < least:
            raise ExportError(f"input size {height} x {width}: {form} with a free size takes at least {least} pixels a side")
        symbolic = smallest_side(model, "torch.export")  # which ONNX is made through
        free |= {place: torch.export.Dim(name, min=symbolic) for place, name in ((2, "height"), (3, "width"))}
        traced = (max(height, symbolic), max(width, symbolic))
        sizes += [size for size in (*SIZES, (2 * symbolic + 1, 3 * symbolic)) if min(size) >= least]
    entry.check()
    plain = (Features(model) if features else model).eval().cpu()
    exported = fused(plain) if fold else plain
    about = about_network(model, entry, path, input_size, features, dynamic_size, origin)
    random = torch.Generator().manual_seed(0)
    with made_apart(path) as made, torch.no_grad():
        batches = BATCHES
        with quiet():
            example = torch.randn(batches[0], channels, *traced, generator=random)
            entry.write(exported, example, made, free, _texts(model, about))
        run, worst = entry.open(made), 0.0
        for count, size in product(batches, sizes):
            pixels = torch.randn(count, channels, *size, generator=random)
            worst = max(worst, _difference(run, plain, pixels))
        for pixels in _photos(images, about["preprocessing"]) if channels in PIXELS else ():
            worst = max(worst, _difference(run, plain, pixels))
        if not worst <= tolerance:
            raise ExportError(f"{path}: outputs differ from the model's by {worst:.1e}, more than {tolerance:.0e}")
        write_beside(entry, made, about)
    return worst


def _texts(model: GEMNet, about: Mapping[str, Any]) -> dict[str, str]:
    """What a file that has a place for texts is given."""
    names = getattr(model, "class_names", None)
    held = {CLASSES: json.dumps(names, ensure_ascii=False)} if names else {}
    return held | {METADATA: json.dumps(about, ensure_ascii=False)}


def _difference(run: Run, plain: nn.Module, images: Tensor) -> float:
    """How far the outputs of a file are from the model's, relative to the largest. Raises ExportError where these are not
    finite, or have other shapes."""
    worst = 0.0
    for found, expected in zip(run(images.numpy()), _tuple(plain(images)), strict=True):
        if not expected.isfinite().all():
            raise ExportError("the model's outputs are not finite (NaN or infinity); nothing can be compared")
        if found.shape != tuple(expected.shape):
            raise ExportError(f"the file's output has the shape {found.shape}, the model's {tuple(expected.shape)}")
        scale = expected.abs().max().clamp(min=1)
        apart = (torch.from_numpy(np.array(found)) - expected).abs().max() / scale
        worst = max(worst, apart.item() if apart.isfinite() else float("inf"))
    return worst


def photos_in(given: Sequence[str | Path]) -> list[Path]:
    """The images in files and folders. Raises DataError where one is missing or a folder has none."""
    found: list[Path] = []
    for path in map(Path, given):
        if not path.exists():
            raise DataError(f"{path}: no such image or folder")
        images = image_files(path) if path.is_dir() else [path]
        if not images:
            raise DataError(f"{path}: no images are in it")
        found += images
    return found


def _photos(given: Sequence[str | Path], steps: Mapping[str, Any]) -> Iterator[Tensor]:
    """The photos that are given, else those of the package, each as the model takes it."""
    for path in given or sorted(PHOTOS.glob("*.jpg")):
        try:
            with Image.open(path) as photo:
                pixels = prepare(photo, dict(steps))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: cannot be read as a picture ({error})") from error
        yield torch.from_numpy(pixels)


def beside(name: str) -> tuple[str, str]:
    """The names of the JSON and of the script beside a file; those of another runtime's file have others."""
    return f"{name}.json", f"run_{name.replace('.', '_')}.py"


def write_beside(entry: Runtime, path: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write the JSON and, for images of 1 or 3 channels, the script beside a file; returns their paths."""
    described, script = (path.with_name(name) for name in beside(path.name))
    save_text(described, text_of(about))
    if len(about["preprocessing"]["mean"]) not in PIXELS or about["input"]["shape"][1] not in PIXELS:
        return [described]
    save_text(script, script_of(entry, described.name))
    return [described, script]


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
