"""Train what the record lacks, and record each training that ends: its condition, its network and its whole curve."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from gemnet.architecture import Architecture
from gemnet.complexity import network_cost
from gemnet.network import CellModule, GEMNet
from search.core.display import Display
from search.core.fingerprint import fingerprint
from search.core.json_lines import Format, Store
from search.core.types import Evaluation, Job, SearchError
from search.evaluation.checked import checked_outcome
from search.evaluation.evaluators import evaluator_of
from search.evaluation.executor import build_executor
from search.evaluation.proxy import ProxyEvaluator
from search.evaluation.trainings import this_machine
from search.experiments.lines import Fields, checked_fields, open_lines
from search.experiments.recipe.conditions import Condition, architecture, described
from search.record.study import TIME
from search.spaces.dag import build_space

FIELDS: Fields = {
    "id": str, "kind": str, "rule": str, "scheme": str, "learning_rate": (int, float), "epochs": int, "seed": int,
    "widths": list, "depths": list, "macs": int, "params": int, "residual_cells": int, "curve": list,
    "accuracy": (int, float), "seconds": (int, float), "machine": str, "finished": str,
}  # fmt: skip
"""What a line of the record has, beside `residual`, which is true or false."""


def parse(row: Any) -> dict[str, Any]:
    """A line of the record. Raises ValueError, TypeError or KeyError for what is none."""
    checked_fields(row, FIELDS)
    if not isinstance(row["residual"], bool):
        raise TypeError(f"residual is {row['residual']!r}")
    shares = [row["accuracy"], *row["curve"]]
    if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in shares):
        raise ValueError("an accuracy is not between 0 and 1")
    return row


FORMAT: Format[dict[str, Any]] = Format(parse, lambda row: row["id"], ", line {number}: not a training of this study: {reason}")


def open_record(path: Path, work_dir: Path | None = None) -> Store[dict[str, Any]]:
    """The record at `path`: see `open_lines`."""
    return open_lines(path, FORMAT, work_dir)


@dataclass(frozen=True)
class Training:
    """A job for RecipeEvaluator: to train `network` under `condition`. It is never stopped early."""

    key: int
    condition: Condition
    network: Architecture
    early_stop_thresholds: tuple[tuple[int, float], ...] = ()

    @property
    def seed(self) -> int:
        return self.condition.seed


class RecipeEvaluator(ProxyEvaluator):
    """Trains networks as the proxy's are trained, but each from its own initialisation and with its own learning rate."""

    def evaluate(self, job: Training, device: str = "cpu") -> Evaluation:  # type: ignore[override]  # it is handed no other job
        """As ProxyEvaluator's."""
        condition = job.condition
        settings = replace(self.settings, learning_rate=condition.learning_rate, epochs=condition.epochs)
        own = RecipeEvaluator(self.data, settings, self.model)
        own._placed = self._placed  # the images are placed once
        return super(RecipeEvaluator, own).evaluate(job, device)  # type: ignore[arg-type]

    def build(self, job: Training) -> nn.Module:  # type: ignore[override]
        network = GEMNet(job.network, self.num_classes, self.data.train_images.shape[1])
        if job.condition.scheme != "fan_out":  # as it starts without a word
            network.init_weights(job.condition.scheme)
        return network


def evaluator_for(settings: Mapping[str, Any]) -> RecipeEvaluator:
    """What trains, of a search's settings. Raises SearchError for those of a search that trains nothing, or without MACs."""
    proxy = evaluator_of(settings, build_space(**settings["space"]))
    if not isinstance(proxy, ProxyEvaluator) or proxy.settings.macs is None:
        raise SearchError("recipe: expected the config of a search that trains its candidates at proxy.macs")
    return RecipeEvaluator(proxy.data, proxy.settings, proxy.model)


def run(
    settings: Mapping[str, Any],
    wanted: Sequence[Condition],
    record: Store[dict[str, Any]],
    display: Display,
    jobs: int | None = None,
) -> None:
    """Do what the record lacks. Interrupted, it has what had ended; the same call goes on.

    Args:
        settings: of a search: its data, proxy, model and executor.
        wanted: what is trained.
        record: where it is recorded.
        display: where it is told.
        jobs: trainings at a time, instead of executor.workers.

    Raises:
        SearchError: for settings that do not fit, and where a training fails; the others are kept.
    """
    evaluator = evaluator_for(settings)
    trainings: list[Training] = []
    runs: list[dict[str, Any]] = []
    for condition in wanted:
        network = architecture(condition, evaluator)
        runs.append(described(condition, network, settings))
        trainings.append(Training(len(trainings), condition, network))
    ids = [fingerprint(run) for run in runs]
    missing = [training for training in trainings if ids[training.key] not in record.rows]
    display.line(f"{len(ids) - len(missing)} of {len(ids)} trainings are in the record")
    executor = {**settings["executor"], **({} if jobs is None else {"workers": jobs})}
    errors: list[str] = []
    with display.progress("Trainings") as progress, closing(build_executor(evaluator, **executor)) as workers:
        queue: Sequence[Job] = missing  # type: ignore[assignment]  # jobs of this evaluator's own
        for number, given in enumerate(workers.run(queue), 1):
            outcome, training = checked_outcome(given, evaluator, one_length=False), trainings[given.key]
            if outcome.evaluation is None:
                errors.append(f"{training.condition.title}: {outcome.error}")
                display.line(errors[-1])
                continue
            record.add(_row(ids[given.key], training, evaluator, outcome.evaluation))
            progress(number, len(missing), f"{training.condition.title}: {outcome.evaluation.accuracy:.4f}")
    if errors:
        raise SearchError(f"{len(errors)} of {len(missing)} trainings failed, the others are kept; the first: {errors[0]}")


def _row(key: str, training: Training, evaluator: RecipeEvaluator, e: Evaluation) -> dict[str, Any]:
    network, (channels, height, width) = training.network, evaluator.data.train_images.shape[1:]
    cost = network_cost(network, (height, width), evaluator.num_classes, channels)
    cells = [module for module in GEMNet(network, device="meta").modules() if isinstance(module, CellModule)]
    return {
        "id": key, **asdict(training.condition), "widths": list(network.widths), "depths": list(network.depths),
        "macs": int(cost.macs), "params": int(cost.params), "residual_cells": sum(cell.residual for cell in cells),
        "curve": [round(share, 5) for share in e.curve], "accuracy": round(e.accuracy, 5), "seconds": round(e.seconds, 1),
        "machine": this_machine(), "finished": time.strftime(TIME, time.gmtime()),
    }  # fmt: skip
