"""What candidates may cost: cells above a constraint are noted, and never trained."""

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
from search.record.rows import OVER_BUDGET, TIMED

if TYPE_CHECKING:
    from search.evaluation.cost import CellCost

Values = list[tuple[Cell, float]]
Predicted = Callable[[Sequence[Cell], np.ndarray], Acquisition]


@dataclass(frozen=True)
class Constraint:
    """An upper bound, `measure.max`, on what is measured of a candidate before it is trained.

    setting: as messages name it. note: the key under which a round's note keeps cells and values: all that were measured where
    `keeps_all`, so that none is measured twice, else those above the bound. verb, unit, least, many: words of messages, as in
    "takes 12 ms", "the fastest", "take longer than".
    """

    measure: CellCost
    setting: str
    note: str
    keeps_all: bool
    verb: str
    unit: str
    least: str
    many: str

    @property
    def max(self) -> float:
        return np.inf if self.measure.max is None else self.measure.max

    def is_broken_by(self, values: Values) -> bool:
        """Whether one of these cells is above the bound."""
        return any(value > self.max for _, value in values)

    def is_learned_from(self, values: Values) -> bool:
        """Whether these cells tell which others are above it: one that is, or any where only such are kept."""
        return self.is_broken_by(values) if self.keeps_all else bool(values) and self.measure.max is not None

    @property
    def bound(self) -> str:
        """Such as "max_latency_ms=5"."""
        return f"{self.setting}={self.max:g}"


def cost_constraint(cost: CellCost) -> Constraint:
    """The bound on the cost of the efficiency score."""
    return Constraint(cost, "cost.max", OVER_BUDGET, False, "costs", "", "cheapest", "cost more than")


def latency_constraint(latency: CellCost) -> Constraint:
    """The bound on the milliseconds of the model to come."""
    return Constraint(latency, "max_latency_ms", TIMED, True, "takes", " ms", "fastest", "take longer than")


@dataclass
class MeasuredCells:
    """Cells with what was measured of them, by the note of the constraint.

    impossible: digest -> why no network can be made of the cell.
    """

    values: dict[str, Values] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rounds: Mapping[int, Mapping[str, Any]], source: str | os.PathLike[str]) -> MeasuredCells:
        """All that the notes of rounds, by their number, tell of. source: of the record, for errors. Raises CellError."""
        measured = cls()
        for name in (OVER_BUDGET, TIMED):
            measured.values[name] = [
                (Cell.from_json(cell, f"{source}: round {index}, {name}, cell {place}"), value)
                for index, note in rounds.items()
                for place, (cell, value) in enumerate(note.get(name, ()))
            ]
        return measured

    def of_note(self, name: str) -> Values:
        """Those under the note `name`, to be added to."""
        return self.values.setdefault(name, [])

    def add(self, other: MeasuredCells) -> None:
        """Add what another one has measured; what is impossible stays with that one."""
        for name, values in other.values.items():
            self.of_note(name).extend(values)

    def note(self) -> dict[str, Any]:
        """The part of a round's note that tells of them, JSON values."""
        return {name: [(cell.to_json(), value) for cell, value in values] for name, values in self.values.items() if values}


class Constraints:
    """Measures what cells cost, and holds it against a list of constraints."""

    def __init__(
        self,
        cost: CellCost,
        latency: CellCost | None,
        display: Display,
        model: Callable[[Cell], object] | None = None,
    ) -> None:
        """
        Args:
            cost: of the efficiency score; its `max` bounds it.
            latency: milliseconds, with a `max`; None where these do not matter.
            display: shows how far measuring has come.
            model: raises BudgetError for a cell of which no model within the budget can be made; None where none is to come.
        """
        self.cost, self.display, self.model = cost, display, model
        self.list = [cost_constraint(cost)] + ([latency_constraint(latency)] if latency else [])

    def choose(self, cells: Iterable[Scored], count: int) -> tuple[list[tuple[Scored, float]], MeasuredCells]:
        """The first `count` cells that keep within the constraints, in order, with their costs; and what was measured.

        Cells of which no model can be made are passed over.
        """
        chosen: list[tuple[Scored, float]] = []
        measured, above = MeasuredCells(), dict.fromkeys((c.setting for c in self.list), 0)
        what = f"Cost: {'; '.join(c.measure.name for c in self.list)}"
        with self.display.progress(what) as progress:
            for scored in cells:
                try:
                    if self.model:
                        self.model(scored.cell)
                    cost = self.cost(scored.cell)
                    broken = self._first_broken(scored.cell, cost, measured)
                    if broken:
                        above[broken.setting] += 1
                    else:
                        chosen.append((scored, cost))
                        words = [f"{above[c.setting]} {c.many} {c.max:g}{c.unit}" for c in self.list if above[c.setting]]
                        progress(len(chosen), count, "; ".join(words))
                except BudgetError as error:
                    measured.impossible[scored.digest] = str(error)
                if len(chosen) == count:
                    break
        return chosen, measured

    def _first_broken(self, cell: Cell, cost: float, measured: MeasuredCells) -> Constraint | None:
        """The first constraint that the cell is above; those after it are not measured."""
        for constraint in self.list:
            value = cost if constraint.measure is self.cost else constraint.measure(cell)
            if constraint.keeps_all or value > constraint.max:
                measured.of_note(constraint.note).append((cell, value))
            if value > constraint.max:
                return constraint
        return None

    def measure_kept(self, cells: Sequence[Cell]) -> MeasuredCells:
        """What the constraints that keep all they measure tell of `cells`, but for those of which no model can be made."""
        measured = MeasuredCells()
        for constraint in [c for c in self.list if c.keeps_all]:
            with self.display.progress(f"Cost: {constraint.measure.name}") as progress:
                for number, cell in enumerate(cells, 1):
                    try:
                        measured.of_note(constraint.note).append((cell, constraint.measure(cell)))
                    except BudgetError as error:
                        measured.impossible[cell.pruned().digest()] = str(error)
                    progress(number, len(cells))
        return measured

    def comparable(self, measured: MeasuredCells) -> MeasuredCells:
        """What another search has measured that holds in this one as well: costs do, what this machine times does not."""
        return MeasuredCells({c.note: list(measured.of_note(c.note)) for c in self.list if not c.keeps_all})

    @property
    def measures_kept(self) -> bool:
        """Whether `measure_kept` measures anything."""
        return any(c.keeps_all for c in self.list)

    def reasons(self, measured: MeasuredCells) -> dict[str, str]:
        """Digest -> which constraint a cell is above, and by what it is, for those above one."""
        return {
            cell.pruned().digest(): f"{c.verb} {value:.4g}{c.unit}, more than {c.bound}"
            for c in self.list
            for cell, value in measured.of_note(c.note)
            if value > c.max
        }

    def nearest(self, measured: MeasuredCells) -> list[str]:
        """How close cells came to each constraint that one of them is above, in words."""
        return [
            f"{c.bound} (the {c.least} {c.verb} {min(value for _, value in measured.of_note(c.note)):.4g}{c.unit})"
            for c in self.list
            if c.is_broken_by(measured.of_note(c.note))
        ]

    def first(
        self, score: Acquisition, measured: MeasuredCells, costs: Sequence[tuple[Cell, float]], predicted: Predicted
    ) -> Acquisition:
        """`score`, but those cells last that are probably above a constraint, by predictors of what was measured.

        Without them, most of the best predicted cells would be measured in vain: what costs too much is never trained, so that
        the predictor of scores cannot know.

        Args:
            score: what cells are ranked by.
            measured: in earlier rounds.
            costs: of cells that were trained.
            predicted: (cells, values) -> what predicts such values.
        """
        for c in self.list:
            values = measured.of_note(c.note)
            if not c.is_learned_from(values):
                continue
            cells, numbers = zip(*values if c.keeps_all else [*values, *costs], strict=True)
            score = affordable_first(score, predicted(cells, np.log(numbers)), float(np.log(c.max)))
        return score
