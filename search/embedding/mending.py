"""Decoded graphs -> graphs of their space: a decoder decides edge by edge, and cannot know by itself what a space allows.

Each function takes B graphs with their input first and their output last, and the decoder's confidence in each edge, whether
it is there or not, float [B, n, n]; it changes the edges that the decoder is least sure of.
"""

from __future__ import annotations

import numpy as np

from search.embedding.graphs import ABSENT, Graphs, packed


def connected(graphs: Graphs, confidence: np.ndarray) -> Graphs:
    """A node without a predecessor, or without a successor, gets the likeliest one: D-VAE's notion of a valid DAG."""
    present, rows, sizes = graphs.types != ABSENT, np.arange(len(graphs)), graphs.sizes
    adjacency = _fed(present, graphs.adjacency, confidence)
    for u in range(adjacency.shape[1] - 1):
        likely = np.where(present[:, u + 1 :], confidence[:, u, u + 1 :], -1.0)
        unused = (u < sizes - 1) & ~adjacency[:, u].any(1)
        adjacency[rows[unused], u, u + 1 + likely.argmax(1)[unused]] = True
    return Graphs(graphs.types, adjacency)


def trimmed(max_edges: int, graphs: Graphs, confidence: np.ndarray) -> Graphs:
    """`connected`, with at most `max_edges` edges, which is not below n - 1: the least likely one goes that both its nodes can
    spare; where there is none, one that its source can spare, and with it the nodes that then lie on no path."""
    graphs = connected(graphs, confidence)
    present, adjacency = graphs.types != ABSENT, graphs.adjacency
    n = adjacency.shape[1]
    while len(rows := np.flatnonzero(adjacency.sum((1, 2)) > max_edges)):
        edges = adjacency[rows]
        spared = np.where(edges.sum(1) > 1, 0.0, 1.0)[:, None, :]  # no confidence is above 1
        price = np.where(edges & (edges.sum(2) > 1)[:, :, None], confidence[rows] + spared, np.inf)
        u, v = np.unravel_index(price.reshape(len(rows), -1).argmin(1), (n, n))
        edges[np.arange(len(rows)), u, v] = False
        present[rows] &= _on_paths(present[rows], edges)
        adjacency[rows] = edges & present[rows][:, :, None] & present[rows][:, None, :]
    return packed(graphs.types, adjacency, present)


def chained(nodes: int, graphs: Graphs, confidence: np.ndarray) -> Graphs:
    """Each of `nodes` nodes fed by the one before, the last one by nothing else."""
    adjacency = graphs.adjacency | np.eye(graphs.adjacency.shape[1], k=1, dtype=bool)
    adjacency[:, : nodes - 2, nodes - 1] = False
    return Graphs(graphs.types, adjacency)


def ended_by_leaves(graphs: Graphs, confidence: np.ndarray) -> Graphs:
    """Each node fed, the output by exactly those that feed no other."""
    present, rows, output = graphs.types != ABSENT, np.arange(len(graphs)), graphs.sizes - 1
    present[rows, output] = False
    adjacency = _fed(present, graphs.adjacency & present[:, None, :], confidence)
    adjacency[rows, :, output] = present & ~adjacency.any(2)
    return Graphs(graphs.types, adjacency)


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
