"""Cells as flat vectors: what every fully connected encoder reads, and its decoder writes."""

from __future__ import annotations

import numpy as np

from search.core.types import CellArrays, Space


def num_features(space: Space) -> int:
    """Length of a feature vector: n (n - 1) / 2 possible edges, and one place for each operator on each node but the input."""
    n = space.num_nodes
    return n * (n - 1) // 2 + (n - 1) * len(space.operators)


def num_edges(space: Space) -> int:
    """How many of the first features are edges."""
    return space.num_nodes * (space.num_nodes - 1) // 2


def features(space: Space, arrays: CellArrays) -> np.ndarray:
    """Pruned cells -> uint8 [B, num_features], zeros and ones: the upper triangle of the adjacency matrix row by row, then the
    operators of nodes 1 to n - 1, one-hot; a node that is not there has zeros alone.
    """
    count, n = arrays.operators.shape
    u, v = np.triu_indices(n, 1)
    edges = np.take(arrays.adjacency.reshape(count, n * n), u * n + v, axis=1)
    wanted = np.arange(1, len(space.operators) + 1, dtype=np.int8)
    operators = arrays.operators[:, 1:, None] == wanted
    return np.concatenate([edges, operators.reshape(count, -1)], axis=1).view(np.uint8)
