"""Children of a cell for evolution: the same cell with few changes, in any of the spaces that searches are compared in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemnet.cell import Cell
from search.core.types import OUTPUT, CellArrays, Space
from search.experiments.paper import evolution as nasbench101
from search.spaces.dag import prune
from search.spaces.isomorphism import isomorphism_hash
from search.spaces.nasbench101 import NasBench101Space
from search.spaces.nasbench_macro import BLOCKS, LAYERS, NasBenchMacroSpace, canonical, cells_of, stack_of
from search.spaces.tabular import TabularSpace

LITTER = 64
"""Children made at a time."""
LITTERS = 200


class Children:
    """Makes children of cells of a space; of a table's cells those alone that are in its pool."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._pool: frozenset[int] | None = None
        if isinstance(space, TabularSpace):
            self._pool = frozenset(isomorphism_hash(space.table.cells[space.pool]).tolist())

    def of(self, parent: Cell, rng: np.random.Generator) -> Iterator[Cell]:
        """Cells that are `parent` with few changes, not all of them different; they end where hardly any is found."""
        arrays = self.space.from_cells([parent])
        for _ in range(LITTERS):
            litter = mutated(self.space, arrays, rng, LITTER)
            if self._pool is not None:
                litter = litter[[value in self._pool for value in isomorphism_hash(litter).tolist()]]
            yield from one_by_one(self.space, litter)


def one_by_one(space: Space, arrays: CellArrays) -> Iterator[Cell]:
    """The cells of arrays, made when they are asked for: mostly the first will do."""
    for row in range(len(arrays)):
        yield from space.to_cells(arrays[row : row + 1])


def mutated(space: Space, cell: CellArrays, rng: np.random.Generator, count: int) -> CellArrays:
    """At most `count` random children of one cell, some of which may be the cell itself.

    Where all cells of a table share one graph, a child has another operator on one node; a stack of layers has another block in
    one layer. In NAS-Bench-101 and in a space of DAGs each possible edge is flipped and each operator drawn anew, one of
    either on average.
    """
    if isinstance(space, NasBench101Space):
        return nasbench101.mutated(cell, rng, count)
    if isinstance(space, NasBenchMacroSpace):
        return _other_layer(space, cell, rng, count)
    if isinstance(space, TabularSpace):
        return _other_operator(space, cell, rng, count)
    return _flipped(space, cell, rng, count)


def _other_operator(space: TabularSpace, cell: CellArrays, rng: np.random.Generator, count: int) -> CellArrays:
    ends = {0, *(place for place, name in enumerate((None, *space.operators)) if name == OUTPUT)}
    places = np.array([place for place, code in enumerate(cell.operators[0]) if int(code) not in ends])
    choices = np.array([code for code in range(1, len(space.operators) + 1) if code not in ends])
    operators = np.repeat(cell.operators, count, axis=0)
    operators[np.arange(count), rng.choice(places, count)] = rng.choice(choices, count)
    return CellArrays(np.repeat(cell.adjacency, count, axis=0), operators)


def _other_layer(space: NasBenchMacroSpace, cell: CellArrays, rng: np.random.Generator, count: int) -> CellArrays:
    digits = [int(digit) for digit in stack_of(space.to_cells(cell)[0])]
    stacks = np.tile(np.array(digits), (count, 1))
    stacks[np.arange(count), rng.integers(LAYERS, size=count)] = rng.integers(len(BLOCKS), size=count)
    return cells_of(canonical(stacks))


def _flipped(space: Space, cell: CellArrays, rng: np.random.Generator, count: int) -> CellArrays:
    n = space.num_nodes
    upper = np.triu(np.ones((n, n), bool), 1)
    flips = (rng.random((count, n, n)) < 1 / upper.sum()) & upper
    renewed = (rng.random((count, n)) < 1 / max(1, n - 1)) | (cell.operators < 0)
    drawn = rng.integers(1, len(space.operators) + 1, (count, n))
    operators = np.where(renewed, drawn, cell.operators).astype(np.int8)
    operators[:, 0] = 0
    made = CellArrays(cell.adjacency ^ flips, operators)
    return made[np.flatnonzero((prune(made).operators[:, 1:] >= 0).any(1))]
