"""Find what a training of mmpretrain left of a classifier: network, weights, classes, and how it sees its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet.checkpoints.class_names import checkpoint_classes
from gemnet.core.errors import DataError, UserError
from gemnet.model_table import short_names
from gemnet.openmmlab import engine

CLASSIFIER = "ImageClassifier"
LAST = "last_checkpoint"
"""mmengine's file of the path of the last checkpoint."""
OF_CELL = ("cell", "target_macs", "target_params", "residual")
SCALE = 255.0
"""mmpretrain's mean and deviation are of bytes, timm's of parts of 1."""


@dataclass(frozen=True)
class TrainedClassifier:
    """What `gemnet.deploy.export.create` needs, and what its model is told.

    Attributes:
        name: Of timm's model.
        checkpoint: The weights; None for random ones.
        num_classes: Of the classifier.
        size: Height and width of the images in pixels.
        settings: Further arguments of the model, as cell and target_macs.
        preprocessing: mean, std, crop_pct and interpolation, as timm's pretrained_cfg has them.
    """

    name: str
    checkpoint: str | None
    num_classes: int
    size: tuple[int, int]
    settings: Mapping[str, Any]
    preprocessing: Mapping[str, Any]


def trained_classifier(
    place: str, checkpoint: str | None = None, options: Mapping[str, Any] | None = None
) -> TrainedClassifier | None:
    """Read the config `place`, or that of the work directory `place`; None where it is a detector's.

    Args:
        place: A config, as gemnet::gemnet_a_imagenet.py, or what `gemnet train` left: its weights are then the best ones, or
            where there are none the last.
        checkpoint: Weights in place of these.
        options: Options of the config (dotted keys).

    Raises:
        DataError: The work directory has not one config.
        UserError: The classifier has a backbone, classes or a pipeline that cannot be exported, or the config cannot be read.
    """
    folder = Path(place)
    config = place
    if folder.is_dir():
        configs = sorted(folder.glob("*.py"))
        if len(configs) != 1 or not (folder / LAST).is_file():
            return None  # no directory of mmengine's
        config, checkpoint = str(configs[0]), checkpoint or str(_weights(folder))
    settings = engine.load_config(config, options)
    if settings.model.type != CLASSIFIER:
        return None
    backbone, head = settings.model.get("backbone") or {}, settings.model.get("head") or {}
    if backbone.get("type") != "gemnet.GEMNet" or backbone.get("in_channels", 3) != 3:
        kind = backbone.get("type")
        raise UserError(f"{config}: model.backbone.type={kind!r} cannot be exported; expected gemnet.GEMNet with 3 channels")
    arch = backbone.get("arch")
    name = "gemnet" if arch is None else short_names().get(arch, arch)
    given = {} if arch is not None else {key: backbone[key] for key in OF_CELL if backbone.get(key) is not None}
    classes = head.get("num_classes")
    if classes is None and checkpoint is not None:
        names = checkpoint_classes(checkpoint).classes
        classes = None if names is None else len(names)
    if classes is None:
        raise UserError(f"{config}: model.head.num_classes is open; give it with --cfg-options model.head.num_classes=N")
    size, preprocessing = _preprocessing(settings, config)
    return TrainedClassifier(name, checkpoint, int(classes), size, given, preprocessing)


def _weights(folder: Path) -> Path:
    """The best checkpoint of a work directory, else its last."""
    best = sorted(folder.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    if best:
        return best[-1]
    last = folder / Path((folder / LAST).read_text(encoding="utf-8").strip()).name
    if not last.is_file():
        raise DataError(f"{folder}: its {LAST} names {last.name}, which is not there; give weights with --checkpoint")
    return last


def _preprocessing(settings: Mapping[str, Any], config: str) -> tuple[tuple[int, int], dict[str, Any]]:
    """Height and width, and timm's names of what the test pipeline and the data preprocessor do."""
    dataset = (settings.get("test_dataloader") or settings.get("val_dataloader") or {}).get("dataset") or {}
    steps = {step["type"]: step for step in dataset.get("pipeline") or ()}
    edge, crop = steps.get("ResizeEdge"), steps.get("CenterCrop")
    values = settings.get("data_preprocessor") or {}
    others = set(steps) - {"LoadImageFromFile", "ResizeEdge", "CenterCrop", "PackInputs"}
    if edge is None or crop is None or edge.get("edge", "short") != "short" or others or not values.get("to_rgb"):
        raise UserError(
            f"{config}: its test pipeline cannot be exported; expected ResizeEdge of the short edge, CenterCrop, "
            "and data_preprocessor with to_rgb=True"
        )
    side = crop["crop_size"]
    height, width = (side, side) if isinstance(side, int) else tuple(side)
    mean, std = ([float(value) / SCALE for value in values[name]] for name in ("mean", "std"))
    share = min(height, width) / edge["scale"]
    told = {"mean": mean, "std": std, "crop_pct": share, "interpolation": edge.get("interpolation", "bilinear")}
    return (int(height), int(width)), told
