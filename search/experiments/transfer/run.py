"""Do what the record lacks, one measurement after the other, and record each that ends."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from gemnet.core.machine import processor
from search.core.display import Display
from search.core.json_lines import Format, Store
from search.core.processes import RemoteBars, in_processes
from search.core.threads import torch_threads
from search.core.types import SearchError
from search.evaluation.data import ImageFolder
from search.experiments.lines import Fields, checked_fields, open_lines
from search.experiments.transfer.learning import Images, Recipe, features, linear, nearest, share_right, tune
from search.experiments.transfer.tasks import FROZEN, TRIED, Start, Task

FIELDS: Fields = {
    "data": str, "image_size": int, "model": str, "start": str, "way": str, "epochs": int, "labels": (int, float), "seed": int,
    "learning_rate": (int, float), "precision": str, "accuracy": (int, float), "train_images": int, "test_images": int,
    "seconds": (int, float), "cpu_seconds": (int, float), "machine": str,
}  # fmt: skip
"""What a line of the record has."""
HELD_OUT = 0.1
"""The share of the training images by which a learning rate is chosen."""
TELL_SECONDS = 300.0
"""How often a training in a process of its own tells how far it is."""


def parse(row: Any) -> dict[str, Any]:
    """A line of the record. Raises ValueError, TypeError or KeyError for what is none."""
    checked_fields(row, FIELDS)
    if not 0 <= row["accuracy"] <= 1:
        raise ValueError(f"accuracy is {row['accuracy']}, not between 0 and 1")
    return row


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By which a measurement is known: the data, then what `Task.key` has."""
    names = ("data", "image_size", "model", "start", "way", "epochs", "labels", "seed", "learning_rate", "precision")
    return tuple(float(row[name]) if name in ("labels", "learning_rate") else row[name] for name in names)


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
        self.root, self.name, self.size = root, root.name or root.resolve().name, size
        self._folders = [ImageFolder(root / part, size) for part in ("train", "val")]
        train, test = (folder.classes for folder in self._folders)
        if train != test:
            raise SearchError(f"{root}: train has the classes {train}, val {test}; expected the same")
        self.counts = tuple(len(folder.labels) for folder in self._folders)
        self._features: dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]] = {}

    @cached_property
    def train(self) -> Images:
        """The images to learn from."""
        return _read(self._folders[0])

    @cached_property
    def test(self) -> Images:
        """The images to test with."""
        return _read(self._folders[1])

    def key(self, task: Task) -> tuple[Any, ...]:
        """By which the record knows a measurement here."""
        return self.name, self.size, *task.key

    def run(
        self, tasks: Sequence[Task], record: Store[dict[str, Any]], display: Display, jobs: int = 1, place: Path | None = None
    ) -> None:
        """Do what the record lacks, `jobs` at a time, a thread each. Interrupted, the same call goes on.

        place: Of the checkpoints, from which a training that was stopped goes on; None for none.
        """
        missing = [task for task in tasks if self.key(task) not in record.rows]
        if len(missing) < len(tasks):
            display.line(f"{len(tasks) - len(missing)} of {len(tasks)} measurements are in the record")
        left = {self.key(task): task for task in missing}
        with closing(self._rows(missing, jobs, place, display)) as rows:  # on Ctrl-C, processes end at once
            for number, row in enumerate(rows, 1):
                record.add(row)
                task = left.pop(key(row))
                told = f"{number} of {len(missing)}, {task.title}: {row['accuracy']:.1%} in {row['seconds']:.0f} s"
                display.line(f"{told}; {self.remaining(list(left.values()), record.rows.values())}")

    def best_rates(self, planned: Sequence[Task], rows: Mapping[Any, Mapping[str, Any]]) -> dict[str, float]:
        """The learning rate with the highest accuracy, of those that were tried with each model and are recorded."""
        best: dict[str, Task] = {}
        for task in planned:
            found = best.setdefault(task.start.model, task)
            if rows[self.key(task)]["accuracy"] > rows[self.key(found)]["accuracy"]:
                best[task.start.model] = task
        return {model: task.learning_rate for model, task in best.items()}

    def _rows(
        self, tasks: Sequence[Task], jobs: int, place: Path | None, display: Display
    ) -> Generator[dict[str, Any], None, None]:
        if jobs == 1:
            for task in tasks:
                with torch_threads(1):
                    yield self.measure(task, display, place)
            return
        told: dict[str, float] = {}

        def tell(title: str, done: int, total: int, note: str) -> None:
            if time.monotonic() - told.get(title, -TELL_SECONDS) >= TELL_SECONDS:
                told[title] = time.monotonic()
                display.line(f"{title}: {done} of {total} steps")

        yield from in_processes(
            _measured, [(self.root, self.size, task, place) for task in tasks], jobs, "compare-weights", tell
        )

    def remaining(self, tasks: Sequence[Task], rows: Iterable[Mapping[str, Any]]) -> str:
        """The CPU time that measurements will take, by those of the same images that are recorded, for people."""
        if not tasks:
            return "all is measured"
        rates: dict[str, float] = {}
        for row in sorted(rows, key=lambda row: row["way"] not in FROZEN):  # a training tells more than a pass does
            if (row["data"], row["image_size"]) == (self.name, self.size) and row["way"] != "linear":
                rate = row["cpu_seconds"] / self._passes(row["way"], row["epochs"], row["labels"])
                frozen = row["way"] in FROZEN
                rates[row["model"]] = max(rate, rates.get(row["model"], 0.0)) if frozen else rate  # features are kept: 0 s
        if not rates:
            return "the CPU time that remains is told when one has ended"
        usual = sum(rates.values()) / len(rates)
        seconds = sum(rates.get(task.start.model, usual) * self._passes(task.way, task.epochs, task.labels) for task in tasks)
        return f"about {seconds / 3600:.1f} CPU hours remain for {len(tasks)}"

    def _passes(self, way: str, epochs: int, labels: float) -> float:
        """The cost of a measurement, in images that are trained with; one that is only looked at costs a third."""
        train, test = self.counts
        return (train + test) / 3 if way in FROZEN else epochs * labels * train + test / 3

    def measure(self, task: Task, display: Display | RemoteBars | None = None, place: Path | None = None) -> dict[str, Any]:
        """The row of a measurement. place: as `run` has it."""
        began, before = time.monotonic(), time.process_time()
        spent = 0.0
        train, test = self.train.part(task.labels, task.seed), self.test
        if task.way == TRIED:
            test = train.part(HELD_OUT, task.seed)
            train = train.without(test)
        if task.way in FROZEN:
            found, tested = self._of(task.start, task.seed, train)
            classes = len(train.classes)
            answers = (
                linear(found, train.labels, tested) if task.way == "linear" else nearest(found, train.labels, tested, classes)
            )
            share = share_right(answers, test.labels)
        else:
            network = task.start.build(len(train.classes), task.seed)
            checkpoint = place / f"{self.name}_{self.size}_{task.file}.pth" if place else None
            recipe = Recipe(task.learning_rate, precision=task.precision)
            with (display or Display(quiet=True)).progress(task.title) as progress:
                share, spent = tune(network, train, test, task.epochs, task.seed, recipe, progress, checkpoint)
        model, start, way, epochs, labels, seed, learning_rate, precision = task.key
        return {
            "data": self.name, "image_size": self.size, "model": model, "start": start, "way": way, "epochs": epochs,
            "labels": labels, "seed": seed, "learning_rate": learning_rate, "precision": precision,
            "accuracy": round(share, 5), "train_images": len(train.labels), "test_images": len(test.labels),
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(spent + time.process_time() - before, 1), "machine": processor(),
        }  # fmt: skip

    def _of(self, start: Start, seed: int, train: Images) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of some training images and of all test images. Those of given weights do not depend on the seed."""
        own = (start.model, start.name if start.weights else f"seed {seed}")
        if own not in self._features:
            network = start.build(len(self.train.classes), seed)
            self._features[own] = (features(network, self.train.pixels), features(network, self.test.pixels))
        every, tested = self._features[own]
        return every if train.rows is None else every[train.rows], tested


@cache
def _comparison(root: Path, size: int) -> Comparison:
    return Comparison(root, size)


def _measured(root: Path, size: int, task: Task, place: Path | None) -> dict[str, Any]:
    """A measurement in a process of its own, which reads the images once."""
    with torch_threads(1), threadpool_limits(1):
        return _comparison(root, size).measure(task, RemoteBars(), place)


def _read(folder: ImageFolder) -> Images:
    pixels, labels = folder.read(np.arange(len(folder.labels)))
    return Images(pixels, labels, folder.classes)
