"""The Weisfeiler-Lehman subtree kernel of directed labelled cells (paper, Eq. 1; Shervashidze et al., JMLR 2011), exact.

Two nodes have the same label at iteration 0 if they have the same operator, and at iteration t if at t - 1 they had the same
label and the same multisets of labels of in-neighbours and of out-neighbours. With c_t(g, l) the number of nodes of g with
label l at iteration t, the kernel after h iterations is k(g, g') = sum over t = 0..h and l of c_t(g, l) c_t(g', l), and the
normalised kernel k(g, g') / sqrt(k(g, g) k(g', g')), which is 1 for isomorphic cells, compares with a cosine (Eq. 2).

How: all cells that are compared are one graph, their disjoint union, whose partition into classes of equal labels is refined
h times. A label is the index of the first node in its class. Nodes meet in a hash table whose key, the sums of codes of the
neighbours' labels, only proposes; equality is decided on the multisets themselves, so that no collision can change a result.
A node that is alone in its class stays alone and is never looked at again; in random cells few nodes are left after the
first iteration, which is what makes this fast. Neighbours are bits of 64-bit words.
"""
from __future__ import annotations

import numpy as np
from numba import njit

from search.base import CellArrays, SearchError

DIRECTIONS = {"both": (True, True), "in": (True, False), "out": (False, True)}
"""Whether the in-neighbours and the out-neighbours of a node make its next label."""


def wl_kernel(a: CellArrays, b: CellArrays, h: int = 3, direction: str = "both", normalize: bool = True) -> np.ndarray:
    """Kernels of B pairs (a[i], b[i]): float64 [B] in [0, 1], or exact int64 [B] if not `normalize`.

    h: iterations. direction: "both" neighbourhoods, or "in" or "out" alone; "out" is what grakel computes for directed graphs.
    Nodes with operator -1 are no part of a cell, nor are their edges. The order of nodes does not matter, in particular not
    whether it is topological. Raises SearchError for other values of h or direction, ValueError for cells without nodes and
    for a and b of different shapes.
    """
    directions = _checked(h, direction, a, b)
    if len(a) != len(b):
        raise ValueError(f"expected as many cells in a as in b, found {len(a)} and {len(b)}")
    values = _pairs(*_arrays(a), *_arrays(b), _num_labels(a, b), h, *directions)
    if not normalize:
        return values[:, 1]
    return values[:, 1] / np.sqrt(values[:, 0].astype(np.float64) * values[:, 2])


def wl_gram(
    a: CellArrays, b: CellArrays | None = None, h: int = 3, direction: str = "both", normalize: bool = True
) -> np.ndarray:
    """Kernels of all pairs (a[i], b[j]), [B1, B2]; of a with itself, symmetric [B1, B1], without b. Otherwise as `wl_kernel`.

    Labels are found once for each cell and values are added up for each label that two cells share: thousands of cells a second.
    """
    parts = [a] if b is None else [a, b]
    directions = _checked(h, direction, *parts)
    union = CellArrays.concatenate(parts)
    values, own = _gram(*_arrays(union), _num_labels(union), len(a), b is None, h, *directions)
    if not normalize:
        return values
    columns = own if b is None else own[len(a) :]
    return values / np.sqrt(own[: len(a), None].astype(np.float64) * columns)


def _checked(h: int, direction: str, *parts: CellArrays) -> tuple[bool, bool]:
    if not isinstance(h, int) or h < 0:
        raise SearchError(f"WL kernel: expected a number of iterations h >= 0, found {h!r}")
    if direction not in DIRECTIONS:
        raise SearchError(f"WL kernel: unknown direction {direction!r}; expected one of {', '.join(DIRECTIONS)}")
    if len({part.operators.shape[1] for part in parts}) > 1:
        raise ValueError(f"expected cells of one space, found {[part.operators.shape[1] for part in parts]} places for nodes")
    if not all((part.operators >= 0).any(1).all() for part in parts):
        raise ValueError("expected cells with at least one node")
    return DIRECTIONS[direction]


def _arrays(cells: CellArrays) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(cells.adjacency).view(np.uint8), np.ascontiguousarray(cells.operators)


def _num_labels(*parts: CellArrays) -> int:
    return max((int(part.operators.max(initial=0)) for part in parts), default=0) + 1


# Below: N nodes in all, n for each cell; node x is node x % n of cell x // n. `rows` are bit rows, uint64 [words, N]: bit v of
# rows[w, x] says that node 64 w + v of its cell is a neighbour of x.


@njit(cache=True, nogil=True, inline="always")
def _popcount(x):
    # LLVM knows this idiom and makes one instruction of it where there is one.
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True, inline="always")
def _lowest_bit(x):
    return _popcount((x & (~x + np.uint64(1))) - np.uint64(1))


@njit(cache=True, nogil=True, inline="always")
def _code(label):
    """A pseudo-random word for a label (splitmix64)."""
    x = np.uint64(label + 1) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _load(adjacency, operators, first, in_rows, out_rows, labels, active, num_active, use_in, use_out):
    """Write the bit rows and labels of a cell, adjacency uint8 [n, n] and operators int8 [n], whose first node is `first`."""
    n = operators.shape[0]
    for w in range(in_rows.shape[0]):
        begin, end = 64 * w, min(64 * w + 64, n)
        present = np.uint64(0)
        for v in range(begin, end):
            present |= np.uint64(operators[v] >= 0) << np.uint64(v - begin)
        into, out = in_rows[w, first : first + n], out_rows[w, first : first + n]
        into[:] = 0
        out[:] = 0
        if use_in:
            for u in range(begin, end):
                if operators[u] >= 0:
                    for v in range(n):
                        into[v] |= np.uint64(adjacency[u, v]) << np.uint64(u - begin)
        if use_out:
            for u in range(n):
                word = np.uint64(0)
                for v in range(begin, end):
                    word |= np.uint64(adjacency[u, v]) << np.uint64(v - begin)
                out[u] = word & present
    for u in range(n):
        labels[first + u] = operators[u]
        active[num_active] = first + u
        num_active += operators[u] >= 0
    return num_active


@njit(cache=True, nogil=True)
def _sum_codes(rows, x, base, codes):
    total = np.uint64(0)
    for w in range(rows.shape[0]):
        word, start = rows[w, x], base + 64 * w
        while word:
            total += codes[start + _lowest_bit(word)]
            word &= word - np.uint64(1)
    return total


@njit(cache=True, nogil=True)
def _count(rows, x, base, labels, by, counts):
    """Add `by` to the count of the label of each neighbour of x."""
    for w in range(rows.shape[0]):
        word, start = rows[w, x], base + 64 * w
        while word:
            counts[labels[start + _lowest_bit(word)]] += by
            word &= word - np.uint64(1)


@njit(cache=True, nogil=True)
def _clear_counts(rows, x, base, labels, counts):
    """Set the count of the label of each neighbour of x to zero. Returns whether all were."""
    zero = True
    for w in range(rows.shape[0]):
        word, start = rows[w, x], base + 64 * w
        while word:
            label = labels[start + _lowest_bit(word)]
            zero = zero and counts[label] == 0
            counts[label] = 0
            word &= word - np.uint64(1)
    return zero


@njit(cache=True, nogil=True)
def _same_multiset(rows, x, y, base_x, base_y, labels, counts):
    """Whether the neighbours of x and of y have the same multiset of labels. counts: zeros, and zeros again afterwards."""
    _count(rows, x, base_x, labels, 1, counts)
    _count(rows, y, base_y, labels, -1, counts)
    same = _clear_counts(rows, x, base_x, labels, counts)
    return _clear_counts(rows, y, base_y, labels, counts) and same


@njit(cache=True, nogil=True)
def _refine(n, in_rows, out_rows, labels, codes, certain, active, num_active, new, sums, table, counts):
    """One iteration: renews labels and codes [N] of the nodes in active[:num_active].

    certain: whether codes are such that their sums are equal only if the multisets are. new [N], sums [2, N], counts and table,
    whose size is a power of two above num_active, are room.
    """
    shift = np.uint64(64)
    size = table.shape[0]
    while size > 1:
        size >>= 1
        shift -= np.uint64(1)
    table[:] = -1
    for i in range(num_active):
        x = active[i]
        base = x - x % n
        in_sum, out_sum = _sum_codes(in_rows, x, base, codes), _sum_codes(out_rows, x, base, codes)
        sums[0, x], sums[1, x] = in_sum, out_sum
        key = (in_sum ^ (in_sum >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15) + out_sum * np.uint64(0xD6E8FEB86659FD93)
        key = (key ^ (key >> np.uint64(32)) ^ codes[x]) * np.uint64(0xBF58476D1CE4E5B9)
        slot = np.int64(key >> shift)
        while True:
            y = np.int64(table[slot])
            if y < 0:
                table[slot] = new[x] = x
                break
            if labels[x] == labels[y] and in_sum == sums[0, y] and out_sum == sums[1, y]:
                other = y - y % n
                if certain or (
                    _same_multiset(in_rows, x, y, base, other, labels, counts)
                    and _same_multiset(out_rows, x, y, base, other, labels, counts)
                ):
                    new[x] = y
                    break
            slot = (slot + 1) & (table.shape[0] - 1)
    for i in range(num_active):
        x = active[i]
        labels[x] = new[x]
        codes[x] = _code(new[x])


@njit(cache=True, nogil=True)
def _pairs(adjacency_a, operators_a, adjacency_b, operators_b, num_labels, h, use_in, use_out):
    """k(a, a), k(a, b), k(b, b) for each pair: int64 [B, 3]."""
    num_pairs, n = operators_a.shape
    in_rows, out_rows, labels, codes, active, new, sums, table, counts = _room(2 * n, n, num_labels)
    bits, certain = _positional(n, num_labels)
    shared = np.zeros((2, counts.shape[0]), np.int64)
    values = np.empty((num_pairs, 3), np.int64)
    for p in range(num_pairs):
        num_active = _load(adjacency_a[p], operators_a[p], 0, in_rows, out_rows, labels, active, 0, use_in, use_out)
        num_active = _load(adjacency_b[p], operators_b[p], n, in_rows, out_rows, labels, active, num_active, use_in, use_out)
        for i in range(num_active):
            x = active[i]
            codes[x] = _initial_code(labels[x], bits, certain)
        aa = ab = bb = 0
        single_a = single_b = 0
        for t in range(h + 1):
            if t:
                _refine(n, in_rows, out_rows, labels, codes, certain and t == 1, active, num_active, new, sums, table, counts)
            for i in range(num_active):
                x = active[i]
                shared[np.int64(x >= n), labels[x]] += 1
            kept = 0
            aa += single_a
            bb += single_b
            for i in range(num_active):
                x = active[i]
                in_a, in_b = shared[0, labels[x]], shared[1, labels[x]]
                if x < n:
                    aa += in_a
                    ab += in_b
                    single_a += in_a + in_b == 1
                else:
                    bb += in_b
                    single_b += in_a + in_b == 1
                new[i] = labels[x]
                active[kept] = x
                kept += in_a + in_b > 1
            for i in range(num_active):
                shared[0, new[i]] = shared[1, new[i]] = 0
            num_active = kept
        values[p] = aa, ab, bb
    return values


@njit(cache=True, nogil=True)
def _gram(adjacency, operators, num_labels, num_rows, symmetric, h, use_in, use_out):
    """Kernels int64 [num_rows, columns] of the first cells with the others, or with themselves, and k(g, g) of all [B]."""
    num_cells, n = operators.shape
    total = num_cells * n
    in_rows, out_rows, labels, codes, active, new, sums, table, counts = _room(total, n, num_labels)
    bits, certain = _positional(n, num_labels)
    first_column = 0 if symmetric else num_rows
    values = np.zeros((num_rows, num_cells - first_column), np.int64)
    own = np.zeros(num_cells, np.int64)
    single = np.zeros(num_cells, np.int64)
    members, cells, sizes = np.empty(total, np.int64), np.empty(num_cells, np.int64), np.empty(num_cells, np.int64)
    ends = np.zeros(counts.shape[0] + 1, np.int64)
    num_active = 0
    for c in range(num_cells):
        num_active = _load(
            adjacency[c], operators[c], c * n, in_rows, out_rows, labels, active, num_active, use_in, use_out
        )
    for i in range(num_active):
        x = active[i]
        codes[x] = _initial_code(labels[x], bits, certain)
    for t in range(h + 1):
        if t:
            _refine(n, in_rows, out_rows, labels, codes, certain and t == 1, active, num_active, new, sums, table, counts)
        own += single
        # Members of each class, one class after the other, in the order of their cells.
        ends[:] = 0
        for i in range(num_active):
            ends[labels[active[i]] + 1] += 1
        for label in range(ends.shape[0] - 1):
            ends[label + 1] += ends[label]
        for i in range(num_active):
            x = active[i]
            members[ends[labels[x]]] = x
            ends[labels[x]] += 1
        kept = begin = 0
        for label in range(ends.shape[0] - 1):
            end = ends[label]
            if end - begin == 1:
                c = members[begin] // n
                single[c] += 1
                own[c] += 1
            elif end > begin:
                found = 0
                for m in range(begin, end):
                    x = members[m]
                    c = x // n
                    if found == 0 or cells[found - 1] != c:
                        cells[found], sizes[found] = c, 0
                        found += 1
                    sizes[found - 1] += 1
                    active[kept] = x
                    kept += 1
                for i in range(found):
                    c = cells[i]
                    own[c] += sizes[i] * sizes[i]
                    if c < num_rows:
                        for j in range(found):
                            if cells[j] >= first_column:
                                values[c, cells[j] - first_column] += sizes[i] * sizes[j]
            begin = end
        num_active = kept
    if symmetric:
        # Single labels are shared with nobody and were not added to any value.
        for c in range(num_cells):
            values[c, c] = own[c]
    return values, own


@njit(cache=True, nogil=True)
def _room(total, n, num_labels):
    words = (n + 63) // 64
    size = 1
    while size < 2 * total:
        size *= 2
    return (
        np.empty((words, total), np.uint64), np.empty((words, total), np.uint64), np.empty(total, np.int64),
        np.zeros(total, np.uint64), np.empty(total, np.int64), np.empty(total, np.int64), np.empty((2, total), np.uint64),
        np.empty(size, np.int32), np.zeros(max(total, num_labels), np.int64),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _positional(n, num_labels):
    bits = 1
    while 2**bits < n:
        bits += 1
    return bits, bits * num_labels <= 64


@njit(cache=True, nogil=True, inline="always")
def _initial_code(label, bits, certain):
    return np.uint64(1) << np.uint64(bits * label) if certain else _code(label)
