"""The spaces of graphs: ENAS, NAS-Bench-101, NAS-Bench-201 and the cells of a search; their rules, and cells as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from gemnet.operators import INPUT
from search.core.types import ABSENT, OUTPUT, CellArrays, SearchError, Space
from search.encoders.svge.graphs import GraphSpace
from search.encoders.svge.repair import chained, ended_by_leaves, in_order_of_enumeration, trimmed
from search.spaces import nasbench101, nasbench201
from search.spaces.tabular import Table


def enas_space(layers: int = 6) -> GraphSpace:
    """ENAS's macro space with `layers` layers, as D-VAE (arXiv 1904.11088) has it: 6 operators; each node is fed by the one
    before, skip connections besides; the output by the last layer alone. The search space of 6 layers has 8 nodes, of 12 has
    14.
    """
    operators = ("conv3x3", "sepconv3x3", "conv5x5", "sepconv5x5", "avgpool3x3", "maxpool3x3")
    nodes = layers + 2
    types = ("input", *operators, "output")
    return GraphSpace(f"enas{layers}", types, nodes, partial(_is_chain, nodes), partial(chained, nodes), nodes)


def _is_chain(nodes: int, graphs: CellArrays) -> np.ndarray:
    """`nodes` nodes, each fed by the one before, the last one by nothing else."""
    if graphs.operators.shape[1] < nodes:
        return np.zeros(len(graphs), bool)
    fed_in_turn = np.diagonal(graphs.adjacency, 1, 1, 2)[:, : nodes - 1].all(1)
    return (graphs.sizes == nodes) & fed_in_turn & (graphs.adjacency[:, :, nodes - 1].sum(1) == 1)


def nasbench101_space(max_nodes: int = nasbench101.MAX_NODES, max_edges: int = nasbench101.MAX_EDGES) -> GraphSpace:
    """NAS-Bench-101 (arXiv 1902.09635): 3 operators, at most 7 nodes and 9 edges. The benchmark prunes what lies on no path
    from the input to the output; such a graph is not valid here: it is another cell than it looks. Graphs are
    repaired into the benchmark's order of nodes, see `in_order_of_enumeration`.

    Raises SearchError where a chain of `max_nodes` nodes has more than `max_edges` edges."""
    if max_edges < max_nodes - 1:
        raise SearchError(f"space nasbench101: max_edges: expected at least {max_nodes - 1}, found {max_edges}")
    types, rule = (INPUT, *nasbench101.OPERATORS), partial(_has_at_most, max_edges)
    return GraphSpace("nasbench101", types, max_nodes, rule, partial(_as_enumerated, max_edges))


def _as_enumerated(max_edges: int, graphs: CellArrays, confidence: np.ndarray) -> CellArrays:
    return in_order_of_enumeration(trimmed(max_edges, graphs, confidence))


def _has_at_most(max_edges: int, graphs: CellArrays) -> np.ndarray:
    return graphs.adjacency.sum((1, 2)) <= max_edges


def nasbench201_space() -> GraphSpace:
    """NAS-Bench-201 (arXiv 2001.00326): 8 nodes, 5 operators ("none" is one), one wiring."""
    n = nasbench201.NUM_NODES
    return GraphSpace("nasbench201", (INPUT, *nasbench201.OPERATORS), n, _has_the_wiring, _with_the_wiring, n)


def _has_the_wiring(graphs: CellArrays) -> np.ndarray:
    n = nasbench201.NUM_NODES
    if graphs.operators.shape[1] < n:
        return np.zeros(len(graphs), bool)
    return (graphs.sizes == n) & (graphs.adjacency[:, :n, :n] == nasbench201.ADJACENCY).all((1, 2))


def _with_the_wiring(graphs: CellArrays, confidence: np.ndarray) -> CellArrays:
    return CellArrays(np.broadcast_to(nasbench201.ADJACENCY, graphs.adjacency.shape).copy(), graphs.operators)


def graphs_of_table(table: Table, rows: slice | Sequence[int] | np.ndarray = slice(None)) -> CellArrays:
    """Rows of a benchmark's table, of `nasbench101_space()` or `nasbench201_space()`: their cells have the output as a node."""
    return CellArrays(table.adjacency[rows], table.operators[rows])


def cell_space(space: Space) -> GraphSpace:
    """The cells of `space` as graphs. NASGEM's get an output node after the last one, fed by exactly the leaves, as their
    outputs are what a cell gives (paper, 3.2); a benchmark's have theirs."""
    if isinstance(space, nasbench101.NasBench101Space):
        return nasbench101_space()
    if isinstance(space, nasbench201.NasBench201Space):
        return nasbench201_space()
    types = ("input", *space.operators, "output")
    return GraphSpace("cells", types, space.num_nodes + 1, partial(_only_leaves_feed, len(types) - 1), ended_by_leaves, 3)


def _only_leaves_feed(end: int, graphs: CellArrays) -> np.ndarray:
    """Nodes that feed the output, the type `end`, feed no other."""
    is_output = graphs.operators == end
    to_output = (graphs.adjacency & is_output[:, None, :]).any(2)
    to_others = (graphs.adjacency & ~is_output[:, None, :]).any(2)
    return ~(to_output & to_others).any(1) & (graphs.sizes > 2)


def graphs_of_cells(space: Space, cells: CellArrays) -> CellArrays:
    """Pruned cells -> graphs of `cell_space(space)` with all its places. Raises SearchError for a cell that is too large for
    the space."""
    if OUTPUT in space.operators:
        return cells.padded(space.num_nodes)
    largest = int((cells.operators >= 0).sum(1).max(initial=0))
    if largest > space.num_nodes:
        raise SearchError(f"a cell has {largest} nodes; the space allows {space.num_nodes}")
    nodes = cells.packed(cells.operators != ABSENT).padded(space.num_nodes)
    rows, sizes, leaves = np.arange(len(cells)), nodes.sizes, (nodes.operators != ABSENT) & ~nodes.adjacency.any(2)
    graphs = nodes.padded(space.num_nodes + 1)
    graphs.operators[rows, sizes] = len(space.operators) + 1
    graphs.adjacency[rows, :-1, sizes] = leaves
    return graphs


def cells_of_graphs(space: Space, graphs: CellArrays) -> CellArrays:
    """The cells that valid graphs of `cell_space(space)` stand for, `space.num_nodes` places each: the graphs without the
    output that they got."""
    if OUTPUT in space.operators:
        graphs = graphs.padded(space.num_nodes)
        return CellArrays(graphs.adjacency, graphs.operators)
    graphs = graphs.padded(space.num_nodes + 1)
    node = (graphs.operators != ABSENT) & (graphs.operators != len(space.operators) + 1)
    operators = np.where(node, graphs.operators, np.int8(ABSENT)).astype(np.int8)
    adjacency = graphs.adjacency & node[:, :, None] & node[:, None, :]
    return CellArrays(adjacency[:, :-1, :-1], operators[:, :-1])
