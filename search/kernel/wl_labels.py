"""Labels of the Weisfeiler-Lehman kernel (`search/kernel/wl.py`): found by refining a partition of nodes, and counted.

The cells that are compared are one graph, their disjoint union, whose partition into classes of equal labels is refined
h times. Nodes meet in a hash table by sums of codes of their neighbours' labels. Equal sums only propose; unless the codes make
sums as good as multisets, the multisets themselves decide, so no collision can change a result. A node that is alone in its
class stays alone and is not looked at again: in random cells hardly any are left after the first iteration, and that one
counts operators among neighbours by bit operations. This is what makes the kernel fast.

Compiled, and in one file, for numba's cache does not notice changes in another. Bytes become bits, and rows columns, by
vectors that neither numba nor LLVM would find (`_bytes_equal`, `_transpose`). Nodes are numbered through all cells of a union:
node x is node x - first[x] of its cell. Numbers that index arrays are unsigned where they come from memory: numba looks at the
sign of others at each access. Inner functions take arrays, not the union: to hand that over costs more than they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_ONE = np.uint64(1)
ABSENT = np.uint8(255)  # operator -1 as a byte: no node
_ZERO = np.int64(0)  # numba compiles a function anew for a literal
Intrinsic = tuple[Any, Callable[..., Any]]  # numba's signature, and what writes LLVM's instructions


class Union(NamedTuple):
    """A disjoint union of cells with N nodes, `places(n)` for each cell, and room for refining its partition into labels."""

    operator_masks: np.ndarray  # uint64 [words, K, cells]: bit v of word w: node 64 w + v of a cell has the operator
    in_rows: np.ndarray  # uint64 [words, N]: bit v of word w: node 64 w + v of the node's cell is an in-neighbour
    out_rows: np.ndarray  # the same for out-neighbours
    first: np.ndarray  # uint64 [N]: the first node of the node's cell
    labels: np.ndarray  # uint32 [N]
    active: np.ndarray  # uint32 [N]: ascending, at the front: the nodes that may share their label with another
    in_sums: np.ndarray  # uint64 [N]: codes of the in-neighbours' labels, summed up
    out_sums: np.ndarray
    keys: np.ndarray  # uint64 [N]: a hash of each node's label and sums; different keys, different labels
    seen: np.ndarray  # uint8 [16 N]: how many keys begin with these bits: 0, 1, or 2 for more
    doubtful: np.ndarray  # uint32 [N]: at the front: the active nodes that may have found their equal
    renewed: np.ndarray  # uint32 [N]: the labels of the next iteration
    sizes: np.ndarray  # uint32 [N]: how many nodes have the label
    table: np.ndarray  # int32 [4 N]: hash table of nodes, -1 where empty
    counts: np.ndarray  # int64 [max(N, K cells)]: zeros between uses


@njit(cache=True, nogil=True, inline="always")
def places(n: int) -> int:
    """How many places a cell of n nodes has in a union: full vectors of the processor."""
    return (n + 7) // 8 * 8


def union_of(num_cells: int, n: int, num_operators: int) -> Union:
    """Room for a union of `num_cells` cells of n nodes."""
    total, words = num_cells * places(n), (n + 63) // 64
    return Union(
        operator_masks=np.zeros((words, num_operators, num_cells), np.uint64),
        in_rows=np.zeros((words, total), np.uint64),
        out_rows=np.zeros((words, total), np.uint64),
        first=np.repeat(np.arange(0, total, places(n), dtype=np.uint64), places(n)),
        labels=np.zeros(total, np.uint32),
        active=np.zeros(total, np.uint32),
        in_sums=np.zeros(total, np.uint64),
        out_sums=np.zeros(total, np.uint64),
        keys=np.zeros(total, np.uint64),
        seen=np.zeros(16 * total, np.uint8),
        doubtful=np.zeros(total, np.uint32),
        renewed=np.zeros(total, np.uint32),
        sizes=np.zeros(total, np.uint32),
        table=np.zeros(4 * total, np.int32),
        counts=np.zeros(max(total, num_operators * num_cells), np.int64),
    )


@njit(cache=True, nogil=True, inline="always")
def _popcount(x: np.uint64) -> np.uint64:
    # LLVM knows this idiom and makes one instruction of it where there is one.
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True, inline="always")
def _lowest_bit(x: np.uint64) -> np.uint64:
    return _popcount((x & (~x + _ONE)) - _ONE)


@njit(cache=True, nogil=True, inline="always")
def _code(label: np.uint32) -> np.uint64:
    """A word for a label such that sums of different words are hardly ever equal."""
    x = (np.uint64(label) + _ONE) * np.uint64(0x9E3779B97F4A7C15)
    return (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)


@njit(cache=True, nogil=True, inline="always")
def _key(label: np.uint32, in_sum: np.uint64, out_sum: np.uint64) -> np.uint64:
    x = in_sum * np.uint64(0x9E3779B97F4A7C15) + out_sum * np.uint64(0xD6E8FEB86659FD93) + np.uint64(label)
    return (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)


@intrinsic
def _bytes_equal(typing: Any, data: Any, at: Any, value: Any) -> Intrinsic:
    """Which of the 64 bytes data[at : at + 64], a uint8 array, equal `value`: bit v for byte at + v. Nobody looks whether the
    array has so many bytes."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, value = args
        data = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [at])
        vector = ir.VectorType(ir.IntType(8), 64)
        found = builder.load(builder.bitcast(data, vector.as_pointer()), align=1)
        wanted = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        wanted = builder.shuffle_vector(wanted, wanted, _vector(32, [0] * 64))
        return builder.bitcast(builder.icmp_unsigned("==", found, wanted), ir.IntType(64))

    return types.uint64(data, types.uint64, types.uint8), build


@intrinsic
def _transpose(typing: Any, block: Any) -> Intrinsic:
    """Transpose, in place, the 32 x 32 bits in the lower halves of 32 words, a uint64 array, and those in the upper halves."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        data = builder.bitcast(data, ir.VectorType(ir.IntType(64), 32).as_pointer())
        rows = builder.load(data, align=8)
        for step in (16, 8, 4, 2, 1):
            # Blocks of step x step bits change places: a row keeps half of them, and has the others of its partner, turned.
            low = sum((2**step - 1) << place for place in range(0, 64, 2 * step))
            second = [bool(u & step) for u in range(32)]
            partner = builder.shuffle_vector(rows, rows, _vector(32, [u ^ step for u in range(32)]))
            left = builder.shl(partner, _vector(64, [64 - step if later else step for later in second]))
            right = builder.lshr(partner, _vector(64, [step if later else 64 - step for later in second]))
            turned = builder.and_(builder.or_(left, right), _vector(64, [low if later else ~low for later in second]))
            rows = builder.or_(builder.and_(rows, _vector(64, [~low if later else low for later in second])), turned)
        builder.store(rows, data, align=8)
        return context.get_dummy_value()

    return types.void(block), build


def _vector(bits: int, values: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(bits), len(values)), [value & (2**bits - 1) for value in values])


@njit(cache=True, nogil=True)
def _load(
    union: Union, first_cell: int, edges: np.ndarray, operators: np.ndarray, source: int, count: int, n: int,
    use_in: bool, use_out: bool,
) -> None:  # fmt: skip
    """Write the rows and masks of cells source, …, source + count - 1 into the union, from its cell `first_cell` on.

    edges, operators: the bytes of all cells' matrices [B, n, n] and operators [B, n], with SPARE more behind the last one read.
    """
    masks, in_rows, out_rows = union.operator_masks, union.in_rows, union.out_rows
    words, num_operators, _ = masks.shape
    block = np.empty(32, np.uint64)
    size, stride = np.uint64(n), np.uint64(places(n))
    for i in range(count):
        cell, begin = np.uint64(first_cell + i), np.uint64(first_cell + i) * stride
        for w in range(words):
            word, at = np.uint64(w), np.uint64(source + i) * size + np.uint64(64 * w)
            inside = ~np.uint64(0) >> np.uint64(64 - min(64, n - 64 * w))
            present = np.uint64(0)
            for k in range(num_operators):
                mask = _bytes_equal(operators, at, np.uint8(k)) & inside
                masks[word, np.uint64(k), cell] = mask
                present |= mask
            at = np.uint64(source + i) * size * size + np.uint64(64 * w)
            for u in range(size):
                out_rows[word, begin + u] = ~_bytes_equal(edges, at, np.uint8(0)) & present
                at += size
        for w in range(words):
            absent = _bytes_equal(operators, np.uint64(source + i) * size + np.uint64(64 * w), ABSENT)
            for u in range(64 * w, min(64 * w + 64, n) if absent else 0):
                if (absent >> np.uint64(u & 63)) & _ONE:
                    for v in range(words):
                        out_rows[v, begin + np.uint64(u)] = 0
        for w in range(words if use_in else 0):
            for top in range(0, n, 32):
                for u in range(32):
                    block[u] = out_rows[w, begin + np.uint64(top + u)] if top + u < n else np.uint64(0)
                _transpose(block)
                half, shift = np.uint64(top >> 6), np.uint64(top & 63)
                kept = np.uint64(0) if shift == 0 else np.uint64(0xFFFFFFFF)
                for v in range(min(32, n - 64 * w)):
                    x = begin + np.uint64(64 * w + v)
                    in_rows[half, x] = (in_rows[half, x] & kept) | (block[v] & np.uint64(0xFFFFFFFF)) << shift
                for v in range(min(32, n - 64 * w - 32)):
                    x = begin + np.uint64(64 * w + 32 + v)
                    in_rows[half, x] = (in_rows[half, x] & kept) | (block[v] >> np.uint64(32)) << shift
        for w in range(words):
            for u in range(size if not use_in else np.uint64(0)):
                in_rows[w, begin + u] = 0
            for u in range(size if not use_out else np.uint64(0)):
                out_rows[w, begin + u] = 0


@njit(cache=True, nogil=True)
def _refine(union: Union, num_active: int, n: int, iteration: int) -> int:
    """One iteration on active[:num_active]: their new labels. A label is the first node that has it; at iteration 0 any number.

    The nodes that share their label with another one stay active. Returns their number.
    """
    in_rows, out_rows, first, labels = union.in_rows, union.out_rows, union.first, union.labels
    active, in_sums, out_sums, keys = union.active, union.in_sums, union.out_sums, union.keys
    if iteration == 1:
        certain = _sum_operators(union.operator_masks, in_rows, n, in_sums)
        _sum_operators(union.operator_masks, out_rows, n, out_sums)
        for x in range(keys.shape[0]):  # one after the other, active or not: several at once
            keys[x] = _key(labels[x], in_sums[x], out_sums[x])
    else:
        certain = False
        for i in range(num_active):
            x = active[i]
            in_sums[x] = _sum_codes(in_rows, x, first[x], labels)
            out_sums[x] = _sum_codes(out_rows, x, first[x], labels)
            keys[x] = _key(labels[x], in_sums[x], out_sums[x])
    return _relabel(union, num_active, certain)


@njit(cache=True, nogil=True)
def _sum_operators(masks: np.ndarray, rows: np.ndarray, n: int, sums: np.ndarray) -> bool:
    """sums [N]: how many neighbours of each node have operator k, written at bit k b (modulo 64), b bits holding any count.

    Returns whether all counts have their own place, so that equal sums are equal multisets.
    """
    b = 1
    while 1 << b < n:
        b += 1
    words, num_operators, num_cells = masks.shape
    stride = np.uint64(places(n))
    for x in range(sums.shape[0]):
        sums[x] = 0
    for w in range(words):
        for cell in range(num_cells):
            begin = np.uint64(cell) * stride
            for k in range(num_operators):
                mask, place = masks[w, k, cell], np.uint64((b * k) & 63)
                for u in range(stride):
                    sums[begin + u] += _popcount(rows[w, begin + u] & mask) << place
    return b * num_operators <= 64


@njit(cache=True, nogil=True)
def _sum_codes(rows: np.ndarray, x: np.uint32, first: np.uint64, labels: np.ndarray) -> np.uint64:
    """The sum of the codes of the labels of the neighbours of x."""
    total = np.uint64(0)
    for w in range(rows.shape[0]):
        word = rows[w, x]
        while word:
            total += _code(labels[first + _lowest_bit(word)])
            word &= word - _ONE
        first += np.uint64(64)
    return total


@njit(cache=True, nogil=True)
def _relabel(union: Union, num_active: int, certain: bool) -> int:
    """Put the nodes of active[:num_active] that agree in their labels and in those around them into one class.

    certain: whether equal sums are proof enough.
    """
    in_rows, out_rows, first, labels, counts = union.in_rows, union.out_rows, union.first, union.labels, union.counts
    active, in_sums, out_sums, keys, doubtful = union.active, union.in_sums, union.out_sums, union.keys, union.doubtful
    renewed, sizes, table = union.renewed, union.sizes, union.table
    num_doubtful = _find_doubtful(active, num_active, keys, union.seen, doubtful)
    size, shift = _table_size(2 * num_doubtful)
    for i in range(size):
        table[i] = -1
    for i in range(num_doubtful):
        x = doubtful[i]
        slot = keys[x] >> shift
        sizes[x] = 0
        while True:
            if table[slot] < 0:
                table[slot] = y = x
                break
            y = np.uint32(table[slot])
            same = labels[x] == labels[y] and in_sums[x] == in_sums[y] and out_sums[x] == out_sums[y]
            if same and (
                certain
                or (
                    _same_multiset(in_rows, x, y, first, labels, counts)
                    and _same_multiset(out_rows, x, y, first, labels, counts)
                )
            ):
                break
            slot = (slot + _ONE) & np.uint64(size - 1)
        renewed[x] = y
        sizes[y] += 1
    for i in range(num_active):
        labels[active[i]] = active[i]
    shared = 0
    for i in range(num_doubtful):
        x = doubtful[i]
        labels[x] = renewed[x]
        active[shared] = x
        shared += sizes[labels[x]] > 1
    return shared


@njit(cache=True, nogil=True)
def _find_doubtful(active: np.ndarray, num_active: int, keys: np.ndarray, seen: np.ndarray, doubtful: np.ndarray) -> np.int64:
    """Write those of active[:num_active] whose key may be another's too to the front of `doubtful`. Returns how many.

    Most nodes are alone, and are found so without a branch, which costs less than a look into a hash table.
    """
    size, shift = _table_size(8 * num_active)
    for i in range(size):
        seen[i] = 0
    for i in range(num_active):
        place = keys[active[i]] >> shift
        seen[place] += seen[place] < 2
    num_doubtful = np.uint64(0)
    for i in range(num_active):
        doubtful[num_doubtful] = active[i]
        num_doubtful += np.uint64(seen[keys[active[i]] >> shift] > 1)
    return np.int64(num_doubtful)


@njit(cache=True, nogil=True)
def _table_size(least: int) -> tuple[int, np.uint64]:
    """The smallest power of two from `least` on, but at least 2, and the shift that leaves so many values of a 64-bit key."""
    size, shift = 2, np.uint64(63)
    while size < least:
        size, shift = 2 * size, shift - _ONE
    return size, shift


@njit(cache=True, nogil=True)
def _same_multiset(
    rows: np.ndarray, x: np.uint32, y: np.uint32, first: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> bool:
    """Whether the neighbours of x and of y have the same multiset of labels."""
    words, same = rows.shape[0], True
    for w in range(words):
        word, start = rows[w, x], first[x] + np.uint64(64 * w)
        while word:
            counts[labels[start + _lowest_bit(word)]] += 1
            word &= word - _ONE
    for w in range(words):
        word, start = rows[w, y], first[y] + np.uint64(64 * w)
        while word:
            label = labels[start + _lowest_bit(word)]
            same &= counts[label] > 0
            counts[label] -= 1
            word &= word - _ONE
    for w in range(words):
        word, start = rows[w, x], first[x] + np.uint64(64 * w)
        while word:
            label = labels[start + _lowest_bit(word)]
            same &= counts[label] <= 0
            counts[label] = 0
            word &= word - _ONE
    for w in range(0 if same else words):
        word, start = rows[w, y], first[y] + np.uint64(64 * w)
        while word:
            counts[labels[start + _lowest_bit(word)]] = 0
            word &= word - _ONE
    return same


@njit(cache=True, nogil=True, inline="always")
def _activate(active: np.ndarray, num_active: int, x: np.uint64, operators: np.ndarray, at: np.uint64, n: int) -> np.int64:
    """Write the nodes of a cell, of which x is the first, behind active[:num_active]. Returns how many there are then."""
    end = np.uint64(num_active)
    for u in range(np.uint64(n)):
        active[end] = x + u
        end += np.uint64(operators[at + u] != ABSENT)
    return np.int64(end)


SPARE = 64
"""Bytes that are read beyond the last cell, and not looked at."""
PAIRS_AT_ONCE = 32
"""Enough that calls cost nothing, few enough that all stays in cache."""


@njit(cache=True, nogil=True)
def count_pairs(
    union: Union, edges_a: np.ndarray, operators_a: np.ndarray, edges_b: np.ndarray, operators_b: np.ndarray, num_pairs: int,
    n: int, num_operators: int, h: int, use_in: bool, use_out: bool,
) -> np.ndarray:  # fmt: skip
    """k(a, a), k(a, b), k(b, b) for each pair: int64 [B, 3]. edges, operators: bytes, see `_load`."""
    labels, active, first = union.labels, union.active, union.first
    in_a, in_b = np.zeros(union.counts.shape[0], np.int64), np.zeros(union.counts.shape[0], np.int64)
    values = np.zeros((num_pairs, 3), np.int64)
    stride = places(n)
    for start in range(0, num_pairs, PAIRS_AT_ONCE):
        pairs = min(PAIRS_AT_ONCE, num_pairs - start)
        num_active = _ZERO
        for side in range(2):
            edges, operators = (edges_b, operators_b) if side else (edges_a, operators_a)
            _load(union, side * pairs, edges, operators, start, pairs, n, use_in, use_out)
            for p in range(pairs):
                # Different labels for different pairs, so that one partition serves them all.
                x, at = np.uint64((side * pairs + p) * stride), np.uint64((start + p) * n)
                for u in range(np.uint64(n)):
                    labels[x + u] = np.uint32(p * num_operators) + np.uint32(operators[at + u])
                num_active = _activate(active, num_active, x, operators, at, n)
        for p in range(pairs):
            for k in range(num_operators):
                a, b = _num_nodes(union.operator_masks, k, p), _num_nodes(union.operator_masks, k, pairs + p)
                # Iteration 0, and in all others each node with itself; below, with the others.
                values[start + p, 0] += a * a + h * a
                values[start + p, 1] += a * b
                values[start + p, 2] += b * b + h * b
        first_b = np.uint32(pairs * stride)
        for t in range(1, h + 1):
            num_active = _refine(union, num_active, n, t)
            for i in range(num_active):
                x = active[i]
                if x < first_b:
                    in_a[labels[x]] += 1
                else:
                    in_b[labels[x]] += 1
            for i in range(num_active):
                x = active[i]
                p = np.uint64(start) + first[x] // np.uint64(stride)
                if x < first_b:
                    values[p, 0] += in_a[labels[x]] - 1
                    values[p, 1] += in_b[labels[x]]
                else:
                    values[p - np.uint64(pairs), 2] += in_b[labels[x]] - 1
            for i in range(num_active):
                in_a[labels[active[i]]] = in_b[labels[active[i]]] = 0
    return values


@njit(cache=True, nogil=True)
def _num_nodes(operator_masks: np.ndarray, k: int, cell: int) -> np.int64:
    """How many nodes of a cell have operator k."""
    total = _ZERO
    for w in range(operator_masks.shape[0]):
        total += np.int64(_popcount(operator_masks[w, k, cell]))
    return total


@njit(cache=True, nogil=True)
def count_gram(
    union: Union, edges: np.ndarray, operators: np.ndarray, num_cells: int, n: int, num_rows: int, square: bool, h: int,
    use_in: bool, use_out: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Kernels int64 [num_rows, columns] of the first cells with all the others, or with themselves if `square`; k(g, g) [B]."""
    labels, active = union.labels, union.active
    _load(union, _ZERO, edges, operators, _ZERO, num_cells, n, use_in, use_out)
    own = np.zeros(num_cells, np.int64)
    stride = places(n)
    num_active = _ZERO
    for c in range(num_cells):
        x, at, others = np.uint64(c * stride), np.uint64(c * n), num_active
        for u in range(np.uint64(n)):
            labels[x + u] = operators[at + u]
        num_active = _activate(active, num_active, x, operators, at, n)
        own[c] = (h + 1) * (num_active - others)  # each node with itself; below, with the others
    first_column = 0 if square else num_rows
    values = np.zeros((num_rows, num_cells - first_column), np.int64)
    ends = np.empty(union.counts.shape[0] + 1, np.int64)
    members = np.empty(num_cells * stride, np.int64)  # the cells of the active nodes, class by class, ascending in a class
    cells, sizes = np.empty(num_cells, np.int64), np.empty(num_cells, np.int64)
    for t in range(h + 1):
        if t > 0:
            num_active = _refine(union, num_active, n, t)
        for label in range(ends.shape[0]):
            ends[label] = 0
        for i in range(num_active):
            ends[labels[active[i]] + 1] += 1
        for label in range(1, ends.shape[0]):
            ends[label] += ends[label - 1]
        for i in range(num_active):
            label = labels[active[i]]
            members[ends[label]] = active[i] // stride
            ends[label] += 1
        begin = 0
        for label in range(ends.shape[0] - 1):
            found = 0
            for m in range(begin, ends[label]):
                if found == 0 or cells[found - 1] != members[m]:
                    cells[found], sizes[found] = members[m], 0
                    found += 1
                sizes[found - 1] += 1
            begin = ends[label]
            for i in range(found):
                own[cells[i]] += sizes[i] * (sizes[i] - 1)
                if cells[i] < num_rows:
                    for j in range(found):
                        if cells[j] >= first_column:
                            values[cells[i], cells[j] - first_column] += sizes[i] * sizes[j]
    if square:
        for c in range(num_cells):
            values[c, c] = own[c]
    return values, own
