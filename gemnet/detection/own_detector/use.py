"""Predict with the detector that a work directory holds."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.checkpoints.class_names import checkpoint_classes
from gemnet.core.errors import DataError
from gemnet.core.files import save_text
from gemnet.detection.own_detector.training import BEST, CONFIG, RESULT
from gemnet.detection.predict import predict
from gemnet.detection.watching import Watching

UNKNOWN_SCORE = 0.3
COLUMNS, OF_FRAME = ("image", "class", "score", "x", "y", "width", "height"), ("frame", "seconds")
"""Of predictions.csv; the second only where there are videos."""


def predict_on(
    work_dir: str,
    inputs: Sequence[str],
    out_dir: str,
    score_threshold: float | None = None,
    device: str | None = None,
    watching: Watching | None = None,
) -> int:
    """Predict on images, folders of images, videos and cameras; returns how many could not be predicted on.

    Beside the pictures and predictions.json, which `gemnet.detection.predict.predict` writes to `out_dir`, there are
    `predictions.coco.json`, a COCO file with a score for each annotation, and `predictions.csv`, a line an object, boxes in
    pixels; of videos also the number and time of the frame. An interrupted run writes them of what was done. Raises DataError
    where the work directory has no trained detector, and what `predict` raises.

    score_threshold: Boxes below it are left out; None takes the one that was best on the validation images.
    """
    place = Path(work_dir)
    missing = [name for name in (CONFIG, BEST) if not (place / name).is_file()]
    if missing:
        raise DataError(f"{place}: has no {missing[0]}; expected the work directory of a finished gemnet detect")
    if score_threshold is None:
        score_threshold = _score(place)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # of mmdet's grids
            model = str(place / CONFIG), str(place / BEST)
            return predict(*model, inputs, out_dir, score_threshold, device, watching=watching)
    finally:
        _write_forms(Path(out_dir), checkpoint_classes(place / BEST).classes or ())


def _score(place: Path) -> float:
    """Of the work directory's result, or .3 where it has none."""
    try:
        return min(1.0, max(0.0, float(json.loads((place / RESULT).read_text(encoding="utf-8"))["score"])))
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN_SCORE


def _write_forms(folder: Path, classes: Sequence[str]) -> None:
    try:
        records = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nothing was predicted
        return
    save_text(folder / "predictions.coco.json", json.dumps(coco_form(records, classes), indent=1) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_frame = [name for name in OF_FRAME if any(name in record for record in records)]
    writer.writerow([*COLUMNS, *of_frame])
    for record in records:
        frame = [record.get(name, "") for name in of_frame]
        for one in record["objects"]:
            writer.writerow([record["image"], one["class"], one["score"], *one["box"], *frame])
    save_text(folder / "predictions.csv", text.getvalue())


def coco_form(records: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Records of `predict` as a COCO file with scores; categories are numbered from 1 in the order of the labels."""
    numbers = {name: number for number, name in enumerate(classes, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for key, record in enumerate(records, 1):
        frame = {"frame_id": record["frame"]} if "frame" in record else {}
        images.append({"id": key, "file_name": record["image"], **frame, "width": record["width"], "height": record["height"]})
        for one in record["objects"]:
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": key, "category_id": numbers[one["class"]], "bbox": one["box"],
                    "area": round(one["box"][2] * one["box"][3], 2), "iscrowd": 0, "score": one["score"],
                }
            )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
