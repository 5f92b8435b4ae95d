"""What tabular benchmarks share: the table, the space of its cells, and the evaluator that looks accuracies up."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeGuard

import numpy as np

from gemnet.cell import Cell
from gemnet.complexity import CellStatistics
from gemnet.core.settings import Setting
from gemnet.cost import Cost
from gemnet.operators import INPUT
from search.core.checks import takes_settings
from search.core.types import CellArrays, Evaluation, EvaluationError, Evaluator, Job, SearchError, Space

if TYPE_CHECKING:
    from search.spaces.isomorphism import Index

POOLS = ("evaluated", "all")
Pool = Annotated[
    str,
    Setting("the table's cells that have a validation accuracy and can be searched, or all, to train encoders", choices=POOLS),
]
Data = Annotated[
    str | os.PathLike[str] | None,
    Setting("the benchmark's compact file, or the folder that has it; None for where it is looked for by default"),
]


@dataclass(frozen=True, eq=False)
class Table:
    """N cells of a benchmark with what was measured of them, but for the test images.

    adjacency: bool [N, n, n]. operators: int8 [N, n], as in CellArrays, index into (input, *names). params: int64 [N].
    epochs: lengths of the trainings, ascending. curves: float64 [N, len(epochs)], validation accuracy from 0 to 1 after each,
    NaN where it is not known.

    Accuracies on test images are no part of it: `test_accuracy` reads them from the file when it is called, and no space,
    evaluator or search calls it. It is there to score what a search or a predictor has chosen without it.
    """

    name: str
    source: Path
    names: tuple[str, ...]
    adjacency: np.ndarray
    operators: np.ndarray
    params: np.ndarray
    epochs: tuple[int, ...]
    curves: np.ndarray
    read_test_accuracy: Callable[[Path], np.ndarray]

    def __len__(self) -> int:
        return len(self.params)

    @property
    def cells(self) -> CellArrays:
        return CellArrays(self.adjacency, self.operators)

    @property
    def validation_accuracy(self) -> np.ndarray:
        """float64 [N], from 0 to 1, after the longest training; NaN where it is not known."""
        return self.curves[:, -1]

    @cached_property
    def evaluated(self) -> np.ndarray:
        """The rows whose validation accuracy is known, ascending."""
        return np.flatnonzero(np.isfinite(self.validation_accuracy))

    def test_accuracy(self) -> np.ndarray:
        """float64 [N], from 0 to 1: mean over the trainings of a cell. For scoring alone; nothing may be chosen by it."""
        return self.read_test_accuracy(self.source)

    @cached_property
    def _evaluated_index(self) -> Index:
        from search.spaces.isomorphism import Index  # imports numba

        return Index(self.cells, self.evaluated)

    @cached_property
    def _other_index(self) -> Index:
        """Of the rows that are hardly ever asked for: apart, since hashing all cells takes a second."""
        from search.spaces.isomorphism import Index

        return Index(self.cells, np.setdiff1d(np.arange(len(self)), self.evaluated))

    def row(self, arrays: CellArrays) -> int | None:
        """The first row whose cell is isomorphic to the one cell of `arrays`, evaluated rows first; None without one."""
        names = (INPUT, *self.names)
        found = self._evaluated_index.find(arrays, names)
        return self._other_index.find(arrays, names) if found is None else found


class TabularSpace(Space, ABC):
    """The cells of a table as a search space: `sample` draws rows of the pool, with replacement, each equally likely."""

    table: Table

    @takes_settings("space")
    def __init__(self, table: Table, pool: Pool = "evaluated") -> None:
        self.table, self.pool_name = table, pool
        self.pool = table.evaluated if pool == "evaluated" else np.arange(len(table))
        if not len(self.pool):
            raise SearchError(f"{table.source}: no cell has a validation accuracy")
        self.operators = table.names
        self.num_nodes = table.operators.shape[1]
        self._names = (INPUT, *table.names)

    def sample(self, rng: np.random.Generator, count: int) -> CellArrays:
        """`count` cells of the pool, the same for the same state of `rng`."""
        return self.table.cells[self.pool[rng.integers(len(self.pool), size=count)]]

    def from_cells(self, cells: Sequence[Cell]) -> CellArrays:
        """Arrays of cells of the benchmark's space, in the table or not. Raises SearchError for a cell outside the space."""
        return CellArrays.of([self.checked(cell) for cell in cells], self.num_nodes, self._names)

    def row(self, cell: Cell) -> int:
        """The row of a cell, whatever the order of its nodes. Raises SearchError for a cell that is not in the table."""
        row = self.table.row(self.from_cells([cell]))
        if row is None:
            raise SearchError(f"{self.published_name(cell)} is not in {self.table.source}")
        return row

    def published_name(self, cell: Cell) -> str:
        """How messages call a cell of the space: as the benchmark writes it, where it has a way to."""
        return f"the cell {cell.digest()[:8]}"

    @abstractmethod
    def checked(self, cell: Cell) -> Cell:
        """The cell as the benchmark has it. Raises SearchError for a cell outside the space."""

    @abstractmethod
    def count(self, arrays: CellArrays) -> Cost:
        """Params, MACs and activations of the benchmark's networks of B cells, int64 [B]."""

    def verdict(self, cell: Cell) -> str:
        """How good a chosen cell is on test images, in one line. To be asked when nothing is left to be chosen."""
        test, row = self.table.test_accuracy(), self.row(cell)
        best = test[self.pool].max()
        rank = int((test[self.pool] > test[row]).sum()) + 1
        return (
            f"test accuracy {test[row]:.4f} (row {row}), rank {rank} of {len(self.pool)} in the pool, "
            f"{best - test[row]:.4f} below its best; read after the choice, not used for it"
        )

    def _outside(self, reason: str) -> SearchError:
        return SearchError(f"a cell is outside {self.table.name}: {reason}")


def _is_tabular(space: Space) -> TypeGuard[TabularSpace]:
    """Whether a space has a table; then it finds the rows of cells and counts their networks as well."""
    return space.table is not None


class TabularEvaluator(Evaluator):
    """Looks up in the table of `space` what the training of a cell gave; stands where the proxy trains (NASGEM, step 2).

    An epoch of the curve is one whole training of the table, from the shortest to the longest. Cost is that of the
    benchmark's network: params as stored, MACs and activations counted.
    """

    num_classes = 10
    no_max_macs = "search: max_macs is for networks that are trained; bound the cost of a table's cells by cost.max"

    def __init__(self, space: Space) -> None:
        """Raises SearchError for a space without a table."""
        if not _is_tabular(space):
            raise SearchError(
                "proxy: 'table' is for the space of a benchmark (space.type='nasbench101', 'nasbench201' or 'nasbench_macro')"
            )
        self.space = space
        curves = space.table.curves[space.table.evaluated]
        self._known = np.flatnonzero(np.isfinite(curves).all(0))
        self._costs: dict[int, Cost] = {}

    @property
    def epochs(self) -> int:
        return len(self._known)

    def cost(self, cell: Cell, statistics: CellStatistics | None = None) -> Cost:
        """Of one cell. Raises SearchError for a cell that is not in the table."""
        table, row = self.space.table, self.space.row(cell)
        if row not in self._costs:  # a search asks twice
            counted = self.space.count(table.cells[row : row + 1])
            self._costs[row] = Cost(int(table.params[row]), int(counted.macs[0]), int(counted.activations[0]))
        return self._costs[row]

    def evaluate(self, job: Job, device: str = "cpu") -> Evaluation:
        """The stored validation accuracies of job.cell. Raises EvaluationError where there are none."""
        started = time.perf_counter()
        try:
            row = self.space.row(job.cell)
        except SearchError as error:
            raise EvaluationError(str(error)) from None
        curve = tuple(self.space.table.curves[row, self._known].tolist())
        if not np.isfinite(curve).all():
            raise EvaluationError(f"row {row} has no validation accuracy; search with space.pool='evaluated'")
        for epoch, accuracy in job.early_stop_thresholds:
            if curve[epoch - 1] < accuracy:
                return Evaluation(curve[epoch - 1], curve[:epoch], True, time.perf_counter() - started)
        return Evaluation(curve[-1], curve, False, time.perf_counter() - started)
