"""The Weisfeiler-Lehman subtree kernel of directed labelled cells (paper, Eq. 1; Shervashidze et al., JMLR 2011), exact.

Two nodes have the same label at iteration 0 if they have the same operator, and at iteration t if at t - 1 they had the same
label and the same multisets of labels of in-neighbours and of out-neighbours. With c_t(g, l) the number of nodes of g with
label l at iteration t, the kernel after h iterations is k(g, g') = sum over t = 0..h and l of c_t(g, l) c_t(g', l), and the
normalised kernel k(g, g') / sqrt(k(g, g) k(g', g')), which is 1 for isomorphic cells, compares with a cosine (Eq. 2).

How labels are found and counted: `search/kernel/wl_labels.py`.
"""

from __future__ import annotations

import numpy as np

from search.core.types import MAX_OPERATOR, CellArrays, SearchError
from search.kernel.wl_labels import PAIRS_AT_ONCE, SPARE, count_gram, count_pairs, union_of

DIRECTIONS = {"both": (True, True), "in": (True, False), "out": (False, True)}
"""Whether the in-neighbours and the out-neighbours of a node make its next label."""


def wl_kernel(a: CellArrays, b: CellArrays, h: int = 3, direction: str = "both", normalize: bool = True) -> np.ndarray:
    """Kernels of B pairs (a[i], b[i]): float64 [B] in [0, 1], or int64 [B] if not `normalize`.

    h: iterations. direction: both neighbourhoods, or "in" or "out" alone; "out" is what grakel computes for directed graphs.
    Nodes with operator -1 are no part of a cell, nor are their edges. The order of nodes does not matter, in particular not
    whether it is topological. Raises SearchError for other values of h or direction, ValueError for a and b that do not fit
    together, for operators beyond MAX_OPERATOR, and for cells without nodes, which cannot be normalised.
    """
    num_operators = _checked(h, direction, a, b)
    if len(a) != len(b):
        raise ValueError(f"expected as many cells in a as in b, found {len(a)} and {len(b)}")
    n = a.operators.shape[1]
    union = union_of(2 * PAIRS_AT_ONCE, n, num_operators)
    first = max(0, len(a) - SPARE)  # these have others behind them, and so SPARE bytes at least
    numbers = n, num_operators, h, *DIRECTIONS[direction]
    counts = (
        count_pairs(union, *_bytes(a), *_bytes(b), first, *numbers),
        count_pairs(union, *_padded(a[first:]), *_padded(b[first:]), len(a) - first, *numbers),
    )
    aa, ab, bb = np.concatenate(counts).T
    return _normalized(ab, aa, bb) if normalize else ab


def wl_gram(
    a: CellArrays, b: CellArrays | None = None, h: int = 3, direction: str = "both", normalize: bool = True
) -> np.ndarray:
    """Kernels of all pairs (a[i], b[j]), [B1, B2]; of a with itself, [B1, B1], without b. Otherwise as `wl_kernel`.

    Labels are found once for each cell, and only cells that share a label meet: thousands of cells take a second.
    """
    parts = [a] if b is None else [a, b]
    num_operators = _checked(h, direction, *parts)
    cells = CellArrays.concatenate(parts)
    union = union_of(max(1, len(cells)), cells.operators.shape[1], num_operators)
    values, own = count_gram(union, *_padded(cells), *cells.operators.shape, len(a), b is None, h, *DIRECTIONS[direction])
    return _normalized(values, own[: len(a), None], own[0 if b is None else len(a) :]) if normalize else values


def _checked(h: int, direction: str, *parts: CellArrays) -> int:
    """The number of operators, the input's among them."""
    num_operators = 1
    if not isinstance(h, int) or h < 0:
        raise SearchError(f"WL kernel: expected a number of iterations h >= 0, found {h!r}")
    if direction not in DIRECTIONS:
        raise SearchError(f"WL kernel: unknown direction {direction!r}; expected one of {', '.join(DIRECTIONS)}")
    for part in parts:
        batch, n = part.operators.shape
        if n < 1 or part.adjacency.shape != (batch, n, n):
            raise ValueError(
                f"expected adjacency [B, n, n] and operators [B, n], found {part.adjacency.shape} and {(batch, n)}"
            )
        least, most = part.operators.min(initial=0), part.operators.max(initial=0)
        if least < -1 or most > MAX_OPERATOR:
            raise ValueError(f"expected operators from -1 to {MAX_OPERATOR}, found {least if least < -1 else most}")
        num_operators = max(num_operators, int(most) + 1)
    if len({part.operators.shape[1] for part in parts}) > 1:
        raise ValueError(f"expected cells of one space, found {[part.operators.shape[1] for part in parts]} places for nodes")
    return num_operators


def _normalized(values: np.ndarray, own_a: np.ndarray, own_b: np.ndarray) -> np.ndarray:
    if not (own_a.all() and own_b.all()):
        raise ValueError("expected cells with at least one node")
    return values / np.sqrt(own_a.astype(np.float64) * own_b)


def _bytes(cells: CellArrays) -> tuple[np.ndarray, np.ndarray]:
    """All adjacency matrices, one after the other, and all operators."""
    edges, operators = (np.ascontiguousarray(a, t) for a, t in ((cells.adjacency, bool), (cells.operators, np.int8)))
    return edges.reshape(-1).view(np.uint8), operators.reshape(-1).view(np.uint8)


def _padded(cells: CellArrays) -> tuple[np.ndarray, np.ndarray]:
    """The same, and SPARE bytes more."""
    edges, operators = (np.concatenate([part, np.zeros(SPARE, np.uint8)]) for part in _bytes(cells))
    return edges, operators
