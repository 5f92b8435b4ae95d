"""What a detector's predictions are worth: COCO's figures, a class at a time, and the mistakes on each image."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from gemnet.annotations.boxes import overlaps
from gemnet.detection.coco_dataset import indexed

SCORES = tuple(step / 100 for step in range(5, 96, 5))
"""The scores to choose from, from which on a prediction is counted and drawn."""
OVERLAP = 0.5
"""The intersection over union from which on a prediction is an object's."""
BACKGROUND = "nothing"
"""The row and column of the table of confusions for what is not there, or not found."""


@dataclass(frozen=True)
class Figures:
    """COCO's box AP, from 0 to 1; None where there is nothing to measure against.

    Attributes:
        ap: Mean over classes and overlaps from .5 to .95.
        ap50: At an overlap of .5 alone.
        small: AP of objects below 32 x 32 pixels of the original image; medium and large likewise, above 96 x 96.
        classes: By class: ap, ap50, and the number of its objects.
    """

    ap: float | None
    ap50: float | None
    small: float | None
    medium: float | None
    large: float | None
    classes: dict[str, dict[str, float | int | None]]


@dataclass
class Mistakes:
    """What is right and wrong on one image.

    Attributes:
        image: Its entry in the COCO file.
        truths: Boxes [x, y, width, height] with their class and whether they were found.
        found: Predictions likewise, with their score and whether they are right.
    """

    image: Mapping[str, Any]
    truths: list[tuple[list[float], str, bool]] = field(default_factory=list)
    found: list[tuple[list[float], str, float, bool]] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Objects that are missed and predictions of nothing, or of another class."""
        return sum(not hit for _, _, hit in self.truths) + sum(not right for *_, right in self.found)

    @property
    def share(self) -> float:
        """`wrong` by all objects and predictions."""
        return self.wrong / max(1, len(self.truths) + len(self.found))


def figures(content: dict[str, Any], predictions: Sequence[dict[str, Any]]) -> Figures:
    """COCO's figures by pycocotools, over all images of a COCO file's `content`.

    predictions: In COCO's form, {"image_id", "category_id", "bbox", "score"}.
    """
    names = {one["id"]: one["name"] for one in content["categories"]}
    counts = dict.fromkeys(names, 0)
    for one in content["annotations"]:
        counts[one["category_id"]] += not one.get("iscrowd", 0)
    if not predictions:
        zero = 0.0 if any(counts.values()) else None
        of_classes = {names[key]: _row(0.0 if count else None, 0.0 if count else None, count) for key, count in counts.items()}
        return Figures(zero, zero, None, None, None, of_classes)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = indexed(content)
        evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in predictions]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [overlap, recall, class, area, most detections]
    keys = list(evaluation.params.catIds)
    of_classes = {
        names[key]: _row(_mean(precision[:, :, index, 0, -1]), _mean(precision[0, :, index, 0, -1]), counts[key])
        for index, key in enumerate(keys)
    }
    areas = [_mean(precision[:, :, :, index, -1]) for index in range(4)]
    return Figures(areas[0], _mean(precision[0, :, :, 0, -1]), areas[1], areas[2], areas[3], of_classes)


def _row(ap: float | None, ap50: float | None, objects: int) -> dict[str, float | int | None]:
    return {"ap": ap, "ap50": ap50, "objects": objects}


def _mean(values: np.ndarray) -> float | None:
    """Of what pycocotools could measure: it writes -1 where there is no object."""
    values = values[values > -1]
    return round(float(values.mean()), 4) if values.size else None


def best_score(content: dict[str, Any], predictions: Sequence[dict[str, Any]]) -> float:
    """The score from which on predictions are best counted: of `SCORES`, that of the highest F1 over all classes.

    What a prediction takes depends on surer ones alone, so that the mistakes at the lowest score tell those at all others.
    """
    listed, _ = mistakes(content, predictions, SCORES[0])
    objects = sum(len(entry.truths) for entry in listed)
    found = [(score, right) for entry in listed for _, _, score, right in entry.found]

    def f1(least: float) -> float:
        counted = [right for score, right in found if score >= least]
        return 2 * sum(counted) / max(1, objects + len(counted))

    return max(SCORES, key=f1)


def mistakes(
    content: dict[str, Any], predictions: Sequence[dict[str, Any]], score: float
) -> tuple[list[Mistakes], dict[str, dict[str, int]]]:
    """The mistakes on each image, and the table of confusions: by true class, how often which class was found.

    Predictions of at least `score` take the objects that they overlap most, the surest first, whatever the class.
    """
    names = {one["id"]: one["name"] for one in content["categories"]}
    table = {name: dict.fromkeys([*names.values(), BACKGROUND], 0) for name in [*names.values(), BACKGROUND]}
    truths: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    found: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for one in content["annotations"]:
        if not one.get("iscrowd", 0):
            truths[one["image_id"]].append(one)
    for one in predictions:
        if one["score"] >= score:
            found[one["image_id"]].append(one)
    listed = []
    for image in content["images"]:
        own, sure = truths[image["id"]], sorted(found[image["id"]], key=lambda one: -one["score"])
        entry = Mistakes(image)
        free, hit = set(range(len(own))), [False] * len(own)
        common = overlaps([one["bbox"] for one in sure], [one["bbox"] for one in own])
        for row, one in enumerate(sure):
            name = names[one["category_id"]]
            best = max(free, key=lambda index: common[row, index], default=None)
            if best is None or common[row, best] < OVERLAP:
                table[BACKGROUND][name] += 1
                entry.found.append((one["bbox"], name, one["score"], False))
                continue
            free.discard(best)
            true = names[own[best]["category_id"]]
            table[true][name] += 1
            hit[best] = true == name
            entry.found.append((one["bbox"], name, one["score"], true == name))
        for index in free:
            table[names[own[index]["category_id"]]][BACKGROUND] += 1
        entry.truths = [(one["bbox"], names[one["category_id"]], right) for one, right in zip(own, hit)]
        listed.append(entry)
    return listed, table
