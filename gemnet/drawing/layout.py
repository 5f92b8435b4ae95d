"""Places for the nodes and edges of a cell in a drawing: layers by longest distance from the input, few crossings.

The edges of one node that pass several layers run together, as one bus, and branch off just above their targets. So every
line goes from one layer to the next, and a cell of 30 nodes and 170 edges can still be followed by eye.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemnet.cell import Cell

MAX_POINTS = 20_000
"""Nodes and bus points; a cell with more is placed without its edges."""
SWEEPS = 12

_Point = tuple[int, int]  # (u, layer): node u itself in its own layer, its bus in the layers below


@dataclass(frozen=True)
class Line:
    """A piece of the edges that leave node `source`, between (x, layer) places of neighbouring layers."""

    source: int
    start: tuple[float, int]
    end: tuple[float, int]


@dataclass(frozen=True)
class Layout:
    """nodes: (x, layer) of each node, layer 0 at the top, neighbours in a layer at least 1 apart. lines: the edges."""

    nodes: dict[int, tuple[float, int]]
    lines: tuple[Line, ...]


def layered(cell: Cell) -> Layout:
    """Place the live nodes of `cell`; without lines where there are too many to see."""
    live = set(cell.live_nodes)
    layer: dict[int, int] = {}
    for v in cell.live_nodes:
        layer[v] = max((layer[u] + 1 for u in cell.predecessors[v] if u in live), default=0)
    edges = [(u, v) for u, v in cell.edges if u in live]
    below: defaultdict[int, int] = defaultdict(int)  # the last layer that each node's bus reaches
    for u, v in edges:
        below[u] = max(below[u], layer[v] - 1)
    layers: list[list[_Point]] = [[] for _ in range(max(layer.values()) + 1)]
    crowded = len(live) + sum(max(0, below[u] - layer[u]) for u in live) > MAX_POINTS
    for u in cell.live_nodes:
        for y in range(layer[u], 1 + (layer[u] if crowded else max(layer[u], below[u]))):
            layers[y].append((u, y))
    links: list[tuple[_Point, _Point]] = []
    if not crowded:
        links = [((u, y), (u, y + 1)) for row in layers for u, y in row if y < below[u]]
        links += [((u, layer[v] - 1), (v, layer[v])) for u, v in edges]
    above: defaultdict[_Point, list[_Point]] = defaultdict(list)
    under: defaultdict[_Point, list[_Point]] = defaultdict(list)
    for a, b in links:
        under[a].append(b)
        above[b].append(a)
    _order(layers, above, under)
    x = _coordinates(layers, above, under, layer)
    shift = x[0, 0]
    nodes = {u: (x[u, y] - shift, y) for u, y in layer.items()}
    return Layout(nodes, tuple(Line(a[0], (x[a] - shift, a[1]), (x[b] - shift, b[1])) for a, b in links))


def _order(layers: list[list[_Point]], above: dict[_Point, list[_Point]], under: dict[_Point, list[_Point]]) -> None:
    """Sort each layer by the mean place of its neighbours, downwards and upwards in turn, in place (few crossings)."""
    rank = {point: float(i) for row in layers for i, point in enumerate(row)}
    for sweep in range(SWEEPS):
        rows, neighbours = (layers, above) if sweep % 2 == 0 else (layers[::-1], under)
        for row in rows:
            row.sort(key=lambda p: _mean([rank[q] for q in neighbours[p]], rank[p]))
            rank.update((point, float(i)) for i, point in enumerate(row))


def _coordinates(
    layers: list[list[_Point]],
    above: dict[_Point, list[_Point]],
    under: dict[_Point, list[_Point]],
    layer: dict[int, int],
) -> dict[_Point, float]:
    """x of each point: as near to the mean of its neighbours as the order and the widths of the layer allow."""
    half = {point: 0.5 if layer[point[0]] == point[1] else 0.16 for row in layers for point in row}
    x: dict[_Point, float] = {}
    starts = []
    for row in layers:
        start = [0.0]
        for a, b in pairwise(row):
            start.append(start[-1] + half[a] + half[b])
        starts.append(start)
        x.update((point, s - start[-1] / 2) for point, s in zip(row, start))
    for sweep in range(2 * SWEEPS):
        downwards = sweep % 2 == 0
        for y in range(len(layers)) if downwards else reversed(range(len(layers))):
            row, start = layers[y], starts[y]
            wish = [_mean([x[q] for q in (*above[p], *under[p])], x[p]) for p in row]
            x.update(zip(row, map(sum, zip(_ascending([w - s for w, s in zip(wish, start)]), start))))
    return x


def _ascending(values: Sequence[float]) -> list[float]:
    """The ascending sequence nearest to `values` in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, size = value, 1
        while pools and pools[-1][0] / pools[-1][1] > total / size:
            before = pools.pop()
            total, size = total + before[0], size + before[1]
        pools.append((total, size))
    return [total / size for total, size in pools for _ in range(size)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
