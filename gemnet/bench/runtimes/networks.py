"""The networks that are compared, with random weights, and their files: written for a runtime, read again, beside eager."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gemnet.bench.benchmark import build
from gemnet.deploy.classifier_runner import prepare
from gemnet.deploy.export import LARGEST_BATCH, PHOTOS, quiet
from gemnet.deploy.runtimes.table import ExportError, Run, Runtime
from gemnet.fusion import fused
from gemnet.network import GEMNet

PEER = "torchvision/mnasnet1_3"
"""The network whose time is 1 in the tables."""
NETWORKS = (
    "timm/gemnet_a", "timm/gemnet_b", PEER, "timm/mobilenetv1_100", "timm/mobilenetv4_conv_small", "timm/efficientnet_b0",
)  # fmt: skip
DETECTORS = (
    "gemnet::own_detector_small.py", "gemnet::rtmdet_gemnet_a.py", "gemnet::retinanet_gemnet_a.py",
    "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
)  # fmt: skip
DETECTOR_SIDE = 320
"""Height and width of their images: a phone's."""
WRITING = 20
"""Rounds of timing in whose time a network is written, about: for the ETA."""
SEED = 0
SETTLED_ON = 8
"""Random images that normalisation takes its statistics from, so that no layer's numbers vanish or grow without bound."""
COMPARED_ON = 4
"""Random images that a file and eager are compared on, beside the photos of the package."""
STEPS = {"short_edge": 256, "interpolation": "bicubic", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""How a photo becomes an image for each of the networks, beside the size that is cut out."""


def network(name: str, resolution: int) -> nn.Module:
    """The network `name`, in evaluation mode: the same weights in each process.

    name: As `gemnet.bench.benchmark.build` takes it; with ::, a detector's config, of which it is the network, already folded.
    """

    def settle(model: nn.Module, run: Callable[[Tensor], object]) -> None:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 1.0
                module.train()
        run(torch.randn(SETTLED_ON, 3, resolution, resolution))
        model.eval()

    torch.manual_seed(SEED)
    if "::" in name:
        from gemnet.bench.runtimes.detectors import detector  # which needs OpenMMLab

        return detector(name, resolution, settle)
    model = build(name).eval().requires_grad_(False)
    settle(model, model)
    return model


def folded(model: nn.Module, resolution: int) -> nn.Module:
    """`model` with batch normalisation folded into the convolutions, in place unless it is a GEMNet, of which it is a copy.

    In a pass over an image it is seen which normalisation follows which convolution.
    """
    if isinstance(model, GEMNet):
        return fused(model)
    made: list[tuple[Tensor, nn.Conv2d]] = []  # the tensors are kept: identities are not given twice
    follows: dict[_BatchNorm, nn.Conv2d] = {}

    def convolved(module: nn.Module, _: Any, output: Tensor) -> None:
        made.append((output, cast(nn.Conv2d, module)))

    def normalises(module: nn.Module, inputs: tuple[Tensor]) -> None:
        follows.update({cast(_BatchNorm, module): conv for output, conv in made if output is inputs[0]})

    hooks = [m.register_forward_hook(convolved) for m in model.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(normalises) for m in model.modules() if isinstance(m, _BatchNorm)]
    model(torch.zeros(1, 3, resolution, resolution))
    for hook in hooks:
        hook.remove()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and child in follows:
                conv = follows[child]
                both = fuse_conv_bn_eval(conv, child)
                conv.weight, conv.bias = both.weight, both.bias
                setattr(parent, name, getattr(child, "act", nn.Identity()))  # timm's normalisation has one
    return model


def images(resolution: int) -> Iterator[Tensor]:
    """What a file and eager are compared on: photos and random images, each [1, 3, resolution, resolution]."""
    for path in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(path) as photo:
            yield torch.from_numpy(prepare(photo, {**STEPS, "crop": (resolution, resolution)}))
    yield from torch.randn(COMPARED_ON, 1, 3, resolution, resolution, generator=torch.Generator().manual_seed(SEED))


def file_of(folder: Path, entry: Runtime, name: str) -> Path:
    """Where the network `name` is written for a runtime."""
    return folder / f"{re.sub('[/:.]', '_', name)}{entry.ending}"


def write(entry: Runtime, names: Sequence[str], folder: Path, resolution: int, done: Callable[[int], object]) -> dict[str, Any]:
    """Write networks for a runtime, and read and run them again. done: called after each, with WRITING.

    Returns:
        by name `bytes` of the files and `difference`, the largest of an output from eager's, in parts of the largest output of
        the image; or `refused`, why the runtime does not take it. Normalisation is not yet folded in eager, but in detectors it
        is. Raises MissingExtraError.
    """
    entry.check()
    found: dict[str, Any] = {}
    for name in names:
        with torch.no_grad():
            try:
                found[name] = _written(entry, name, file_of(folder, entry, name), resolution)
            except ExportError as error:
                found[name] = {"refused": str(error).replace(f"{folder}/", "")}
        done(WRITING)
    return found


def _written(entry: Runtime, name: str, path: Path, resolution: int) -> dict[str, Any]:
    model = network(name, resolution)
    compared_on = list(images(resolution))
    expected = [[output.numpy() for output in _all(model(one))] for one in compared_on]
    example = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(SEED))
    with quiet():
        entry.write(folded(model, resolution), example, path, {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)})
    run = entry.open(path)
    apart = max(_difference(run, one, outputs) for one, outputs in zip(compared_on, expected))
    return {"bytes": entry.bytes_of(path), "difference": apart}


def _all(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _difference(run: Run, image: Tensor, outputs: Sequence[np.ndarray]) -> float:
    worst = 0.0
    for found, expected in zip(run(image.numpy()), outputs, strict=True):
        if found.size != expected.size:  # ncnn leaves out an axis of one
            raise ExportError(f"the output has the shape {found.shape}, eager's {expected.shape}")
        if not (np.isfinite(found).all() and np.isfinite(expected).all()):
            raise ExportError("the output is not finite (NaN or infinity)")
        apart = np.abs(found.reshape(expected.shape) - expected)
        worst = max(worst, float(apart.max() / np.abs(expected).max()))
    return worst
