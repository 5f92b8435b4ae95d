"""Do what the record lacks, one measurement after the other, and record each that ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gemnet.core.machine import processor
from search.core.display import Display
from search.core.json_lines import Format, Store
from search.core.types import SearchError
from search.evaluation.data import ImageFolder
from search.experiments.lines import Fields, checked_fields, open_lines
from search.experiments.transfer.learning import Images, features, linear, nearest, share_right, tune
from search.experiments.transfer.tasks import FROZEN, Start, Task

FIELDS: Fields = {
    "data": str, "image_size": int, "model": str, "start": str, "way": str, "epochs": int, "labels": (int, float), "seed": int,
    "accuracy": (int, float), "train_images": int, "test_images": int, "seconds": (int, float), "cpu_seconds": (int, float),
    "machine": str,
}  # fmt: skip
"""What a line of the record has."""


def parse(row: Any) -> dict[str, Any]:
    """A line of the record. Raises ValueError, TypeError or KeyError for what is none."""
    checked_fields(row, FIELDS)
    if not 0 <= row["accuracy"] <= 1:
        raise ValueError(f"accuracy is {row['accuracy']}, not between 0 and 1")
    return row


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By which a measurement is known: the data, then what `Task.key` has."""
    names = ("data", "image_size", "model", "start", "way", "epochs", "labels", "seed")
    return tuple(float(row[name]) if name == "labels" else row[name] for name in names)


FORMAT = Format(parse, key, ", line {number}: not a measurement of this comparison: {reason}")


def open_record(path: Path, work_dir: Path | None = None) -> Store[dict[str, Any]]:
    """The record at `path`: see `open_lines`."""
    return open_lines(path, FORMAT, work_dir)


class Comparison:
    """Measurements on one data set: a folder with `train/<class>/` and `val/<class>/`.

    Args:
        root: The folder.
        size: Height and width in pixels that images are cut and resized to.

    Raises:
        SearchError: A folder is missing, an image cannot be read, or the two have other classes.
    """

    def __init__(self, root: Path, size: int) -> None:
        self.name, self.size = root.name or root.resolve().name, size
        self.train, self.test = (_read(root / part, size) for part in ("train", "val"))
        if self.train.classes != self.test.classes:
            raise SearchError(f"{root}: train has the classes {self.train.classes}, val {self.test.classes}; expected the same")
        self._features: dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]] = {}

    def key(self, task: Task) -> tuple[Any, ...]:
        """By which the record knows a measurement here."""
        return self.name, self.size, *task.key

    def run(self, tasks: Sequence[Task], record: Store[dict[str, Any]], display: Display) -> None:
        """Do what the record lacks. Interrupted, it has what had ended; the same call goes on."""
        missing = [task for task in tasks if self.key(task) not in record.rows]
        if len(missing) < len(tasks):
            display.line(f"{len(tasks) - len(missing)} of {len(tasks)} measurements are in the record")
        for number, task in enumerate(missing, 1):
            row = self.measure(task, display)
            record.add(row)
            display.line(f"{number} of {len(missing)}, {task.title}: {row['accuracy']:.1%} in {row['seconds']:.0f} s")

    def measure(self, task: Task, display: Display | None = None) -> dict[str, Any]:
        """The row of a measurement."""
        began, before = time.monotonic(), time.process_time()
        train = self.train.part(task.labels, task.seed)
        if task.way in FROZEN:
            found, tested = self._of(task.start, task.seed, train)
            classes = len(train.classes)
            answers = (
                linear(found, train.labels, tested) if task.way == "linear" else nearest(found, train.labels, tested, classes)
            )
            share = share_right(answers, self.test.labels)
        else:
            network = task.start.build(len(train.classes), task.seed)
            with (display or Display(quiet=True)).progress(task.title) as progress:
                share = tune(network, train, self.test, task.epochs, task.seed, progress=progress)
        model, start, way, epochs, labels, seed = task.key
        return {
            "data": self.name, "image_size": self.size, "model": model, "start": start, "way": way, "epochs": epochs,
            "labels": labels, "seed": seed, "accuracy": round(share, 5), "train_images": len(train.labels),
            "test_images": len(self.test.labels), "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(time.process_time() - before, 1), "machine": processor(),
        }  # fmt: skip

    def _of(self, start: Start, seed: int, train: Images) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of some training images and of all test images. Those of given weights do not depend on the seed."""
        own = (start.model, start.name if start.weights else f"seed {seed}")
        if own not in self._features:
            network = start.build(len(self.train.classes), seed)
            self._features[own] = (features(network, self.train.pixels), features(network, self.test.pixels))
        every, tested = self._features[own]
        return every if train.rows is None else every[train.rows], tested


def _read(folder: Path, size: int) -> Images:
    found = ImageFolder(folder, size)
    pixels, labels = found.read(np.arange(len(found.labels)))
    return Images(pixels, labels, found.classes)
