"""A one-stage detector as a network for any runtime, with NumPy beside it for the pixels and the choice of boxes.

The network takes images of one size and gives all boxes with their scores, which every runtime can compute. What goes before
and after it stands in `detector_steps`, which is put beside the file with a JSON and a script.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.deploy import detector_steps
from gemnet.deploy.about import script_of, text_of
from gemnet.deploy.detector_steps import detected
from gemnet.deploy.detectors import Exportable, OneStage, scores_and_deltas
from gemnet.deploy.export import LARGEST_BATCH, METADATA, beside
from gemnet.deploy.preprocessing import Preprocessing
from gemnet.deploy.proof import Found
from gemnet.deploy.runtimes.table import Runtime

STEPS = Path(detector_steps.__file__).name
"""Beside each file."""


class AllBoxes(nn.Module):
    """A one-stage detector up to the choice of its boxes, for images of one size.

    Attributes:
        size: Width and height of the images.
        levels: Boxes of each map.
        test: The settings of the head's tests.
        limits: What decides which boxes are kept.
    """

    priors: Tensor

    def __init__(self, detector: OneStage, size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.neck, self.head, self.size = detector.backbone, detector.neck, detector.head, size
        self.test, self.limits = detector.test, detector.limits
        with torch.no_grad():
            logits = self.head(self.neck(self.backbone(torch.zeros(1, 3, size[1], size[0]))))[0]
            shapes = [one.shape[-2:] for one in logits]
            priors = self.head.prior_generator.grid_priors(shapes, logits[0].dtype, logits[0].device)
        self.levels = [len(of_level) for of_level in priors]
        self.register_buffer("priors", torch.cat(priors), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W], normalised -> boxes [B, N, 4], x1, y1, x2, y2 in their pixels, and scores [B, N, classes]."""
        head, coder = self.head, self.head.bbox_coder
        levels = [scores_and_deltas(head, *maps) for maps in zip(*head(self.neck(self.backbone(images)))[:2])]
        scores, moves = (torch.cat(values, 1) for values in zip(*levels))
        priors = self.priors.expand(moves.shape[0], -1, -1)
        boxes = coder.decode(priors.reshape(-1, self.priors.shape[1]), moves.reshape(-1, coder.encode_size))
        return boxes.reshape(-1, self.priors.shape[0], 4), scores


def of_one_size(steps: Preprocessing, photos: Iterable[tuple[int, int]]) -> tuple[Preprocessing, tuple[int, int]]:
    """The steps with all images filled up to one size, and this size, width and height.

    Where photos, given by width and height, all become images of one size, it is this. Where MMDetection fills them up
    differently, as lying and upright ones, it is a square, whose side is then the divisor.
    """
    sizes = {steps.filled(*photo) for photo in photos}
    if len(sizes) == 1:
        return steps, sizes.pop()
    side = math.ceil(max(steps.largest) / steps.divisor) * steps.divisor
    return replace(steps, divisor=side), (side, side)


def network_of(detector: Exportable, size: tuple[int, int]) -> AllBoxes:
    """The part of a detector that a runtime computes. Raises UserError for a detector of two stages."""
    if not isinstance(detector, OneStage):
        raise UserError("a detector of two stages chooses its proposals within the network: only --to onnx takes it")
    return AllBoxes(detector, size).eval()


def about_network(about: Mapping[str, Any], entry: Runtime, path: Path, network: AllBoxes) -> dict[str, Any]:
    """The JSON beside a file, from what is told of its detector."""
    width, height = network.size
    test, limits = network.test, network.limits
    candidates = test.get("nms_pre", -1)
    if candidates < 1:  # all
        candidates = max(network.levels) * len(about["classes"])
    return {
        **about,
        "runtime": entry.name, "files": [file.name for file in entry.files(path)],
        "input": {
            "name": "images", "type": "float32", "shape": ["batch" if entry.free_batch else 1, 3, height, width],
            "order": about["preprocessing"]["order"],
        },
        "outputs": ["boxes", "scores"],
        "boxes": {  # which `chosen` in the module beside keeps
            "levels": network.levels, "candidates": candidates, "score": limits.score, "overlap": limits.overlap,
            "most": limits.most, "smallest": test.get("min_bbox_size", -1), "cut": bool(network.head.bbox_coder.clip_border),
        },
    }  # fmt: skip


def write_network(network: AllBoxes, about: Mapping[str, Any], entry: Runtime, path: Path) -> Path:
    """Write a detector's network for a runtime to `path`, with what `write_steps` puts beside it; returns the script."""
    width, height = network.size
    free = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    entry.write(network, torch.zeros(2, 3, height, width), path, free, {METADATA: json.dumps(about, ensure_ascii=False)})
    return write_steps(about, entry, path)


def write_steps(about: Mapping[str, Any], entry: Runtime, path: Path) -> Path:
    """Put the JSON, the module of steps and the script beside the file at `path`; returns the script."""
    described, script = (path.with_name(name) for name in beside(path.name))
    save_text(described, text_of(about))
    save_text(path.with_name(STEPS), Path(detector_steps.__file__).read_text(encoding="utf-8"))
    text = script_of(entry, described.name, "detector_runner.py")
    save_text(script, text.replace("from gemnet.deploy.detector_steps", f"from {detector_steps.__name__.rpartition('.')[2]}"))
    return script


class NetworkDetector:
    """A detector's file in its runtime, with the steps beside it."""

    def __init__(self, entry: Runtime, path: Path, about: Mapping[str, Any]) -> None:
        self.run, self.about = entry.open(path), dict(about)

    def __call__(self, photos: np.ndarray) -> list[Found]:
        """What is on each of some photos of one size, uint8 [B, H, W, 3] in RGB."""
        return [Found(*map(torch.from_numpy, found)) for found in detected(self.run, photos, self.about)]
