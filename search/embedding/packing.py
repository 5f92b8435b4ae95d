"""Cells themselves as vectors, behind other features of theirs, for predictors that read graphs (`search.graph_predictor`)."""

from __future__ import annotations

import numpy as np

from search.base import CellArrays


def packed_size(num_nodes: int) -> int:
    """Values of a packed cell: its adjacency matrix, its operators, and n."""
    return num_nodes * num_nodes + num_nodes + 1


def pack(cells: CellArrays) -> np.ndarray:
    """B cells of n nodes -> float32 [B, n n + n + 1]."""
    batch, n = cells.operators.shape
    parts = [cells.adjacency.reshape(batch, n * n), cells.operators, np.full((batch, 1), n)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def unpack(vectors: np.ndarray) -> tuple[np.ndarray, CellArrays]:
    """Vectors [B, d + n n + n + 1] whose last values are `pack`'s -> the first d, and the cells.

    Raises ValueError for vectors that end otherwise.
    """
    vectors = np.asarray(vectors)
    n = int(vectors[0, -1]) if len(vectors) and np.isfinite(vectors[0, -1]) else 0
    size = packed_size(n)
    if n < 1 or size > vectors.shape[1] or (vectors[:, -1] != n).any():
        raise ValueError("the vectors hold no cells; expected those of an encoder with cells=True, such as `statistics`")
    rest, cells = vectors[:, :-size], vectors[:, -size:-1]
    adjacency, operators = cells[:, : n * n].reshape(-1, n, n), cells[:, n * n :]
    if not (np.isin(adjacency, (0, 1)).all() and (operators == np.rint(operators)).all() and operators.min() >= -1):
        raise ValueError("the vectors hold no cells: expected edges of 0 and 1 and operators from -1")
    return rest, CellArrays(adjacency.astype(bool), operators.astype(np.int8))
