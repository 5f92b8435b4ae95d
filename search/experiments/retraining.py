"""The best cells of a record, trained anew with other seeds: which of them are good, and which were lucky.

A search measures each candidate once, and the best of many noisy measurements is mostly a lucky one. Here the first few are
trained several times more, on the same images as by the search, and longer where that is wanted; validation images judge, as in
the search, and no test image is looked at.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from gemnet.cli.running import reported
from gemnet.core.files import save_text
from gemnet.core.options import named
from gemnet.core.tables import markdown_table, mean_and_deviation
from search.configuration.sections import check_settings
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.types import Job, SearchError
from search.evaluation.evaluators import evaluator_of
from search.evaluation.trainings import Trainer, deviation, open_trainings
from search.record.export import is_export, read_record
from search.record.ranking import best_first
from search.record.study import RECORD as STUDY
from search.record.study import Evaluated
from search.report.result import BEST, TOP, with_provenance, write_cells
from search.spaces.dag import build_space
from search.steps.candidates import candidate_seed

TABLE = "retrained.md"
COLUMNS = ("cell", "place", "in search", "trained again", "cost", "score", "operators")
"""Of a cell its place in the search, and the accuracies: that in the search, and those when it was trained again."""
ALLOWED = ("data.root", "proxy.epochs", "executor.")
"""What may be other than in the search: where its images lie, how long trainings are, and where they run."""


@dataclass(frozen=True)
class Retrained:
    """A cell of a record, its place there, and the validation accuracies that it reached when it was trained anew, one a
    seed."""

    record: Evaluated
    place: int
    accuracies: tuple[float, ...]
    score: float
    """The efficiency score of their mean, at the cost that the search measured."""

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float:
        """The sample's standard deviation; 0 of a single one."""
        return deviation(self.accuracies)


def retrain(
    place: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    display: Display,
    count: int = 8,
    seeds: int = 3,
    options: Mapping[str, Any] | None = None,
) -> list[Retrained]:
    """Train the `count` best cells of a record again, each with `seeds` seeds, to their end.

    place: see `read_record`. directory: where trainings are recorded, so that the same call goes on where it was stopped, and
    where table and cells are written. options: settings instead of the search's, of those that are ALLOWED. Returns the cells,
    that with the best score first. Raises SearchError where the record is none of a search that trains, and where a training
    fails: the others are kept.
    """
    if count < 1 or seeds < 1:
        raise SearchError(f"retrain: expected at least one cell and one seed, found {count} and {seeds}")
    if (Path(directory) / STUDY).exists():
        raise SearchError(f"{directory} holds a search, whose best cells this would write over; name another with --out")
    snapshot = read_record(place)
    settings = _settings(snapshot.settings, options or {}, str(place))
    best = [r for r in best_first(snapshot.records) if not r.stopped][:count]
    if not best:
        raise SearchError(f"{place}: no candidate was trained to its end yet, so there is none to train again")
    space = build_space(**settings["space"])
    if space.table is not None:
        raise SearchError(f"{place}: this search looks accuracies up in a benchmark's table; there is nothing to train again")
    evaluator = evaluator_of(settings, space)
    data = {name: value for name, value in settings["data"].items() if name != "root"}  # images are the same elsewhere
    common = {"stage": "retraining", "data": data, **{name: settings[name] for name in ("proxy", "model")}}
    cells = {r.digest[:12]: r.cell.pruned() for r in best}
    runs = {
        (name, index): {**common, "nodes": cell.nodes, "edges": cell.edges}
        | {"seed": candidate_seed(settings["seed"], f"{r.digest} {index}")}
        for r, (name, cell) in zip(best, cells.items(), strict=True)
        for index in range(1, seeds + 1)
    }
    with open_trainings(directory) as record:
        trainer = Trainer(record, settings["executor"], display)
        trained = trainer.run("Trainings", runs, lambda run, key: Job(key, cells[run[0]], runs[run]["seed"]), evaluator)
    retrained = []
    for place_before, r in enumerate(best, 1):
        accuracies = tuple(float(trained[r.digest[:12], index]["accuracy"]) for index in range(1, seeds + 1))
        score = float(efficiency_score(float(np.mean(accuracies)), r.cost, settings["penalty"]))
        retrained.append(Retrained(r, place_before, accuracies, score))
    retrained.sort(key=lambda cell: (-cell.score, cell.record.id))
    _write(retrained, snapshot.settings, evaluator.epochs, Path(directory), Path(place))
    return retrained


def _settings(settings: Mapping[str, Any], options: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Those of the search with `options`; where trainings run is not in a record."""
    settings = {**settings, "executor": {}}
    for name, value in options.items():
        if name not in ALLOWED and not name.startswith("executor."):
            raise SearchError(f"retrain: {name} is as in the search; what may be other are {', '.join(ALLOWED)}*")
        section, key = name.split(".", 1)
        settings[section] = {**settings.get(section, {}), key: value}
    return check_settings(settings, place)


def _write(retrained: Sequence[Retrained], settings: Mapping[str, Any], epochs: int, directory: Path, place: Path) -> None:
    """settings: those of the search. epochs: of the new trainings."""
    name = place.stem if is_export(place) else place.resolve().name
    cells = []
    for cell in retrained:
        again = {"accuracies": list(cell.accuracies), "score": cell.score, "epochs": epochs}
        cells.append(with_provenance(cell.record, settings, name, retrained=again))
    write_cells(cells, directory)
    save_text(directory / TABLE, f"{markdown_table(COLUMNS, rows(retrained))}\n\n{agreement(retrained)}\n")


def rows(retrained: Sequence[Retrained]) -> list[tuple[str, ...]]:
    """A row of text a cell, under COLUMNS."""
    return [
        (
            cell.record.digest[:8],
            str(cell.place),
            f"{cell.record.accuracy:.4f}",
            mean_and_deviation(cell.accuracy, cell.deviation, 4),
            f"{cell.record.cost:.3g}",
            f"{cell.score:.4f}",
            ", ".join(f"{count} {name}" for name, count in Counter(cell.record.cell.pruned().nodes[1:]).most_common()),
        )
        for cell in retrained
    ]


def agreement(retrained: Sequence[Retrained]) -> str:
    """How the accuracies of the search agree with those of the new trainings, in words."""
    before, again = [cell.record.accuracy for cell in retrained], [cell.accuracy for cell in retrained]
    gap, trainings = 100 * float(np.mean(np.subtract(again, before))), len(retrained[0].accuracies)
    text = f"{len(retrained)} cells, {trainings} trainings each: {gap:+.2f} % beside the search's own on average"
    if len(retrained) > 2:
        tau = float(np.nan_to_num(kendalltau(before, again).statistic))
        text += f"; Kendall's tau of one with the other {tau:.2f}"
    return f"{text}."


def retrain_command(
    place: str, out: str | None = None, count: int = 8, seeds: int = 3, options: Mapping[str, Any] | Sequence[str] | None = None
) -> int:
    """`retrain` for a command line: the exit code, with one message. out: default `retrained` in the work directory, or
    `work_dirs/retrained_<name>` for an exported record."""
    display, path = Display(), Path(place)
    directory = Path(out or (Path("work_dirs") / f"retrained_{path.stem}" if is_export(path) else path / "retrained"))

    def task() -> None:
        retrained = retrain(place, directory, display, count, seeds, named(options))
        display.table(f"Accuracies of the best of {place}, trained again", COLUMNS, rows(retrained))
        display.line(agreement(retrained))
        display.line(f"Files: {directory}/{TABLE}, {directory}/{BEST}.json (.png, .svg), {directory}/{TOP}/")

    stopped = "stopped; what was trained is recorded, the same command goes on"
    return reported("search retrain", task, str(directory), stopped, elsewhere="--out")
