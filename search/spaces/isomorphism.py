"""Which cells and which of their nodes are the same but for the order: hashes of hundreds of thousands of small cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from search.core.types import CellArrays

ROUNDS = 4


def isomorphism_hash(arrays: CellArrays) -> np.ndarray:
    """uint64 [B], equal for isomorphic cells: directed, operators as labels, places without a node left out.

    The sum of `node_hashes`, so that it does not hang on the order of nodes; the mixing in them makes a sum tell a multiset.
    Cells that are not isomorphic differ but by chance, or where colour refinement cannot tell them apart: who needs certainty
    compares `Cell.digest`, as `Index` does.
    """
    return node_hashes(arrays).sum(1, dtype=np.uint64)


def node_hashes(arrays: CellArrays) -> np.ndarray:
    """uint64 [B, n], equal for nodes that isomorphic cells have in each other's place; 0 where there is no node.

    Every node starts with the hash of its operator and takes up, `ROUNDS` times, those of its in-neighbours and out-neighbours,
    told apart.
    """
    return _node_hashes(arrays.adjacency, arrays.operators, ROUNDS)


@njit(cache=True, nogil=True)
def _node_hashes(adjacency: np.ndarray, operators: np.ndarray, rounds: int) -> np.ndarray:
    count, n = operators.shape
    states = np.zeros((count, n), np.uint64)
    into, out = np.empty(n, np.uint64), np.empty(n, np.uint64)
    for b in range(count):
        edges, state, present = adjacency[b], states[b], operators[b] >= 0
        for v in range(n):
            if present[v]:
                state[v] = _mixed(np.uint64(operators[b, v]))
        for _ in range(rounds):
            into[:] = 0
            out[:] = 0
            for u in range(n):
                for v in range(u + 1, n):
                    if edges[u, v]:
                        into[v] += state[u]
                        out[u] += state[v]
            for v in range(n):
                if present[v]:
                    around = _mixed(into[v] + np.uint64(1)) + np.uint64(3) * _mixed(out[v] + np.uint64(2))
                    state[v] = _mixed(state[v] + around)
    return states


@njit(cache=True, nogil=True, inline="always")
def _mixed(x: np.uint64) -> np.uint64:
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
