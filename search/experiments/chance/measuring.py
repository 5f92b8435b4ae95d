"""One search, followed evaluation by evaluation: the best score it has seen, and what the cell it would choose is worth."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gemnet.cell import Cell
from gemnet.core.machine import processor
from search.configuration.schedule import Schedule
from search.configuration.sections import evaluation_part
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.fingerprint import fingerprint
from search.core.json_lines import Format, Store
from search.core.types import Evaluation, Evaluator, Job, Space
from search.evaluation.cost import build_cost
from search.evaluation.evaluators import evaluator_of
from search.evaluation.proxy import ProxyEvaluator
from search.experiments.chance.rivals import Evaluations, evolve, random_search
from search.experiments.chance.tasks import EVOLUTION, RANDOM, Task
from search.experiments.trial.final_data import build_final_data
from search.pipeline import run_search
from search.record.ranking import best_first
from search.record.study import is_evaluated, read_study
from search.spaces.dag import build_space
from search.spaces.tabular import TabularSpace

POINTS = 20
"""Of a curve that is kept. Its average is that over the run; the first few evaluations, where one unlucky cell would count for
much, come before the first point."""
DIGITS = 6


class History(NamedTuple):
    """What a search did, in the order of its evaluations.

    cells: that were evaluated. scores: as the search saw them. seeds: of the trainings. chosen: after each of them the place
    of the cell that the search would choose.
    """

    cells: list[Cell]
    scores: list[float]
    seeds: list[int]
    chosen: list[int]


def points(budget: int) -> list[int]:
    """The evaluations after which a curve is kept, the last one among them."""
    return sorted({-(-budget * (place + 1) // POINTS) for place in range(POINTS)})


def measure(task: Task, directory: Path) -> dict[str, Any]:
    """Run a search; returns its line of the record. What it trains is kept in `directory` for the others of the same seed."""
    began, before = time.monotonic(), time.process_time()
    settings, budget = task.settings, task.about.budget
    space = build_space(**settings["space"])
    evaluator = evaluator_of(settings, space)
    kept = directory / f"{task.benchmark}-{fingerprint(evaluation_part(settings))}.jsonl"
    if space.table is None:
        evaluator = KeptEvaluator(evaluator, kept)
    if task.method in (RANDOM, EVOLUTION):
        history = _of_rival(task, settings, space, evaluator)
    else:
        history = _of_pipeline(settings, budget, evaluator, directory / "-".join(map(str, task.key)))
    worth, best = _worth(settings, space, kept.with_suffix(".test.jsonl"))
    at = points(budget)
    scores = np.maximum.accumulate(history.scores)
    test = {place: worth(history.cells[c], history.seeds[c]) for place in at for c in [history.chosen[place - 1]]}
    return {
        "benchmark": task.benchmark, "method": task.method, "recipe": task.recipe, "seed": task.seed, "budget": budget,
        "at": at, "score": [_rounded(scores[place - 1]) for place in at],
        "test": [_rounded(test[place]) for place in at], "best_test": best,
        "seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(time.process_time() - before, 1),
        "machine": processor(),
    }  # fmt: skip


def _of_rival(task: Task, settings: Mapping[str, Any], space: Space, evaluator: Evaluator) -> History:
    evaluations, rng = Evaluations(settings, space, evaluator), np.random.default_rng((task.seed, 6))
    if task.method == RANDOM:
        random_search(evaluations, task.about.budget, rng)
    else:
        evolve(evaluations, task.about.budget, rng, task.about.population, task.about.tournament)
    done = evaluations.done
    scores = [e.score for e in done]
    return History([e.cell for e in done], scores, [e.seed for e in done], _best_so_far(scores))


def _of_pipeline(settings: Mapping[str, Any], budget: int, evaluator: Evaluator, directory: Path) -> History:
    """A search as `tools/search.py` runs it: the best score is chosen, or, where the search does not trust that alone, what it
    chooses after each round and at its end. It goes on with what is in `directory`, which is gone afterwards."""
    records = run_search(settings, directory, Display(quiet=True), evaluator=evaluator)[:budget]
    notes = read_study(directory).rounds
    shutil.rmtree(directory)
    failed = [float(efficiency_score(0.0, r.cost, settings["penalty"])) for r in records]  # as that of a rival
    scores = [r.score if is_evaluated(r) else score for r, score in zip(records, failed, strict=True)]
    chosen = _best_so_far(scores)
    if Schedule.of(settings).measured_weight < 1:
        place = {r.id: number for number, r in enumerate(records)}
        rounds = np.array([r.round for r in records])
        for index, note in notes.items():
            known = int(np.searchsorted(rounds, index))  # cells of the rounds before
            if index and known < budget:
                chosen[known - 1 :] = [place[note["best"]]] * (len(records) - known + 1)
        chosen[-1] = place[best_first(records)[0].id]
    return History([r.cell for r in records], scores, [r.seed for r in records], chosen)


def _best_so_far(scores: Sequence[float]) -> list[int]:
    """After each evaluation the place of the first with the highest score."""
    return [int(np.argmax(scores[: number + 1])) for number in range(len(scores))]


def _worth(settings: Mapping[str, Any], space: Space, kept: Path) -> tuple[Callable[[Cell, int], float], float | None]:
    """What tells how good a cell is by what no search has seen, and the best there is, where that is known.

    In a table it is the test accuracy. Elsewhere it is the efficiency score with the accuracy on images that the search neither
    trains on nor validates with, after the same training.
    """
    if isinstance(space, TabularSpace):
        test = space.table.test_accuracy()
        return lambda cell, _: float(test[space.row(cell)]), _rounded(test[space.pool].max())
    searched = evaluator_of(settings, space)
    assert isinstance(searched, ProxyEvaluator)
    final = build_final_data(settings["data"])
    data = replace(searched.data, val_images=final.val_images, val_labels=final.val_labels)
    evaluator = KeptEvaluator(ProxyEvaluator(data, searched.settings, searched.model), kept)
    cost = build_cost(searched.cost, settings["model"], **settings["cost"])

    def worth(cell: Cell, seed: int) -> float:
        accuracy = evaluator.evaluate(Job(0, cell.pruned(), seed), "cpu").accuracy
        return float(efficiency_score(accuracy, cost(cell), settings["penalty"]))

    return worth, None


class KeptEvaluator(Evaluator):
    """An evaluator whose evaluations are kept in a file: the same cell with the same seed is not trained again.

    One that was stopped early is trained again where it would not be stopped now.
    """

    def __init__(self, evaluator: Evaluator, path: Path) -> None:
        self.evaluator, self._store = evaluator, Store(path, _EVALUATIONS)

    @property
    def epochs(self) -> int:
        return self.evaluator.epochs

    @property
    def num_classes(self) -> int:
        return self.evaluator.num_classes

    @property
    def no_max_macs(self) -> str:
        return self.evaluator.no_max_macs

    def cost(self, *arguments: Any, **named: Any) -> Any:
        """As the evaluator's."""
        return self.evaluator.cost(*arguments, **named)

    def evaluate(self, job: Job, device: str) -> Evaluation:
        """As the evaluator's, or what is kept of it. Raises EvaluationError."""
        name = (fingerprint({"nodes": job.cell.nodes, "edges": job.cell.edges}), job.seed)
        kept = self._store.rows.get(name)
        found = _cut(Evaluation(**kept["evaluation"]), job) if kept else None
        if found is None:
            found = self.evaluator.evaluate(job, device)
            self._store.rows.pop(name, None)
            fields = {"accuracy": found.accuracy, "curve": found.curve, "stopped": found.stopped, "seconds": found.seconds}
            self._store.add({"cell": name[0], "seed": job.seed, "evaluation": fields})
        return found


_EVALUATIONS: Format[dict[str, Any]] = Format(
    lambda row: row, lambda row: (row["cell"], row["seed"]), ", line {number}: not an evaluation: {reason}; remove the file"
)


def _cut(whole: Evaluation, job: Job) -> Evaluation | None:
    """What a training gives that is stopped early by the thresholds of `job`; None where the kept one does not tell."""
    curve = tuple(whole.curve)
    for epoch, accuracy in job.early_stop_thresholds:
        if epoch <= len(curve) and curve[epoch - 1] < accuracy:
            return Evaluation(curve[epoch - 1], curve[:epoch], True, whole.seconds)
    return None if whole.stopped else replace(whole, curve=curve)


def _rounded(value: Any) -> float:
    return round(float(value), DIGITS)
