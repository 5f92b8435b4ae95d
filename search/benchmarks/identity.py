"""Which row of a table a cell is: hashes that do not depend on the order of nodes, for hundreds of thousands of small cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.base import CellArrays

ROUNDS = 4
CHUNK = 50_000


def isomorphism_hash(arrays: CellArrays) -> np.ndarray:
    """uint64 [B], equal for isomorphic cells: directed, operators as labels, places without a node left out.

    Every node starts with the hash of its operator and takes up, `ROUNDS` times, those of its in-neighbours and out-neighbours,
    told apart; the cell has the sum over its nodes. (The sums make it independent of the order; the mixing in between makes
    a sum tell a multiset.) Cells that are not isomorphic differ but by chance, or where colour refinement cannot tell them
    apart: who needs certainty compares `Cell.digest`, as `Index` does.
    """
    return np.concatenate([np.empty(0, np.uint64)] + [_hashes(arrays[i : i + CHUNK]) for i in range(0, len(arrays), CHUNK)])


def _hashes(arrays: CellArrays) -> np.ndarray:
    present = (arrays.operators >= 0).T  # [n, B]: a node's values lie side by side
    edges = [
        (u, v, there)
        for u, v in np.argwhere(arrays.adjacency.any(0)).tolist()
        if (there := arrays.adjacency[:, u, v] & present[u] & present[v]).any()
    ]
    state = _mixed(arrays.operators.T.astype(np.uint64)) * present
    for _ in range(ROUNDS):
        into, out = np.zeros_like(state), np.zeros_like(state)
        for u, v, there in edges:
            into[v] += state[u] * there
            out[u] += state[v] * there
        state = _mixed(state + _mixed(into + np.uint64(1)) + np.uint64(3) * _mixed(out + np.uint64(2))) * present
    return state.sum(0, dtype=np.uint64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: a bijection that leaves no trace of order."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Index:
    """Finds the row of a cell among `rows` of the cells `arrays`, whatever the order of its nodes."""

    def __init__(self, arrays: CellArrays, rows: np.ndarray) -> None:
        hashes = isomorphism_hash(arrays[rows])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._rows, self._arrays = hashes[order], rows[order], arrays

    def find(self, query: CellArrays, names: Sequence[str]) -> int | None:
        """The first row that is isomorphic to the one cell of `query`, or None. names: of the operators, the input first."""
        (row,) = self.find_all(query, names).tolist()
        return None if row < 0 else row

    def find_all(self, queries: CellArrays, names: Sequence[str]) -> np.ndarray:
        """For each of B cells what `find` gives, -1 instead of None: int64 [B]."""
        hashes, found = isomorphism_hash(queries), np.full(len(queries), -1)
        first, last = (np.searchsorted(self._hashes, hashes, side=side) for side in ("left", "right"))
        for i in np.flatnonzero(first < last):
            digest = queries.cell(i, names).digest()
            rows = self._rows[first[i] : last[i]].tolist()
            found[i] = next((row for row in rows if self._arrays.cell(row, names).digest() == digest), -1)
        return found
