"""The order of a cell's nodes: which of its topological orders an encoder reads.

A fully connected encoder reads a matrix, and a cell has as many matrices as its nodes have topological orders. In the canonical
order isomorphic cells have one, and embed alike, but for those with several groups of nodes that cannot be told apart, whose
places may not fit together: 2 of 1,000 random cells.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from search.core.types import CellArrays
from search.spaces.isomorphism import node_hashes

ORDERS = ("given", "canonical")
"""As the arrays have them, or sorted."""


def canonical_order(arrays: CellArrays) -> CellArrays:
    """Isomorphic cells with the same edges and operators: their nodes by depth (of the longest path to them), then operator,
    number of in-neighbours, of out-neighbours, and the hash of what is around them (`node_hashes`); places without a node last.
    Edges still go forward.
    """
    return arrays.reordered(_canonical(arrays.adjacency, arrays.operators, node_hashes(arrays)))


def random_order(arrays: CellArrays, rng: np.random.Generator) -> CellArrays:
    """Isomorphic cells: each with its nodes in a random topological order, the input first, places without a node last."""
    return arrays.reordered(_shuffled(arrays.adjacency, arrays.operators, rng.random(arrays.operators.shape)))


@njit(cache=True, nogil=True)
def _canonical(adjacency: np.ndarray, operators: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """[B, n]: the node at each place."""
    count, n = operators.shape
    order = np.empty((count, n), np.int64)
    depth, into, out = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    keys = np.empty(n, np.uint64)
    for b in range(count):
        edges = adjacency[b]
        depth[:], into[:], out[:] = 0, 0, 0
        for v in range(n):
            for u in range(v):
                if edges[u, v]:
                    depth[v] = max(depth[v], depth[u] + 1)
                    into[v] += 1
                    out[u] += 1
        for v in range(n):  # one number that sorts by all of them: at most 1,024 nodes and 128 operators
            key = np.uint64(depth[v]) << np.uint64(7) | np.uint64(max(operators[b, v], 0))
            key = (key << np.uint64(10) | np.uint64(into[v])) << np.uint64(10) | np.uint64(out[v])
            keys[v] = key << np.uint64(27) | hashes[b, v] >> np.uint64(37) if operators[b, v] >= 0 else ~np.uint64(0)
        order[b] = np.argsort(keys)
    return order


@njit(cache=True, nogil=True)
def _shuffled(adjacency: np.ndarray, operators: np.ndarray, priority: np.ndarray) -> np.ndarray:
    """[B, n]: the node at each place; of the nodes whose in-neighbours all have one, that of least priority comes next."""
    count, n = operators.shape
    order = np.empty((count, n), np.int64)
    waits, done = np.empty(n, np.int64), np.empty(n, np.bool_)
    for b in range(count):
        for v in range(n):
            waits[v], done[v] = adjacency[b, :v, v].sum(), False
        for place in range(n):
            chosen, least = -1, np.inf
            for v in range(n):
                key = priority[b, v] - (1.0 if v == 0 else 0.0) + (1.0 if operators[b, v] < 0 else 0.0)
                if not done[v] and waits[v] == 0 and key < least:
                    chosen, least = v, key
            order[b, place], done[chosen] = chosen, True
            for v in range(chosen + 1, n):
                waits[v] -= adjacency[b, chosen, v]
    return order
