"""Search spaces: sampling cells, and cells as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from gemnet.cell import MAX_NODES
from gemnet.complexity import CellStatistics, OperatorCounts
from gemnet.core.settings import Setting
from gemnet.operators import NAMES, operator
from search.core.checks import takes_settings
from search.core.parts import SPACES
from search.core.types import CellArrays, SearchError, Space

SHARE = Setting("", float, above=0, at_most=1)


@takes_settings("space")
class DagSpace(Space):
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
            Setting("that a node may have, each once", item=Setting("", str, choices=NAMES), length=(1, None)),
        ] = ("conv1x1", "sepconv3x3"),
        density: Annotated[
            tuple[float, float],
            Setting("lowest and highest share of the possible edges that a cell has", item=SHARE, length=(2, 2)),
        ] = (0.1, 0.5),
    ) -> None:
        names = [NAMES[name].name for name in operators]
        if len(set(names)) != len(names):
            raise SearchError(f"space: operators: expected each once, found {list(operators)}")
        if density[0] > density[1]:
            raise SearchError(f"space: density: expected the lower share first, found {list(density)}")
        self.num_nodes = num_nodes
        self.operators = tuple(names)
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


def build_space(type: str = "dag", **settings: Any) -> Space:
    """A space by name: the paper's, a benchmark's, or an own one. Raises SearchError for an unknown name or setting."""
    return SPACES.build(type, {}, settings)


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


def statistics(space: Space, arrays: CellArrays) -> CellStatistics:
    """What the cost of each of B pruned cells depends on, as integer arrays [B]; prices all of them in one call."""
    in_degree = arrays.adjacency.sum(1)  # [B, n]
    from_input = arrays.adjacency[:, 0].astype(np.int64)
    counts, nodes = {}, {}
    for i, name in enumerate(space.operators, 1):
        chosen = arrays.operators == i
        if not operator(name).cost.affine:
            inner = in_degree - from_input
            for first, more in np.unique(np.stack([from_input[chosen], inner[chosen]]), axis=1).T.tolist():
                nodes[name, first, more] = (chosen & (from_input == first) & (inner == more)).sum(1)
            continue
        counts[name] = OperatorCounts(
            nodes=chosen.sum(1),
            input_edges=(chosen * from_input).sum(1),
            inner_edges=(chosen * (in_degree - from_input)).sum(1),
        )
    leaves = ((arrays.operators > 0) & ~arrays.adjacency.any(2)).sum(1)
    return CellStatistics(counts, leaves, nodes)
