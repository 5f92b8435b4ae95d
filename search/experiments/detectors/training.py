"""One training of the comparison: warm-up, training, and its only look at the test images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import gemnet.openmmlab  # noqa: F401 - before mmdet's data sets, whose note on a missing library it leaves out
from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.core.machine import cores, processor
from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.measures import figures
from search.core.json_lines import LOCK
from search.experiments.detectors.budget import Pace
from search.experiments.detectors.outcome import Trained
from search.experiments.detectors.tasks import METHODS, Task, prepared_data
from search.record.study import take_lock

ROW, TRAINED, TASK = "row.json", "trained.json", "task.json"
"""In the folder of a training: its line for the record, what is known before the test, and the mark of a folder of ours."""
PLACE = "training"
"""The folder of weights, logs and prepared data."""


@dataclass(frozen=True)
class Method:
    """How a method is trained, and how it predicts on the test images."""

    train: Callable[[Task, Prepared], Trained]
    predict: Callable[[Task, Prepared, Trained], list[dict[str, Any]]]


def method(name: str) -> Method:
    """The method of this name; the libraries of others are not imported. Raises UserError for a name that is not known."""
    if name in METHODS and name.startswith("gemnet_"):
        from search.experiments.detectors import mm

        return Method(mm.train_gemnet, mm.predict_gemnet)
    if name == "rtmdet_tiny":
        from search.experiments.detectors import mm

        return Method(mm.train_rtmdet, mm.predict_rtmdet)
    if name == "ssdlite320":
        from search.experiments.detectors import ssdlite

        return Method(ssdlite.train_ssdlite, ssdlite.predict_ssdlite)
    if name == "yolo11n":
        from search.experiments.detectors import yolo

        return Method(yolo.train_yolo, yolo.predict_yolo)
    raise UserError(f"--methods {name}: no such method; expected some of {', '.join(METHODS)}")


def train(task: Task) -> dict[str, Any]:
    """Train, test once, and leave the row of the record in the training's folder.

    Returns:
        The row; see `record`.

    Raises:
        UserError: Something that the user can mend, as by the method, or another process trains in this folder.
    """
    torch.set_num_threads(1)
    outer = task.work_dir.absolute()
    outer.mkdir(parents=True, exist_ok=True)
    lock = take_lock(outer / LOCK)
    try:
        return _train(replace(task, work_dir=outer / PLACE), outer)
    finally:
        os.close(lock)


def _train(task: Task, outer: Path) -> dict[str, Any]:
    chosen = method(task.method)
    trained = _ended(task, outer)
    if trained is None:
        _begin(task, outer)
    prepared = prepared_data(task.data, task.folder, task.work_dir)
    if trained is None:
        trained = chosen.train(task, prepared)
        save_text(outer / TRAINED, json.dumps(asdict(trained), default=str) + "\n")
    content = json.loads(prepared.files["test"].read_text(encoding="utf-8"))
    found = chosen.predict(task, prepared, trained)
    save_text(outer / "test.bbox.json", json.dumps(found) + "\n")
    tested = figures(content, found)
    pace = trained.pace
    row = {
        "data": task.data, "method": task.method, "seed": task.seed, "budget": task.budget,
        "AP": tested.ap, "AP50": tested.ap50, "classes": tested.classes,
        "areas": {"small": tested.small, "medium": tested.medium, "large": tested.large},
        "epochs": trained.epochs, "images": trained.images,
        "cpu_seconds": round(trained.cpu_seconds, 1), "wall_seconds": round(trained.wall_seconds, 1),
        "warm_up": {"epoch": round(pace.epoch, 2), "validation": round(pace.validation, 2), "start": round(pace.start, 2)},
        "validation": [[round(epoch, 2), round(ap, 4)] for epoch, ap in trained.curve],
        "settings": dict(trained.settings),
        "split": dict(prepared.images),
        "versions": {name: version(name) for name in ("torch", "torchvision")},
        "machine": f"{processor()}, {cores()} cores", "date": date.today().isoformat(),
    }  # fmt: skip
    save_text(outer / ROW, json.dumps(row) + "\n")
    return row


def _identity(task: Task) -> str:
    return json.dumps([*task.key, str(task.folder.resolve())]) + "\n"


def _begin(task: Task, outer: Path) -> None:
    """An empty folder for a training, in the place of one that was stopped; a folder that is not ours stays as it is.

    Raises UserError where there is such a folder.
    """
    if task.work_dir.exists():
        if not (outer / TASK).is_file():
            raise UserError(f"{task.work_dir}: exists, and is no training of this command; name another --work-dir")
        shutil.rmtree(task.work_dir)
    for name in (TRAINED, ROW):
        (outer / name).unlink(missing_ok=True)
    task.work_dir.mkdir(parents=True)
    save_text(outer / TASK, _identity(task))


def _ended(task: Task, outer: Path) -> Trained | None:
    """What an earlier call of the same task left when its training had ended, but not its test."""
    try:
        if (outer / TASK).read_text(encoding="utf-8") != _identity(task):
            return None
        kept = json.loads((outer / TRAINED).read_text(encoding="utf-8"))
        return Trained(**{**kept, "pace": Pace(**kept["pace"]), "weights": Path(kept["weights"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
