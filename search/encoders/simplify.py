"""Simplify cells to what they compute: no operators that give zeros, and identities as the edges that they are."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from search.core.types import CellArrays


def simplify(
    cells: CellArrays, dropped: Collection[int] = (), identities: Collection[int] = (), end: int | None = None
) -> CellArrays:
    """Simplify cells to the multigraphs that they compute; cells that differ in nothing else come out the same.

    Args:
        cells: B pruned cells.
        dropped: operators, as in CellArrays, whose nodes give zeros. They are left out, and so is what then is on no way from
            the input to a node `end` (None: what no way from the input leads to); the input and the ends stay.
        identities: operators that do nothing: edges from their in-neighbours to their out-neighbours take their place.
        end: the operator that only ends a cell.

    Returns:
        The cells with the number of edges from u to v as adjacency, float32 [B, n, n].
    """
    operators, n = cells.operators.copy(), cells.operators.shape[1]
    if dropped:
        operators[np.isin(operators, list(dropped))] = -1
    present = operators >= 0
    edges = (cells.adjacency & present[:, :, None] & present[:, None]).astype(np.float32)
    if dropped:
        fed, used = np.zeros_like(present), np.ones_like(present)
        fed[:, 0] = True
        for v in range(1, n):
            fed[:, v] = (fed[:, :v] & (edges[:, :v, v] > 0)).any(1)
        if end is not None:
            used = operators == end
            for v in range(n - 2, -1, -1):
                used[:, v] |= (used[:, v + 1 :] & (edges[:, v, v + 1 :] > 0)).any(1)
        kept = fed & used | (operators == 0) | (operators == end)
        operators[~kept] = -1
        edges *= kept[:, :, None] & kept[:, None]
    for v in range(1, n) if identities else ():
        rows = np.flatnonzero(np.isin(operators[:, v], list(identities)))
        edges[rows] += edges[rows, :, v, None] * edges[rows, v, None, :]
        edges[rows, :, v] = edges[rows, v] = 0
        operators[rows, v] = -1
    return CellArrays(edges, operators)
