"""Decoded graphs -> graphs of their space: a decoder decides edge by edge, and cannot know by itself what a space allows.

Each takes B graphs with their input first and their output last. What changes edges takes the decoder's confidence in each as
well, whether it is there or not, float [B, n, n], and changes those that the decoder is least sure of.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np

from search.core.types import ABSENT, CellArrays

MAX_ENUMERATED = 8
"""Most nodes of a graph of which all orders are tried; 720 of 8."""


def connected(graphs: CellArrays, confidence: np.ndarray) -> CellArrays:
    """A node without a predecessor, or without a successor, gets the likeliest one: D-VAE's notion of a valid DAG."""
    present, rows, sizes = graphs.operators != ABSENT, np.arange(len(graphs)), graphs.sizes
    adjacency = _fed(present, graphs.adjacency, confidence)
    for u in range(adjacency.shape[1] - 1):
        likely = np.where(present[:, u + 1 :], confidence[:, u, u + 1 :], -1.0)
        unused = (u < sizes - 1) & ~adjacency[:, u].any(1)
        adjacency[rows[unused], u, u + 1 + likely.argmax(1)[unused]] = True
    return CellArrays(adjacency, graphs.operators)


def trimmed(max_edges: int, graphs: CellArrays, confidence: np.ndarray) -> CellArrays:
    """`connected`, with at most `max_edges` edges, which is not below n - 1: the least likely one goes that both its nodes can
    spare; where there is none, one that its source can spare, and with it the nodes that then lie on no path."""
    graphs = connected(graphs, confidence)
    present, adjacency = graphs.operators != ABSENT, graphs.adjacency
    n = adjacency.shape[1]
    while len(rows := np.flatnonzero(adjacency.sum((1, 2)) > max_edges)):
        edges = adjacency[rows]
        spared = np.where(edges.sum(1) > 1, 0.0, 1.0)[:, None, :]  # no confidence is above 1
        price = np.where(edges & (edges.sum(2) > 1)[:, :, None], confidence[rows] + spared, np.inf)
        u, v = np.unravel_index(price.reshape(len(rows), -1).argmin(1), (n, n))
        edges[np.arange(len(rows)), u, v] = False
        present[rows] &= _on_paths(present[rows], edges)
        adjacency[rows] = edges & present[rows][:, :, None] & present[rows][:, None, :]
    return CellArrays(adjacency, graphs.operators).packed(present)


def in_order_of_enumeration(graphs: CellArrays) -> CellArrays:
    """The same graphs with their nodes in the order in which NAS-Bench-101 has them, so that isomorphic ones are equal; graphs
    of more than MAX_ENUMERATED nodes stay as they are. Types are below 8.

    It was enumerated (generate_graphs.py and graph_util.py of google-research/nasbench) by ascending numbers whose bit
    u + v (v - 1) / 2 is the edge u -> v, for each by ascending operators, and of isomorphic cells the first was kept: of all
    topological orders the smallest in this sense.
    """
    types, adjacency, sizes = graphs.operators.copy(), graphs.adjacency.copy(), graphs.sizes
    for size in range(4, min(MAX_ENUMERATED, types.shape[1]) + 1):
        rows = np.flatnonzero(sizes == size)
        orders, edge_weights, type_weights = _orders(size)
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            given = CellArrays(adjacency[part, :size, :size], types[part, :size])
            number = given.adjacency.reshape(len(part), -1).astype(np.float64) @ edge_weights
            number += given.operators.astype(np.float64) @ type_weights
            found = given.reordered(orders[number.argmin(1)])
            adjacency[part, :size, :size], types[part, :size] = found.adjacency, found.operators
    return CellArrays(adjacency, types)


@cache
def _orders(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All p orders of `size` nodes with the first and the last one in place, [p, size], the given one first; and what an edge,
    [size * size, p], and a node, times its type, [size, p], add to an order's number. Types are digits below 8, edges are worth
    more than all types, one against the order more than all others: of MAX_ENUMERATED nodes a topological order's number is
    below 2^52, so exact as a float, and that of any other is not.
    """
    orders = np.array([(0, *middle, size - 1) for middle in permutations(range(1, size - 1))])
    place = orders.argsort(1)
    u, v = place[:, :, None], place[:, None, :]
    worth = np.where(u < v, 2.0 ** (u + v * (v - 1) // 2), 2.0 ** (size * (size - 1) // 2)) * 8.0**size
    return orders, worth.reshape(len(orders), -1).T.copy(), 8.0 ** (size - 1 - place).T


def chained(nodes: int, graphs: CellArrays, confidence: np.ndarray) -> CellArrays:
    """Each of `nodes` nodes fed by the one before, the last one by nothing else."""
    adjacency = graphs.adjacency | np.eye(graphs.adjacency.shape[1], k=1, dtype=bool)
    adjacency[:, : nodes - 2, nodes - 1] = False
    return CellArrays(adjacency, graphs.operators)


def ended_by_leaves(graphs: CellArrays, confidence: np.ndarray) -> CellArrays:
    """Each node fed, the output by exactly those that feed no other."""
    present, rows, output = graphs.operators != ABSENT, np.arange(len(graphs)), graphs.sizes - 1
    present[rows, output] = False
    adjacency = _fed(present, graphs.adjacency & present[:, None, :], confidence)
    adjacency[rows, :, output] = present & ~adjacency.any(2)
    return CellArrays(adjacency, graphs.operators)


def _fed(present: np.ndarray, adjacency: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Adjacency in which each node but the first has a predecessor."""
    adjacency, rows = adjacency.copy(), np.arange(len(adjacency))
    for v in range(1, adjacency.shape[1]):
        unfed = present[:, v] & ~adjacency[:, :v, v].any(1)
        adjacency[rows[unfed], confidence[unfed, :v, v].argmax(1), v] = True
    return adjacency


def _on_paths(present: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """Which nodes lie on a path from the first to the last one, bool [B, n]."""
    n = present.shape[1]
    reached, used = np.zeros_like(present), np.zeros_like(present)
    reached[:, 0] = used[np.arange(len(present)), n - 1 - present[:, ::-1].argmax(1)] = True
    for v in range(1, n):
        reached[:, v] = (adjacency[:, :v, v] & reached[:, :v]).any(1)
    for u in reversed(range(n - 1)):
        used[:, u] |= (adjacency[:, u] & used).any(1)
    return reached & used
