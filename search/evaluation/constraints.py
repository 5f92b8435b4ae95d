"""What candidates may cost: cells above `cost.max` or `search.max_latency_ms` are met, noted, and never trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gemnet.cell import Cell
from gemnet.complexity import BudgetError
from search.core.display import Display
from search.core.types import Scored
from search.predictors.acquisition import Acquisition, affordable_first
from search.record.rows import DEAR, TIMED

if TYPE_CHECKING:
    from search.evaluation.cost import CellCost

Costs = list[tuple[Cell, float]]
Predicted = Callable[[Sequence[Cell], np.ndarray], Acquisition]


@dataclass
class Met:
    """Cells that were looked at: those that cost more than they may, with their costs, and the milliseconds of those timed.

    impossible: digest -> why no network can be made of the cell.
    """

    dear: Costs = field(default_factory=list)
    timed: Costs = field(default_factory=list)
    impossible: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rounds: Mapping[int, Mapping[str, Any]], source: str | os.PathLike[str]) -> Met:
        """All that the notes of rounds, by their number, tell of. source: of the record, for errors. Raises CellError."""

        def read(name: str) -> Costs:
            return [
                (Cell.from_json(cell, f"{source}: round {index}, {name}, cell {place}"), cost)
                for index, note in rounds.items()
                for place, (cell, cost) in enumerate(note.get(name, ()))
            ]

        return cls(read(DEAR), read(TIMED))

    def note(self) -> dict[str, Any]:
        """The part of a round's note that tells of them, JSON values."""
        found = {DEAR: self.dear, TIMED: self.timed}
        return {name: [(cell.to_json(), cost) for cell, cost in costs] for name, costs in found.items() if costs}


class Limits:
    """Measures what cells cost, and how long their models take where that is bounded.

    cost: of the efficiency score; its `max` bounds it. latency: milliseconds, with a `max`; None where these do not matter.
    model: raises BudgetError for a cell of which no model within the budget can be made; None where none is to come.
    """

    def __init__(
        self,
        cost: CellCost,
        latency: CellCost | None,
        display: Display,
        model: Callable[[Cell], object] | None = None,
    ) -> None:
        self.cost, self.latency, self.display, self.model = cost, latency, display, model

    def choose(self, cells: Iterable[Scored], count: int) -> tuple[list[tuple[Scored, float]], Met]:
        """The first `count` cells that keep within the limits, in order, with their costs; and what was met on the way.

        Cells of which no model can be made are passed over.
        """
        chosen: list[tuple[Scored, float]] = []
        met, slow = Met(), 0
        what = f"Cost: {self.cost.name}" + (f"; {self.latency.name}" if self.latency else "")
        with self.display.progress(what) as progress:
            for found in cells:
                try:
                    if self.model:
                        self.model(found.cell)
                    cost = self.cost(found.cell)
                    if _above(self.cost, cost):
                        met.dear.append((found.cell, cost))
                    elif self._is_slow(found.cell, met):
                        slow += 1
                    else:
                        chosen.append((found, cost))
                        progress(len(chosen), count, self._words(len(met.dear), slow))
                except BudgetError as error:
                    met.impossible[found.digest] = str(error)
                if len(chosen) == count:
                    break
        return chosen, met

    def timed(self, cells: Sequence[Cell]) -> Met:
        """The milliseconds of `cells`, whatever they cost, but for those of which no model can be made."""
        met = Met()
        with self.display.progress(f"Cost: {self.latency.name}") as progress:
            for number, cell in enumerate(cells, 1):
                try:
                    self._is_slow(cell, met)
                except BudgetError as error:
                    met.impossible[cell.pruned().digest()] = str(error)
                progress(number, len(cells))
        return met

    def _is_slow(self, cell: Cell, met: Met) -> bool:
        if self.latency is None:
            return False
        milliseconds = self.latency(cell)
        met.timed.append((cell, milliseconds))
        return _above(self.latency, milliseconds)

    def _words(self, dear: int, slow: int) -> str:
        found = [f"{dear} cost more than {self.cost.max:g}"] if dear else []
        return "; ".join([*found, f"{slow} take longer than {self.latency.max:g} ms"] if slow else found)

    def reasons(self, met: Met) -> dict[str, str]:
        """Digest -> which limit a cell is above, and by what it is, for those above one."""
        found = {}
        for cell, cost in met.dear:
            if _above(self.cost, cost):
                found[cell.pruned().digest()] = f"costs {cost:.4g}, more than cost.max={self.cost.max:g}"
        for cell, ms in met.timed:
            if _above(self.latency, ms):
                found[cell.pruned().digest()] = f"takes {ms:.4g} ms, more than max_latency_ms={self.latency.max:g}"
        return found

    def nearest(self, met: Met) -> list[str]:
        """How close the cells met came to each limit that one of them is above, in words."""
        found = []
        if _one_above(self.cost, met.dear):
            found.append(f"cost.max={self.cost.max:g} (the cheapest costs {min(cost for _, cost in met.dear):.4g})")
        if _one_above(self.latency, met.timed):
            fastest = min(ms for _, ms in met.timed)
            found.append(f"max_latency_ms={self.latency.max:g} (the fastest takes {fastest:.4g} ms)")
        return found

    def first(self, score: Acquisition, met: Met, costs: Sequence[tuple[Cell, float]], predicted: Predicted) -> Acquisition:
        """`score`, but those cells last that are probably above a limit, by predictors of what was measured.

        Without them, most of the best predicted cells would be measured in vain: what costs too much is never trained, so that
        the predictor of scores cannot know. costs: of cells that were trained. predicted: (cells, values) -> what
        predicts such values.
        """
        if met.dear and self.cost.max is not None:
            score = self._within(score, [*met.dear, *costs], self.cost.max, predicted)
        if _one_above(self.latency, met.timed):
            score = self._within(score, met.timed, self.latency.max, predicted)
        return score

    @staticmethod
    def _within(score: Acquisition, costs: Sequence[tuple[Cell, float]], limit: float, predicted: Predicted) -> Acquisition:
        cells, values = zip(*costs, strict=True)
        return affordable_first(score, predicted(cells, np.log(values)), float(np.log(limit)))


def _above(bounded: CellCost | None, value: float) -> bool:
    return bounded is not None and bounded.max is not None and value > bounded.max


def _one_above(bounded: CellCost | None, costs: Costs) -> bool:
    return any(_above(bounded, value) for _, value in costs)
