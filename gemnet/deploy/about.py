"""What an app must know of an exported network, as one JSON beside its file, and the script that runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.models import get_pretrained_cfg_value
from torch import nn

import gemnet.models
from gemnet.deploy.runtimes.table import Runtime
from gemnet.network import GEMNet

VERSION = 1
CLASSIFIER, FEATURES = "gemnet.classifier", "gemnet.features"
SCORE = 0.01
"""Probability below which the script leaves a class out."""
LOADER = "from gemnet.deploy.runtimes.onnx import load\n"
"""The line of the script's template in whose place the runtime's own function goes."""
PIXELS = (1, 3)
"""Channels that a photo has."""


def about_network(
    model: GEMNet,
    entry: Runtime,
    path: Path,
    input_size: tuple[int, int, int],
    features: bool,
    dynamic_size: bool,
    origin: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Describe the export of a classifier, or of its maps, as plain values for JSON.

    Classes are the names that the checkpoint has, else the numbers from 0. Pictures are resized, cut and normalised as timm
    evaluates the model.
    """
    channels, height, width = input_size
    names = ("mean", "std", "crop_pct", "interpolation")
    settings = getattr(model, "pretrained_cfg", None) or {name: get_pretrained_cfg_value("gemnet", name) for name in names}
    mean, std = ([float(value) for value in settings[name]] for name in ("mean", "std"))
    if channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    classes = getattr(model, "class_names", None)
    sides: list[str | int] = ["height", "width"] if dynamic_size else [height, width]
    return {
        "format": FEATURES if features else CLASSIFIER, "version": VERSION, "gemnet": gemnet.__version__,
        "runtime": entry.name, "files": [file.name for file in entry.files(path)],
        "classes": None if features else list(classes or map(str, range(model.num_classes))),
        "score_threshold": SCORE,
        "input": {
            "name": "images", "type": "float32", "shape": ["batch" if entry.free_batch else 1, channels, *sides],
            "order": "RGB" if channels == 3 else "grey",
        },
        "outputs": _outputs(model) if features else ["logits"],
        "preprocessing": {  # which the app does, as the script beside the file
            "short_edge": int(min(height, width) / settings["crop_pct"] + 1e-6), "interpolation": settings["interpolation"],
            "crop": [height, width], "divided_by": 255, "mean": mean, "std": std,
        },
        "cell": model.architecture.cell.digest(),
        "origin": dict(origin or {}),
    }  # fmt: skip


def origin_of(model: str, checkpoint: str | Path | None) -> dict[str, Any]:
    """Where a network comes from: its name, and name and SHA-256 of the file of its weights."""
    digest = None if checkpoint is None else hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    return {"model": model, "checkpoint": None if checkpoint is None else Path(checkpoint).name, "sha256": digest}


def script_of(entry: Runtime, described: str, template: str = "classifier_runner.py") -> str:
    """The script that runs a network in a runtime, by the JSON `described` beside it."""
    text = Path(__file__).with_name(template).read_text(encoding="utf-8").replace("\n\n\n", "\n\n")
    head, _, rest = text.partition(LOADER)
    text = head.replace("\n\n", "\n") + f"\n{entry.source()}\n" + rest
    return text.replace('"network.json"', json.dumps(described, ensure_ascii=False))


def text_of(about: Mapping[str, Any]) -> str:
    """The JSON's text."""
    return json.dumps(about, ensure_ascii=False, indent=1) + "\n"


def _outputs(model: GEMNet) -> Sequence[Mapping[str, Any]]:
    maps = [{"channels": info["num_chs"], "stride": info["reduction"]} for info in model.feature_info]
    if not isinstance(model.head_conv, nn.Identity):
        maps.append({"channels": model.num_features, "stride": maps[-1]["stride"]})
    return [{"name": f"output{index}", **one} for index, one in enumerate(maps)]
