"""Ways to search a benchmark's pool, all with the same number of queries: what they ask for, and which cell they would choose.

A query is a look-up of a validation accuracy, noisy and, at NAS-Bench-101, optimistic. No method sees a test accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.fingerprint import fingerprint
from search.core.types import SearchError
from search.experiments.paper.base import Context
from search.experiments.paper.evolution import evolve
from search.pipeline import run_search
from search.record.ranking import best_first
from search.record.study import read_study
from search.spaces.tabular import TabularSpace


class History(NamedTuple):
    """rows: that were asked for, in order. chosen: after each of them the row that the method would choose. tau: Kendall's, of
    predictors before the last round with accuracies that they had not seen (5-fold); None of a method without."""

    rows: list[int]
    chosen: list[int]
    tau: float | None = None


def random_search(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """Distinct random rows; the best validation accuracy is chosen."""
    rows = np.random.default_rng((seed, 6)).choice(space.pool, queries, replace=False).tolist()
    return History(rows, _best_so_far(space, rows))


def evolution(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """See `evolve`; the best validation accuracy is chosen. recipe: population, tournament."""
    rng, accuracy = np.random.default_rng((seed, 6)), space.table.validation_accuracy
    rows = evolve(space, rng, queries, lambda row: float(accuracy[row]), recipe["population"], recipe["tournament"])
    return History(rows, _best_so_far(space, rows))


def pipeline(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """A search as `tools/search.py` runs it: the best validation accuracy is chosen, or, where the search does not trust that
    alone, what it chooses after each round and at its end.

    recipe: settings, those of the search but for its seed, its table, and the rounds that it has.
    """
    settings = {**recipe["settings"], "seed": seed}
    settings["space"] = {**settings["space"], "data": str(space.table.source)}
    schedule = Schedule.of(settings)
    settings["search"] = {**settings["search"], "rounds": -(-(queries - schedule.start) // schedule.batch)}
    directory = context.directory / "searches" / fingerprint(settings)
    records = run_search(settings, directory, Display(quiet=True))
    rows = {record.id: space.row(record.cell) for record in records}
    history = list(rows.values())[:queries]
    chosen = _best_so_far(space, history)
    notes = read_study(directory).rounds
    tau = notes[max(notes)].get("kendall_tau")
    if schedule.measured_weight == 1:
        return History(history, chosen, tau)
    rounds = np.array([record.round for record in records])[:queries]
    for index, note in notes.items():
        if index:
            known = int(np.searchsorted(rounds, index))  # cells of the rounds before
            chosen[known - 1 :] = [rows[note["best"]]] * (len(history) - known + 1)
    chosen[-1] = rows[best_first(records[:queries])[0].id]
    return History(history, chosen, tau)


METHODS: dict[str, Callable[[TabularSpace, int, int, Mapping[str, Any], Context], History]] = {
    "random": random_search,
    "evolution": evolution,
    "pipeline": pipeline,
}


def search_history(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """By the name recipe["method"]. Raises SearchError for more queries than the pool has cells."""
    if queries > len(space.pool):
        raise SearchError(f"{queries} queries are asked for, but the pool of {space.table.source} has {len(space.pool)} cells")
    return METHODS[recipe["method"]](space, seed, queries, recipe, context)


def _best_so_far(space: TabularSpace, rows: Sequence[int]) -> list[int]:
    """After each query the row with the highest validation accuracy."""
    best: list[int] = []
    for row in rows:
        accuracy = space.table.validation_accuracy
        best.append(row if not best or accuracy[row] > accuracy[best[-1]] else best[-1])
    return best
