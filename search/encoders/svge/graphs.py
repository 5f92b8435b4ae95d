"""Spaces of labelled DAGs: what a graph autoencoder reads and writes.

Graphs are `CellArrays`. Their operators are an index into the types of a space, and their nodes lie in the first places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search.core.types import ABSENT, CellArrays, SearchError


def no_further_rule(graphs: CellArrays) -> np.ndarray:
    """True for each graph, bool [B]."""
    return np.ones(len(graphs), bool)


@dataclass(frozen=True)
class GraphSpace:
    """What graphs there are.

    types: of nodes; the first is the input's, the last the output's, the others are operators. max_nodes: input and output
    counted. rule: what a graph must satisfy besides `is_dag_with_input_and_output` to be one of the space, batched: B graphs
    -> bool [B]. repair: makes graphs of the space of decoded ones with at least `min_nodes` nodes, input first and output
    last, and may reorder nodes: see `search.encoders.svge.repair`; None for `connected`, which is enough without a rule.
    """

    name: str
    types: tuple[str, ...]
    max_nodes: int
    rule: Callable[[CellArrays], np.ndarray] = no_further_rule
    repair: Callable[[CellArrays, np.ndarray], CellArrays] | None = None
    min_nodes: int = 2

    def __post_init__(self) -> None:
        if len(self.types) < 3 or len(set(self.types)) != len(self.types) or len(self.types) > 127:
            raise SearchError(f"space {self.name}: expected 3 to 127 distinct types of nodes, found {list(self.types)}")
        if not (isinstance(self.max_nodes, int) and self.max_nodes >= 2):
            raise SearchError(f"space {self.name}: expected max_nodes from 2, found {self.max_nodes!r}")
        if not (isinstance(self.min_nodes, int) and 2 <= self.min_nodes <= self.max_nodes):
            raise SearchError(f"space {self.name}: expected min_nodes from 2 to {self.max_nodes}, found {self.min_nodes!r}")

    @property
    def start(self) -> int:
        """Type of the input."""
        return 0

    @property
    def end(self) -> int:
        """Type of the output."""
        return len(self.types) - 1

    @property
    def num_nodes(self) -> int:
        """max_nodes, under the name that saved encoders know."""
        return self.max_nodes

    @property
    def operators(self) -> tuple[str, ...]:
        """Types but for the input's and the output's."""
        return self.types[1:-1]

    def valid(self, graphs: CellArrays) -> np.ndarray:
        """Which graphs are of this space, bool [B]."""
        return (graphs.sizes <= self.max_nodes) & is_dag_with_input_and_output(graphs, self.end) & self.rule(graphs)

    def check(self, graphs: CellArrays) -> CellArrays:
        """The same graphs, `max_nodes` places each. Raises SearchError for arrays that are not graphs with these types, in
        topological order and without gaps, or for one that is too large. Graphs need not be valid."""
        types, adjacency = graphs.operators, graphs.adjacency
        whole = types.dtype.kind in "iu" and adjacency.dtype == bool
        if types.ndim != 2 or adjacency.shape != (*types.shape, types.shape[1]) or not whole:
            raise SearchError(
                f"graphs: expected types, whole numbers [B, n], and adjacency bool [B, n, n], found {types.dtype} "
                f"{types.shape} and {adjacency.dtype} {adjacency.shape}"
            )
        graphs = graphs.padded(self.max_nodes)
        present = graphs.operators != ABSENT
        if (graphs.operators < ABSENT).any() or (graphs.operators > self.end).any():
            raise SearchError(f"graphs: expected types from -1 to {self.end} ({', '.join(self.types)})")
        if not present[:, :1].all() or (present[:, 1:] & ~present[:, :-1]).any():
            raise SearchError("graphs: expected the nodes of each graph, one at least, in its first places")
        if np.tril(graphs.adjacency).any() or (graphs.adjacency & ~present[:, None, :]).any():
            raise SearchError("graphs: expected edges u -> v with u < v between nodes that are there")
        return graphs


def is_dag_with_input_and_output(graphs: CellArrays, end: int) -> np.ndarray:
    """Which graphs are connected computations, bool [B]: exactly one input (type 0) and one output (type `end`), each other
    node with a predecessor, each but the output with a successor. All nodes then lie on paths from the input to the output,
    and, the order being topological, the input comes first and the output last. D-VAE's and SVGe's notion of a valid DAG.
    """
    present = graphs.operators != ABSENT
    is_start, is_end = graphs.operators == 0, graphs.operators == end
    fed = graphs.adjacency.any(1) | is_start | ~present
    used = graphs.adjacency.any(2) | is_end | ~present
    return (is_start.sum(1) == 1) & (is_end.sum(1) == 1) & fed.all(1) & used.all(1)


def split(count: int, share: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random split of `count` rows into int(share * count) for training and the others for testing, as two index arrays."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: int(share * count)], order[int(share * count) :]
