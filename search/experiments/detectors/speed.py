"""How fast the networks are in onnxruntime: exported each by its own way, counted by one counter, timed side by side."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from gemnet.bench.benchmark import measure_together
from gemnet.core.files import save_text
from gemnet.core.machine import cores, processor
from gemnet.core.tables import publish
from search.experiments.detectors.onnx_cost import onnx_cost
from search.experiments.detectors.report import PAGE, SPEED_MARKS, SPEEDS, speed_table
from search.experiments.detectors.tasks import IMAGE_SIZE

CLASSES = 80
"""As for COCO, so that params and MACs compare with published ones."""
ROUNDS, WARM_UP = 100, 10


class _Network(nn.Module):
    """Backbone, neck and head of a detector of mmdet; the head's raw maps."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        scores, boxes = self.detector(images, mode="tensor")
        return (*scores, *boxes)


class _SSDNetwork(nn.Module):
    """Backbone and head of a detector of torchvision; the head's raw outputs."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.detector.get_submodule("backbone")(images)
        found = self.detector.get_submodule("head")(list(features.values()))
        return found["cls_logits"], found["bbox_regression"]


def export(method: str, place: Path, yolo_python: Path | None = None) -> Path:
    """Write the network of a method with random weights, for one image of 320 x 320 and 80 classes, as ONNX.

    The outputs are the head's own, before anchors and suppression; the YOLO's export has its boxes decoded, which is a small
    part of it. Raises UserError for the YOLO without its interpreter.
    """
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{method}.onnx"
    if method.startswith("yolo"):
        from search.experiments.detectors import yolo

        return yolo.export(yolo.check_python(yolo_python), method, place)
    images = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    built = network(method).eval()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(built, (images,), path, dynamo=True, verbose=False, external_data=False)
    return path


def network(method: str) -> nn.Module:
    """The network of a method that is built here, with random weights."""
    torch.manual_seed(0)
    if method == "ssdlite320":
        from search.experiments.detectors.ssdlite import build

        return _SSDNetwork(build(CLASSES))
    from search.experiments.detectors import mm

    return _Network(mm.untrained(method, CLASSES))


def measured(methods: Sequence[str], place: Path, yolo_python: Path | None = None, rounds: int = ROUNDS) -> dict[str, Any]:
    """Export and time the networks: one image, one thread, in each round each once, so that what disturbs disturbs all.

    Returns:
        methods: by name params, macs, and seconds (median, fastest, slowest) of a pass; rounds, machine, onnxruntime, date.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    image = np.random.default_rng(0).random((1, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    costs, calls = {}, {}
    for name in methods:
        path = export(name, place, yolo_python)
        costs[name] = onnx_cost(path)
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        calls[name] = lambda session=session: session.run(None, {session.get_inputs()[0].name: image})
    times = measure_together(calls, rounds, WARM_UP)
    found = {name: {"params": costs[name].params, "macs": costs[name].macs, "seconds": asdict(times[name])} for name in methods}
    about = {"rounds": rounds, "machine": f"{processor()}, 1 thread of {cores()} cores", "onnxruntime": onnxruntime.__version__}
    return {"methods": found, **about, "date": date.today().isoformat()}


def write(root: Path, speeds: dict[str, Any]) -> None:
    """Renew the table of speeds and its file below `root`. Raises UserError where the page has no place for it."""
    publish(root, SPEEDS, speeds, PAGE, SPEED_MARKS, speed_table(speeds))


def save(place: Path, speeds: dict[str, Any]) -> Path:
    """Write what was measured as `speed.json`; returns its path."""
    path = place / "speed.json"
    save_text(path, json.dumps(speeds, indent=1) + "\n")
    return path
