"""A trained detector or classifier with its test pipeline: path of an image -> what is on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemnet.openmmlab  # noqa: F401  # offers mmcv's operators, which mmdet imports

# isort: split
import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope

from gemnet.checkpoints.class_names import Colour, classes_of
from gemnet.checkpoints.meta import checkpoint_meta, recipe_of
from gemnet.core.errors import DataError, UserError
from gemnet.openmmlab import engine, recipe
from gemnet.openmmlab.classes import configured_classes, settle_classes
from gemnet.weights import load_weights

TOP = 5
"""Classes that are told of an image by a classifier."""


@dataclass(frozen=True)
class Prediction:
    """What is on one image of `size` (height, width): labels [N] and their scores [N].

    A detector's boxes [N, 4] are corners x1, y1, x2, y2 in pixels; a classifier's are None.
    """

    labels: list[int]
    scores: list[float]
    boxes: list[list[float]] | None
    size: tuple[int, int]


class Predictor:
    """A model of MMDetection or MMPretrain, with its weights and the names of its classes.

    `classes` are the checkpoint's, else those that the config names; None where neither does. The images' size is that of the
    checkpoint's training, which standard error tells, unless the `options` that the config was loaded with set another. Without
    a checkpoint the weights are random. Raises UserError for a device that cannot be used, and where checkpoint, config and
    head have other classes; WeightsError for the checkpoint.
    """

    def __init__(
        self, config: Config, checkpoint: str | None, device: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        place = usable_device(device)
        meta = checkpoint_meta(checkpoint) if checkpoint else {}
        names, self.palette = classes_of(meta)
        line = recipe.adopt_image_size(config, recipe_of(meta), options)
        if line:
            print(f"predict: {line}", file=sys.stderr, flush=True)
        settle_classes(config, names, checkpoint or "")
        engine.complete(config)
        if "data_preprocessor" in config:
            config.model.setdefault("data_preprocessor", config.data_preprocessor)
        scope = config.get("default_scope", "mmdet")
        if not DefaultScope.check_instance_created(f"predict_{scope}"):
            DefaultScope.get_instance(f"predict_{scope}", scope_name=scope)
        with DefaultScope.overwrite_default_scope(scope):
            self.model = MODELS.build(config.model)
            pipeline = config.test_dataloader.dataset.pipeline
            self.pipeline = Compose([step for step in pipeline if step["type"] != "LoadAnnotations"])
        engine.check_parts(self.model)
        if checkpoint:
            load_weights(self.model, checkpoint)
        else:
            self.model.init_weights()
        self.classes = configured_classes(config) if names is None else names
        if self.classes is not None:
            engine.check_classes(self.model, self.classes, checkpoint if checkpoint and names else str(config.filename))
        self.detects = isinstance(self.model, BaseDetector)
        self.model.to(place).eval()

    def __call__(self, path: Path) -> Prediction:
        """Raises DataError for an image that cannot be read, and where the model gives no numbers for it."""
        return self._predict({"img_path": str(path)}, str(path))

    def on_pixels(self, image: np.ndarray, name: str) -> Prediction:
        """The prediction for pixels [H, W, 3], uint8, BGR. Raises DataError, which has the name, as for a file."""
        return self._predict({"img": image}, name)

    def _predict(self, loaded: dict[str, Any], path: str) -> Prediction:
        data = self.pipeline({**loaded, "img_id": 0})
        if data is None:
            raise DataError(f"{path}: cannot be read")
        with torch.no_grad():
            sample = self.model.test_step({"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]})[0]
        if "pred_instances" in sample:
            found = sample.pred_instances
            boxes, scores, labels = found.bboxes.cpu(), found.scores.cpu(), found.labels.cpu()
        else:
            scores, labels = sample.pred_score.cpu().topk(min(TOP, len(sample.pred_score)))
            boxes = None
        if not scores.isfinite().all() or (boxes is not None and not boxes.isfinite().all()):
            raise DataError(f"{path}: the model gives no numbers for it (NaN or infinity)")
        height, width = sample.ori_shape[:2]
        size = int(height), int(width)
        return Prediction(labels.tolist(), scores.tolist(), None if boxes is None else boxes.tolist(), size)

    def objects(self, found: Prediction, threshold: float) -> list[dict[str, Any]]:
        """What is told of the objects with at least that score: box (x, y, width, height in pixels), score, class."""
        rows = zip(found.boxes or [], found.scores, found.labels)
        return [
            {
                "box": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 4), "class": self.name(label),
            }
            for (x1, y1, x2, y2), score, label in rows if score >= threshold
        ]  # fmt: skip

    def marks(self, found: Prediction, threshold: float) -> list[tuple[list[float] | None, str, Colour]]:
        """What is drawn of a prediction: corners of a box, its text, its colour; of a classifier's without a box."""
        boxes: Sequence[list[float] | None] = found.boxes or [None] * len(found.labels)
        rows = zip(boxes, found.scores, found.labels)
        return [
            (box, f"{self.name(label)} {score:.2f}", self.colour(label))
            for box, score, label in rows
            if box is None or score >= threshold
        ]

    def name(self, label: int) -> str:
        """The class of a label, or its number where the classes are not named."""
        return str(label) if self.classes is None else self.classes[label]

    def colour(self, label: int) -> Colour:
        palette = self.palette or PALETTE
        return palette[label % len(palette)]


PALETTE = ((220, 20, 60), (0, 82, 204), (0, 130, 70), (204, 102, 0), (128, 0, 160), (0, 120, 140), (150, 100, 40), (90, 90, 90))


def usable_device(name: str | None) -> torch.device:
    """The device of that name, or the GPU if there is one. Raises UserError where nothing can be computed on it."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--device {name}: cannot be used ({reason}); expected cpu, or cuda:0, ... where there are GPUs"
        ) from error
    return torch.device(device)
