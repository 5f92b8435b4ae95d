"""Several objectives at once: what is known of them, what is predicted, and which cells would add most to their front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from moocore import is_nondominated

from search.core.types import EncodedCells, Scored
from search.evaluation.constraints import MeasuredCells
from search.predictors.acquisition import FAR, Acquisition
from search.predictors.hypervolume import Front
from search.record.ranking import expected_scores, pareto_front
from search.record.rows import TIMED
from search.record.study import Evaluated, Snapshot, is_evaluated


def objective_values(names: Sequence[str], records: Sequence[Evaluated], penalty: float, measured: MeasuredCells) -> np.ndarray:
    """What evaluated records have of each objective, float64 [N, m], turned so that more is better.

    Accuracy is that of a whole training, also of those that were stopped early, as `expected_scores` has it; what costs is less
    the logarithm to base 10.

    Args:
        names: of the objectives, as in `Schedule.objectives`.
        records: evaluated ones.
        penalty: lambda of their scores (Eq. 5).
        measured: has the milliseconds of all records' models where "latency" is an objective.
    """
    milliseconds = {cell.pruned().digest(): value for cell, value in measured.of_note(TIMED)}
    costs = np.array([r.cost for r in records])
    columns = {
        "accuracy": lambda: expected_scores(records) + penalty * np.log10(costs),
        "cost": lambda: -np.log10(costs),
        "macs": lambda: -np.log10([r.macs for r in records]),
        "params": lambda: -np.log10([r.params for r in records]),
        "latency": lambda: -np.log10([milliseconds[r.digest] for r in records]),
    }
    return np.stack([columns[name]() for name in names], axis=1)


@dataclass(frozen=True)
class FrontSearch:
    """Ranks cells by what they would add to the front of the evaluated ones.

    front: of the evaluated cells. predictions: one acquisition an objective, in the order of the front's columns.
    """

    front: Front
    predictions: Sequence[Acquisition]

    def values(self, x: EncodedCells) -> np.ndarray:
        """B cells -> predicted objectives, float64 [B, m]."""
        return np.stack([predict(x) for predict in self.predictions], axis=1)

    def __call__(self, x: EncodedCells) -> np.ndarray:
        """B cells -> hypervolume improvements, float64 [B]."""
        return self.front.improvement(self.values(x))

    def spread(self, cells: Sequence[Scored], x: EncodedCells, count: int) -> list[Scored]:
        """`cells`, best first, in an order in which the first `count` together add most; x: the same cells encoded. Those that
        are probably above a constraint stay last."""
        within = [place for place, cell in enumerate(cells) if cell.score > -FAR / 2]
        order = self.front.ranked(self.values(x[within]), count) if within else []
        return [*(cells[within[place]] for place in order), *(cell for cell in cells if cell.score <= -FAR / 2)]


def front_of(snapshot: Snapshot) -> list[Evaluated]:
    """The evaluated records that no other one equals or beats in every objective of their search (accuracy and cost where it
    names none), the best in the first objective first.

    Candidates that were stopped early are left out: their accuracy is not that of a whole training.
    """
    names = snapshot.settings["search"].get("objectives")
    done = [r for r in snapshot.records if is_evaluated(r) and not r.stopped]
    if not names or not done:
        return pareto_front(snapshot.records)[::-1]
    measured = MeasuredCells.of(snapshot.rounds, "the record")
    values = objective_values(names, done, snapshot.settings["penalty"], measured)
    kept = np.flatnonzero(is_nondominated(values, maximise=True))
    return [done[i] for i in sorted(kept, key=lambda i: (*-values[i], done[i].id))]
