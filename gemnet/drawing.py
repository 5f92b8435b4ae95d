"""Drawing of cells with matplotlib: layers by longest distance from the input, data flowing downwards."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gemnet.operators import INPUT, OPERATORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gemnet.cell import Cell

COLOURS = dict(zip((INPUT, *OPERATORS), ("#4d4d4d", "#4c9be8", "#8e63ce", "#f0a03c", "#d1495b")))
DROPPED = "#d9d9d9"


def draw_cell(cell: Cell, path: str | os.PathLike[str]) -> None:
    """Draw `cell` to a PNG or SVG file, told by the ending of `path`. Raises ValueError for another ending."""
    from matplotlib.figure import Figure

    kind = os.path.splitext(os.fspath(path))[1].lower()
    if kind not in (".png", ".svg"):
        raise ValueError(f"{path}: a cell is drawn to .png or .svg, not {kind or 'a file without ending'}")
    rows, columns = max(y for _, y in _layout(cell).values()) + 1, max(map(len, _layers(cell)))
    figure = Figure(figsize=(max(4.0, 0.9 * columns + 1), max(3.0, 0.62 * rows + 1)), layout="constrained")
    draw_on(figure.subplots(), cell)
    figure.savefig(path, format=kind[1:], dpi=110)


def draw_on(axes: Axes, cell: Cell) -> None:
    """Draw `cell` on matplotlib axes: nodes coloured by operator, leaves ringed, dropped nodes grey."""
    from matplotlib.patches import FancyArrowPatch

    place, live = _layout(cell), set(cell.live_nodes)
    for u, v in cell.edges:
        (x0, y0), (x1, y1) = place[u], place[v]
        bend = 0.0 if y1 - y0 == 1 else 0.18 * (1 if (u + v) % 2 else -1)
        axes.add_patch(
            FancyArrowPatch(
                (x0, -y0), (x1, -y1), connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=7,
                shrinkA=9, shrinkB=9, linewidth=0.7, color="#555555" if u in live else DROPPED, alpha=0.75, zorder=1,
            )
        )
    for v, (x, y) in place.items():
        name = cell.nodes[v]
        edge, width = ("black", 2.0) if v in cell.leaves else ("white", 0.8)
        axes.scatter([x], [-y], s=260, c=COLOURS[name] if v in live else DROPPED, edgecolors=edge, linewidths=width, zorder=2)
        axes.text(x, -y, str(v), ha="center", va="center", fontsize=7, color="white", zorder=3)
    for name in dict.fromkeys(cell.nodes):
        axes.scatter([], [], c=COLOURS[name], label=name)
    axes.scatter([], [], c="white", edgecolors="black", linewidths=2, label="leaf: part of the output")
    if len(live) < len(cell.nodes):
        axes.scatter([], [], c=DROPPED, label="dropped: not reached")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, fontsize=7, frameon=False)
    axes.margins(0.08)
    axes.axis("off")


def _layers(cell: Cell) -> list[list[int]]:
    """Nodes by longest distance from a node without inputs."""
    depth: list[int] = []
    for before in cell.predecessors:
        depth.append(max((depth[u] + 1 for u in before), default=0))
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for v, d in enumerate(depth):
        layers[d].append(v)
    return layers


def _layout(cell: Cell) -> dict[int, tuple[float, int]]:
    """Position (x, layer) of each node; within a layer nodes are ordered by the mean position of what feeds them."""
    place: dict[int, tuple[float, int]] = {}
    for y, layer in enumerate(_layers(cell)):
        mean = {v: sum(place[u][0] for u in cell.predecessors[v]) / max(1, len(cell.predecessors[v])) for v in layer}
        for i, v in enumerate(sorted(layer, key=lambda v: (mean[v], v))):
            place[v] = (i - (len(layer) - 1) / 2 + (0.25 if y % 2 else 0.0), y)
    return place
