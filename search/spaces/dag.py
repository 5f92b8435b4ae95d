"""Search spaces: sampling cells, and cells as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np

from gemnet.cell import MAX_NODES, Cell
from gemnet.complexity import CellStatistics, OperatorCounts
from gemnet.core.settings import Setting
from gemnet.operators import INPUT, OPERATORS
from search.core.checks import takes_settings
from search.core.registry import build_named
from search.core.types import CellArrays, SearchError, Space
from search.spaces.benchmarks import SPACES as BENCHMARKS

SHARE = Setting("", float, above=0, at_most=1)


@takes_settings("space")
class DagSpace:
    """The space of the paper (section 4): subgraphs of the complete DAG of `num_nodes` nodes, any operator on each node.

    Node 0 is the input. The density of edges is drawn for each cell, uniformly between the two ends of `density`, so that
    small and large cells both occur; then each edge is drawn by itself. Cells without a node that the input reaches are
    drawn again.
    """

    def __init__(
        self,
        num_nodes: Annotated[int, Setting("nodes of a cell, the input among them", at_least=2, at_most=MAX_NODES)] = 30,
        operators: Annotated[
            Sequence[str],
            Setting("that a node may have, each once", item=Setting("", str, choices=tuple(OPERATORS)), length=(1, None)),
        ] = ("conv1x1", "sepconv3x3"),
        density: Annotated[
            tuple[float, float],
            Setting("lowest and highest share of the possible edges that a cell has", item=SHARE, length=(2, 2)),
        ] = (0.1, 0.5),
    ) -> None:
        if len(set(operators)) != len(operators):
            raise SearchError(f"space: operators: expected each once, found {list(operators)}")
        if density[0] > density[1]:
            raise SearchError(f"space: density: expected the lower share first, found {list(density)}")
        self.num_nodes = num_nodes
        self.operators = tuple(operators)
        self.density = (float(density[0]), float(density[1]))
        self._upper = np.triu(np.ones((num_nodes, num_nodes), bool), 1)

    def sample(self, rng: np.random.Generator, count: int) -> CellArrays:
        """`count` random cells with `num_nodes` nodes, the same for the same state of `rng`."""
        n = self.num_nodes
        density = rng.uniform(*self.density, (count, 1, 1)).astype(np.float32)
        adjacency = (rng.random((count, n, n), dtype=np.float32) < density) & self._upper
        operators = rng.integers(1, len(self.operators) + 1, (count, n), dtype=np.int8)
        operators[:, 0] = 0
        empty = np.flatnonzero(~adjacency[:, 0].any(1))
        if len(empty):
            again = self.sample(rng, len(empty))
            adjacency[empty], operators[empty] = again.adjacency, again.operators
        return CellArrays(adjacency, operators)

    def to_cells(self, arrays: CellArrays) -> list[Cell]:
        """One Cell for each row, without the places where there is no node."""
        return [arrays.cell(row, (INPUT, *self.operators)) for row in range(len(arrays))]

    def from_cells(self, cells: Sequence[Cell]) -> CellArrays:
        """Arrays of cells with at most `num_nodes` nodes. Raises SearchError for a cell outside the space."""
        names = (INPUT, *self.operators)
        for cell in cells:
            if len(cell.nodes) > self.num_nodes:
                raise SearchError(f"a cell has {len(cell.nodes)} nodes; the space allows {self.num_nodes}")
            unknown = set(cell.nodes) - set(names)
            if unknown:
                raise SearchError(f"a cell has the operator {min(unknown)!r}; the space has {', '.join(self.operators)}")
        return CellArrays.of(cells, self.num_nodes, names)


SPACES: dict[str, Callable[..., Space]] = {"dag": DagSpace, **BENCHMARKS}


def build_space(type: str = "dag", **settings: Any) -> Space:
    """A space by name: the paper's, or a benchmark's. Raises SearchError for an unknown name or setting."""
    return build_named("space", SPACES, type, **settings)


def prune(arrays: CellArrays) -> CellArrays:
    """The same cells without the nodes that the input does not reach: their operator becomes -1, their edges go."""
    adjacency = arrays.adjacency
    live = np.zeros(arrays.operators.shape, bool)
    live[:, 0] = True
    for v in range(1, live.shape[1]):
        live[:, v] = (adjacency[:, :v, v] & live[:, :v]).any(1) & (arrays.operators[:, v] >= 0)
    return CellArrays(
        adjacency & live[:, :, None] & live[:, None, :], np.where(live, arrays.operators, np.int8(-1)).astype(np.int8)
    )


def statistics(space: DagSpace, arrays: CellArrays) -> CellStatistics:
    """What the cost of each of B pruned cells depends on, as integer arrays [B]; prices all of them in one call."""
    in_degree = arrays.adjacency.sum(1)  # [B, n]
    from_input = arrays.adjacency[:, 0].astype(np.int64)
    counts = {}
    for i, name in enumerate(space.operators, 1):
        chosen = arrays.operators == i
        counts[name] = OperatorCounts(
            nodes=chosen.sum(1),
            input_edges=(chosen * from_input).sum(1),
            inner_edges=(chosen * (in_degree - from_input)).sum(1),
        )
    leaves = ((arrays.operators > 0) & ~arrays.adjacency.any(2)).sum(1)
    return CellStatistics(counts, leaves)
