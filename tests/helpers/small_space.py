"""A space so small that all its graphs can be written down and learned, and definitions that are counted one by one."""

import itertools

import networkx as nx
import numpy as np

from search.core.types import CellArrays
from search.encoders.svge.graphs import GraphSpace
from search.spaces.dag import DagSpace

SMALL = GraphSpace("small", ("input", "a", "b", "c", "output"), 4)
QUICK = {"dim": 8, "state": 16, "epochs": 2, "batch": 16, "lr": 1e-3}
CELLS = DagSpace(6)


def every_graph(space):
    """All valid graphs of a small space."""
    parts = []
    for n in range(2, space.max_nodes + 1):
        u, v = np.triu_indices(n, 1)
        bits = np.array(list(itertools.product([False, True], repeat=len(u))))
        operators = np.array(list(itertools.product(range(1, space.end), repeat=n - 2)), np.int8)
        adjacency = np.zeros((len(bits), n, n), bool)
        adjacency[:, u, v] = bits
        types = np.full((len(operators), n), space.end, np.int8)
        types[:, 0], types[:, 1:-1] = 0, operators
        graphs = CellArrays(np.tile(adjacency, (len(types), 1, 1)), np.repeat(types, len(bits), 0)).padded(space.max_nodes)
        parts.append(graphs[space.valid(graphs)])
    return CellArrays.concatenate(parts)


def ordered(graphs):
    """Which graphs of at most 4 nodes are written in their only order, or in the first of two."""
    return graphs.adjacency[:, 1, 2] | (graphs.operators[:, 1] <= graphs.operators[:, 2]) | (graphs.sizes < 4)


def slowly_valid(types, adjacency, end):
    """One graph, by the words of the definition."""
    nodes = [v for v, kind in enumerate(types) if kind >= 0]
    if [types[v] for v in nodes].count(0) != 1 or [types[v] for v in nodes].count(end) != 1:
        return False
    for v in nodes:
        if types[v] != 0 and not any(adjacency[u][v] for u in nodes):
            return False
        if types[v] != end and not any(adjacency[v][w] for w in nodes):
            return False
    return True


def labelled(graph):
    """One graph as networkx has it, its types as labels."""
    made = nx.DiGraph(np.argwhere(graph.adjacency).tolist())
    made.add_nodes_from((v, {"type": int(kind)}) for v, kind in enumerate(graph.operators) if kind >= 0)
    return made


def isomorphic(a, b):
    return nx.is_isomorphic(a, b, node_match=lambda u, v: u["type"] == v["type"])


def same(a, b):
    """Two graphs of [n] and [n, n] arrays, node by node and predecessor by predecessor."""
    if (a.operators[a.operators >= 0]).tolist() != (b.operators[b.operators >= 0]).tolist():
        return False
    return all(
        np.flatnonzero(a.adjacency[:, v]).tolist() == np.flatnonzero(b.adjacency[:, v]).tolist()
        for v in range(int((a.operators >= 0).sum()))
    )


def random_graphs(seed, count, n, num_types):
    """Graphs of 1 to n nodes, valid or not."""
    rng = np.random.default_rng(seed)
    absent = np.arange(n) >= rng.integers(1, n + 1, (count, 1))
    types = np.where(absent, -1, rng.integers(0, num_types, (count, n))).astype(np.int8)
    adjacency = np.triu(rng.random((count, n, n)) < 0.5, 1) & ~absent[:, None, :]
    return CellArrays(adjacency, types)
