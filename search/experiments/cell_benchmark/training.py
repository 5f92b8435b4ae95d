"""Train the cells by two schedules, one after the other, and record each training that ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gemnet.cell import Cell
from gemnet.complexity import BudgetError
from search.core.display import Display
from search.core.fingerprint import fingerprint
from search.core.json_lines import Store
from search.core.threads import torch_threads
from search.core.types import EvaluationError, Job, SearchError
from search.evaluation.evaluators import evaluator_of
from search.evaluation.proxy import ProxyEvaluator
from search.evaluation.trainings import this_machine
from search.experiments.cell_benchmark.cells import Named, benchmark_cells
from search.experiments.lines import open_lines
from search.spaces.cell_benchmark import FORMAT, LONG
from search.spaces.dag import build_space


@dataclass(frozen=True)
class Schedule:
    """How long cells are trained, and on how many images.

    Attributes:
        epochs: Passes over the training images; None for the config's own.
        train_per_class: Training images a class; None for the config's own.
        val_per_class: Validation images a class; None for the config's own.
    """

    epochs: int | None = None
    train_per_class: int | None = None
    val_per_class: int | None = None

    def settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a search, with this schedule in the place of its own."""
        data, proxy = dict(settings["data"]), dict(settings["proxy"])
        if self.epochs is not None:
            proxy["epochs"] = self.epochs
        if self.train_per_class is not None:
            data.pop("fraction", None)
            data |= {"fraction": self.train_per_class / 5000} if data["type"] == "cifar10" else {}
            data |= {"train_per_class": self.train_per_class} if data["type"] != "cifar10" else {}
        if self.val_per_class is not None:
            data["val_per_class"] = self.val_per_class
        return {**settings, "data": data, "proxy": proxy}


SCHEDULES = {"short": Schedule(), LONG: Schedule(60, 1000, 500)}
"""By name. short: as the search with the config trains its candidates. long: until the curve is flat; 10,000 images."""


@dataclass(frozen=True)
class Training:
    """A training of the benchmark: which cell, which schedule, with which seed."""

    named: Named
    schedule: str
    seed: int
    recipe: str

    @property
    def key(self) -> tuple[str, str, int]:
        """By which the record knows it."""
        return self.named.cell.digest(), self.recipe, self.seed


class Trainer:
    """Trains cells by one schedule of a search's settings.

    Raises:
        SearchError: The search trains nothing, or its images cannot be read.
    """

    def __init__(self, settings: Mapping[str, Any], name: str, schedule: Schedule) -> None:
        self.name, self.settings = name, schedule.settings(settings)
        evaluator = evaluator_of(self.settings, build_space(**settings["space"]))
        if not isinstance(evaluator, ProxyEvaluator):
            raise SearchError("cell-benchmark: expected the config of a search that trains its candidates")
        self.evaluator = evaluator
        data = {name: value for name, value in self.settings["data"].items() if name not in ("root", "download")}
        own = {"data": data, "proxy": self.settings["proxy"], "model": self.settings["model"]}
        self.recipe = fingerprint(own)

    def fits(self, cell: Cell) -> bool:
        """Whether a network of the budget can be made of the cell."""
        try:
            self.evaluator.cost(cell)
        except BudgetError:
            return False
        return True

    def planned(self, count: int | None, seeds: Sequence[int]) -> list[Training]:
        """The trainings of the first `count` cells, all for None; seed by seed."""
        cells = benchmark_cells(self.fits)[:count]
        return [Training(named, self.name, seed, self.recipe) for seed in seeds for named in cells]

    def train(self, training: Training) -> dict[str, Any]:
        """The line of a training, on a GPU where there is one. Raises SearchError where it fails."""
        began, before, cell = time.monotonic(), time.process_time(), training.named.cell
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with torch_threads(1):
                found = self.evaluator.evaluate(Job(0, cell, training.seed), device)
        except EvaluationError as error:
            raise SearchError(f"cell-benchmark: {training.named.kind}, {cell.digest()[:8]}: {error}") from None
        cost, data = self.evaluator.cost(cell), self.evaluator.data
        return {
            "nodes": list(cell.nodes), "edges": [list(edge) for edge in cell.edges], "kind": training.named.kind,
            "schedule": self.name, "recipe": self.recipe, "data": data.name, "seed": training.seed,
            "epochs": len(found.curve), "train_images": len(data.train_labels), "val_images": len(data.val_labels),
            "accuracy": round(found.accuracy, 6), "curve": [round(value, 6) for value in found.curve],
            "params": int(cost.params), "macs": int(cost.macs), "activations": int(cost.activations),
            "seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(time.process_time() - before, 1),
            "machine": this_machine(),
        }  # fmt: skip


def open_record(path: Path, work_dir: Path | None = None) -> Store[dict[str, Any]]:
    """The record at `path`: see `open_lines`."""
    return open_lines(path, FORMAT, work_dir)


def run(
    settings: Mapping[str, Any],
    schedules: Mapping[str, Schedule],
    count: int | None,
    seeds: Sequence[int],
    record: Store[dict[str, Any]],
    display: Display,
) -> None:
    """Train what the record lacks, schedule by schedule. Interrupted, it has what had ended; the same call goes on."""
    for name, schedule in schedules.items():
        trainer = Trainer(settings, name, schedule)
        planned = trainer.planned(count, seeds)
        missing = [training for training in planned if training.key not in record.rows]
        with display.progress(f"Trainings, {name}") as progress:
            done = len(planned) - len(missing)
            progress(done, len(planned))
            for training in missing:
                row = trainer.train(training)
                record.add(row)
                done += 1
                progress(done, len(planned), f"{row['kind']}: {row['accuracy']:.4f} in {row['seconds']:.0f} s")
