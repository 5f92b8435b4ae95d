"""Cells themselves as vectors, behind other features of theirs, for predictors that read graphs (`graph_ensemble`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.core.types import MAX_OPERATOR, CellArrays

SHARES = 5
"""Numbers of each node besides its operator: those of `flows.Shares`."""


@dataclass(frozen=True)
class PackedCells:
    """B cells, with any number of edges between two nodes (adjacency float32), and numbers of their nodes, float32 [B, n,
    SHARES], zeros where there is none."""

    cells: CellArrays
    nodes: np.ndarray

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, rows: slice | np.ndarray) -> PackedCells:
        return PackedCells(self.cells[rows], self.nodes[rows])


def packed_size(num_nodes: int) -> int:
    """Values of a packed cell: numbers of its nodes, its adjacency matrix, its operators, and n."""
    return num_nodes * (SHARES + num_nodes + 1) + 1


def pack(packed: PackedCells) -> np.ndarray:
    """B cells of n nodes -> float32 [B, packed_size(n)]."""
    batch, n = packed.cells.operators.shape
    parts = [packed.nodes.reshape(batch, -1), packed.cells.adjacency.reshape(batch, -1), packed.cells.operators]
    return np.concatenate([*parts, np.full((batch, 1), n)], axis=1, dtype=np.float32)


def unpack(vectors: np.ndarray) -> tuple[np.ndarray, PackedCells]:
    """Vectors [B, d + packed_size(n)] whose last values are `pack`'s -> the first d, and the cells.

    Raises ValueError for vectors that end otherwise.
    """
    vectors = np.asarray(vectors)
    n = int(vectors[0, -1]) if len(vectors) and np.isfinite(vectors[0, -1]) else 0
    size = packed_size(n)
    if n < 1 or size > vectors.shape[1] or (vectors[:, -1] != n).any():
        raise ValueError("the vectors hold no cells; expected those of an encoder with cells=True, such as `statistics`")
    rest, packed = vectors[:, :-size], vectors[:, -size:-1]
    nodes, edges, operators = np.split(packed, [n * SHARES, n * (SHARES + n)], axis=1)
    if not (_whole(edges, 0) and _whole(operators, -1) and operators.max() <= MAX_OPERATOR and np.isfinite(nodes).all()):
        raise ValueError("the vectors hold no cells: expected whole numbers of edges from 0 and operators from -1 to 127")
    cells = CellArrays(edges.reshape(-1, n, n).astype(np.float32), operators.astype(np.int8))
    return rest, PackedCells(cells, nodes.reshape(-1, n, SHARES).astype(np.float32))


def _whole(values: np.ndarray, least: int) -> bool:
    return bool((values == np.rint(values)).all() and values.min() >= least)
