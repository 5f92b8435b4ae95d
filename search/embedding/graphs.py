"""Labelled DAGs as arrays, and the spaces they come from: what a graph autoencoder reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gemnet.operators import INPUT
from search.base import CellArrays, SearchError, Space
from search.benchmarks import Table, TabularSpace, nasbench101, nasbench201

ABSENT = -1
"""The type of a place without a node."""


@dataclass(frozen=True)
class Graphs:
    """B labelled DAGs with at most n nodes each. A graph's nodes are its first places, in topological order.

    types: int8 [B, n], index into `GraphSpace.types`; -1 where there is no node.
    adjacency: bool [B, n, n]; [b, u, v] is the edge u -> v, u < v.
    """

    types: np.ndarray
    adjacency: np.ndarray

    def __len__(self) -> int:
        return len(self.types)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> Graphs:
        return Graphs(self.types[rows], self.adjacency[rows])

    @property
    def sizes(self) -> np.ndarray:
        """Nodes of each graph, int64 [B]."""
        return (self.types != ABSENT).sum(1)

    @property
    def cells(self) -> CellArrays:
        """The same arrays with types as operators, for the kernel and for hashes of isomorphism."""
        return CellArrays(self.adjacency, self.types)

    def padded(self, num_nodes: int) -> Graphs:
        """The same graphs with `num_nodes` places each. Raises SearchError where a graph has more nodes."""
        n = self.types.shape[1]
        if n > num_nodes and (self.types[:, num_nodes:] != ABSENT).any():
            raise SearchError(f"a graph has {int(self.sizes.max())} nodes; the space allows {num_nodes}")
        keep, more = min(n, num_nodes), max(0, num_nodes - n)
        types = np.pad(self.types[:, :keep], ((0, 0), (0, more)), constant_values=ABSENT)
        return Graphs(types, np.pad(self.adjacency[:, :keep, :keep], ((0, 0), (0, more), (0, more))))

    def keys(self, num_nodes: int) -> np.ndarray:
        """One opaque value a graph, void [B]: equal where graphs with at most `num_nodes` nodes have the same types and edges
        at the same places (isomorphic graphs in another order differ), whatever their padding.
        """
        same = self.padded(num_nodes)
        bits = np.packbits(same.adjacency.reshape(len(same), -1), axis=1)
        content = np.ascontiguousarray(np.concatenate([same.types.view(np.uint8), bits], axis=1))
        return content.view([("", f"V{content.shape[1]}")])["f0"].reshape(-1) if len(content) else np.empty(0, "V1")

    @staticmethod
    def concatenate(parts: Iterable[Graphs]) -> Graphs:
        parts = list(parts)
        return Graphs(np.concatenate([p.types for p in parts]), np.concatenate([p.adjacency for p in parts]))


def no_further_rule(graphs: Graphs) -> np.ndarray:
    """True for each graph, bool [B]."""
    return np.ones(len(graphs), bool)


@dataclass(frozen=True)
class GraphSpace:
    """What graphs there are.

    types: of nodes; the first is the input's, the last the output's, the others are operators. max_nodes: input and output
    counted. rule: what a graph must satisfy besides `is_dag_with_input_and_output` to be one of the space, batched: Graphs of B
    graphs -> bool [B].
    """

    name: str
    types: tuple[str, ...]
    max_nodes: int
    rule: Callable[[Graphs], np.ndarray] = no_further_rule

    def __post_init__(self) -> None:
        if len(self.types) < 3 or len(set(self.types)) != len(self.types) or len(self.types) > 127:
            raise SearchError(f"space {self.name}: expected 3 to 127 distinct types of nodes, found {list(self.types)}")
        if not (isinstance(self.max_nodes, int) and self.max_nodes >= 2):
            raise SearchError(f"space {self.name}: expected max_nodes from 2, found {self.max_nodes!r}")

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

    def valid(self, graphs: Graphs) -> np.ndarray:
        """Which graphs are of this space, bool [B]."""
        return (graphs.sizes <= self.max_nodes) & is_dag_with_input_and_output(graphs, self.end) & self.rule(graphs)

    def check(self, graphs: Graphs) -> Graphs:
        """The same graphs, `max_nodes` places each. Raises SearchError for arrays that are not graphs with these types, in
        topological order and without gaps, or for one that is too large. Graphs need not be valid."""
        types, adjacency = graphs.types, graphs.adjacency
        if types.ndim != 2 or adjacency.shape != (*types.shape, types.shape[1]) or adjacency.dtype != bool:
            raise SearchError(
                f"graphs: expected types [B, n] and adjacency bool [B, n, n], found {types.shape} and "
                f"{adjacency.dtype} {adjacency.shape}"
            )
        graphs = graphs.padded(self.max_nodes)
        present = graphs.types != ABSENT
        if (graphs.types < ABSENT).any() or (graphs.types > self.end).any():
            raise SearchError(f"graphs: expected types from -1 to {self.end} ({', '.join(self.types)})")
        if not present[:, :1].all() or (present[:, 1:] & ~present[:, :-1]).any():
            raise SearchError("graphs: expected the nodes of each graph, one at least, in its first places")
        if np.tril(graphs.adjacency).any() or (graphs.adjacency & ~present[:, None, :]).any():
            raise SearchError("graphs: expected edges u -> v with u < v between nodes that are there")
        return graphs


def is_dag_with_input_and_output(graphs: Graphs, end: int) -> np.ndarray:
    """Which graphs are connected computations, bool [B]: exactly one input (type 0) and one output (type `end`), each other
    node with a predecessor, each but the output with a successor. All nodes then lie on paths from the input to the output,
    and, the order being topological, the input comes first and the output last. D-VAE's and SVGe's notion of a valid DAG.
    """
    present = graphs.types != ABSENT
    is_start, is_end = graphs.types == 0, graphs.types == end
    fed = graphs.adjacency.any(1) | is_start | ~present
    used = graphs.adjacency.any(2) | is_end | ~present
    return (is_start.sum(1) == 1) & (is_end.sum(1) == 1) & fed.all(1) & used.all(1)


def enas_space(layers: int = 6) -> GraphSpace:
    """ENAS's macro space with `layers` layers, as D-VAE (arXiv 1904.11088) has it: 6 operators; each node is fed by the one
    before, skip connections besides; the output by the last layer alone. The search space of 6 layers has 8 nodes, of 12 has
    14.
    """
    operators = ("conv3x3", "sepconv3x3", "conv5x5", "sepconv5x5", "avgpool3x3", "maxpool3x3")
    return GraphSpace(f"enas{layers}", ("input", *operators, "output"), layers + 2, partial(_is_chain, layers + 2))


def _is_chain(nodes: int, graphs: Graphs) -> np.ndarray:
    """`nodes` nodes, each fed by the one before, the last one by nothing else."""
    if graphs.types.shape[1] < nodes:
        return np.zeros(len(graphs), bool)
    chained = np.diagonal(graphs.adjacency, 1, 1, 2)[:, : nodes - 1].all(1)
    return (graphs.sizes == nodes) & chained & (graphs.adjacency[:, :, nodes - 1].sum(1) == 1)


def nasbench101_space(max_nodes: int = nasbench101.MAX_NODES, max_edges: int = nasbench101.MAX_EDGES) -> GraphSpace:
    """NAS-Bench-101 (arXiv 1902.09635): 3 operators, at most 7 nodes and 9 edges. The benchmark prunes what lies on no path
    from the input to the output; such a graph is not valid here: it is another cell than it looks."""
    return GraphSpace("nasbench101", (INPUT, *nasbench101.OPERATORS), max_nodes, partial(_has_at_most, max_edges))


def _has_at_most(max_edges: int, graphs: Graphs) -> np.ndarray:
    return graphs.adjacency.sum((1, 2)) <= max_edges


def nasbench201_space() -> GraphSpace:
    """NAS-Bench-201 (arXiv 2001.00326): 8 nodes, 5 operators ("none" is one), one wiring."""
    return GraphSpace("nasbench201", (INPUT, *nasbench201.OPERATORS), nasbench201.NUM_NODES, _has_the_wiring)


def _has_the_wiring(graphs: Graphs) -> np.ndarray:
    n = nasbench201.NUM_NODES
    if graphs.types.shape[1] < n:
        return np.zeros(len(graphs), bool)
    return (graphs.sizes == n) & (graphs.adjacency[:, :n, :n] == nasbench201.ADJACENCY).all((1, 2))


def graphs_of_table(table: Table, rows: slice | Sequence[int] | np.ndarray = slice(None)) -> Graphs:
    """Rows of a benchmark's table, of `nasbench101_space()` or `nasbench201_space()`: their cells have the output as a node."""
    return Graphs(table.operators[rows], table.adjacency[rows])


def cell_space(space: Space) -> GraphSpace:
    """The cells of `space` as graphs. NASGEM's get an output node after the last one, fed by exactly the leaves, as their
    outputs are what a cell gives (paper, 3.2); a benchmark's have theirs."""
    if isinstance(space, nasbench101.NasBench101Space):
        return nasbench101_space()
    if isinstance(space, nasbench201.NasBench201Space):
        return nasbench201_space()
    types = ("input", *space.operators, "output")
    return GraphSpace("cells", types, space.num_nodes + 1, partial(_only_leaves_feed, len(types) - 1))


def _only_leaves_feed(end: int, graphs: Graphs) -> np.ndarray:
    """Nodes that feed the output, the type `end`, feed no other."""
    is_output = graphs.types == end
    to_output = (graphs.adjacency & is_output[:, None, :]).any(2)
    to_others = (graphs.adjacency & ~is_output[:, None, :]).any(2)
    return ~(to_output & to_others).any(1) & (graphs.sizes > 2)


def graphs_of_cells(space: Space, cells: CellArrays) -> Graphs:
    """Pruned cells -> graphs of `cell_space(space)` with all its places. Raises SearchError for a cell that is too large for
    the space."""
    if isinstance(space, TabularSpace):
        return Graphs(cells.operators, cells.adjacency).padded(space.num_nodes)
    count, n = cells.operators.shape
    if n > space.num_nodes and (cells.operators >= 0).sum(1).max(initial=0) > space.num_nodes:
        raise SearchError(f"a cell has {int((cells.operators >= 0).sum(1).max())} nodes; the space allows {space.num_nodes}")
    order = np.argsort(cells.operators < 0, axis=1, kind="stable")[:, : space.num_nodes]
    rows = np.arange(count)[:, None]
    operators = cells.operators[rows, order]
    adjacency = cells.adjacency[rows[:, :, None], order[:, :, None], order[:, None, :]]
    present = operators >= 0
    adjacency &= present[:, :, None] & present[:, None, :]
    graphs = Graphs(operators.astype(np.int8), adjacency).padded(space.num_nodes + 1)
    leaves = np.pad(present & ~adjacency.any(2), ((0, 0), (0, space.num_nodes + 1 - present.shape[1])))
    sizes = present.sum(1)
    graphs.types[np.arange(count), sizes] = len(space.operators) + 1
    graphs.adjacency[np.arange(count), :, sizes] = leaves
    return graphs


def cells_of_graphs(space: Space, graphs: Graphs) -> CellArrays:
    """The cells that valid graphs of `cell_space(space)` stand for, `space.num_nodes` places each: the graphs without the
    output that they got."""
    if isinstance(space, TabularSpace):
        graphs = graphs.padded(space.num_nodes)
        return CellArrays(graphs.adjacency, graphs.types)
    graphs = graphs.padded(space.num_nodes + 1)
    node = (graphs.types != ABSENT) & (graphs.types != len(space.operators) + 1)
    operators = np.where(node, graphs.types, np.int8(ABSENT)).astype(np.int8)
    adjacency = graphs.adjacency & node[:, :, None] & node[:, None, :]
    return CellArrays(adjacency[:, :-1, :-1], operators[:, :-1])


def split(count: int, share: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random split of `count` rows into int(share * count) for training and the others for testing, as two index arrays."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: int(share * count)], order[int(share * count) :]
