"""Drawing of cells with matplotlib: data flow downwards from the input; nodes and the edges they feed coloured by operator."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gemnet.layout import layered
from gemnet.operators import INPUT, OPERATORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gemnet.cell import Cell

COLOURS = dict(zip((INPUT, *OPERATORS), ("#3b3f46", "#2f7fc1", "#7a57b8", "#e08214", "#c2385a")))
DROPPED = "#b9bcc2"
RADIUS = 0.3
UNIT_INCHES = 0.52
MAX_INCHES = 50.0
DPI = 120


def draw_cell(cell: Cell, path: str | os.PathLike[str]) -> None:
    """Draw `cell` to a PNG or SVG file, told by the ending of `path`. Raises ValueError for another ending."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kind = os.path.splitext(os.fspath(path))[1].lower()
    if kind not in (".png", ".svg"):
        raise ValueError(f"{path}: a cell is drawn to .png or .svg, not to {kind or 'a file without ending'}")
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    draw_on(axes, cell)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    unit = min(UNIT_INCHES, MAX_INCHES / max(right - left, top - bottom))
    width, height, legend = max(4.4, unit * (right - left)), unit * (top - bottom), 0.8
    figure.set_size_inches(width, height + legend)
    axes.set_position((0, legend / (height + legend), 1, height / (height + legend)))
    with rc_context({"svg.hashsalt": "gemnet"}):  # the same cell gives the same file
        figure.savefig(path, format=kind[1:], dpi=DPI, metadata={"Date": None} if kind == ".svg" else {"Software": None})


def draw_on(axes: Axes, cell: Cell) -> None:
    """Draw `cell` on matplotlib axes, legend below: leaves ringed, edges from a node in its colour, dropped nodes apart."""
    from matplotlib.collections import PatchCollection, PathCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Polygon
    from matplotlib.path import Path

    layout, leaves = layered(cell), set(cell.leaves)
    lines = []
    for line in layout.lines:
        (x0, y0), (x1, y1) = line.start, line.end
        ends = y1 - 0.5 * RADIUS
        lines.append(Path([(x0, -y0), (x0, -y0 - 0.55), (x1, -ends + 0.55), (x1, -ends)], [Path.MOVETO] + 3 * [Path.CURVE4]))
    colours = [COLOURS[cell.nodes[line.source]] for line in layout.lines]
    axes.add_collection(PathCollection(lines, facecolors="none", edgecolors=colours, linewidths=0.9, alpha=0.6, zorder=1))
    tips = [Polygon([(x - 0.11, -y + RADIUS + 0.2), (x + 0.11, -y + RADIUS + 0.2), (x, -y + RADIUS)]) for v, (x, y) in
            layout.nodes.items() if v and layout.lines]  # fmt: skip
    axes.add_collection(PatchCollection(tips, facecolors="#3b3f46", edgecolors="none", zorder=2))
    for v, (x, y) in layout.nodes.items():
        if v in leaves:
            axes.add_patch(Circle((x, -y), RADIUS + 0.09, facecolor="white", edgecolor="black", linewidth=1.2, zorder=3))
        axes.add_patch(Circle((x, -y), RADIUS, facecolor=COLOURS[cell.nodes[v]], edgecolor="white", linewidth=0.6, zorder=4))
        _write(axes, x, -y, str(v))
    xs, rows = [x for x, _ in layout.nodes.values()], max(y for _, y in layout.nodes.values()) + 1
    left, right = min(xs), max(xs)
    dropped = [v for v in range(len(cell.nodes)) if v not in layout.nodes]
    columns = max(8, int(right - left))
    for i, v in enumerate(dropped):
        x, y = (left + right) / 2 + i % columns - (min(columns, len(dropped)) - 1) / 2, rows + i // columns
        axes.add_patch(Circle((x, -y), RADIUS, facecolor=DROPPED, edgecolor="white", linewidth=0.6, zorder=4))
        _write(axes, x, -y, str(v))
        left, right = min(left, x), max(right, x)

    def dot(label: str, colour: str, ring: str = "none") -> Line2D:
        return Line2D([], [], linestyle="none", marker="o", markersize=8, color=colour, markeredgecolor=ring, label=label)

    handles = [dot(name, COLOURS[name]) for name in COLOURS if name in cell.nodes]
    handles.append(dot("leaf: part of the output", "white", "black"))
    if dropped:
        handles.append(dot("dropped: the input does not reach it", DROPPED))
    if not layout.lines:
        handles.append(Line2D([], [], color="none", label=f"{len(cell.edges):,} edges, too many to draw"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize=8, frameon=False, columnspacing=1)
    axes.set_xlim(left - 0.9, right + 0.9)
    axes.set_ylim(-(rows - 1 + -(-len(dropped) // columns)) - 0.7, 0.7)
    axes.set_aspect("equal")
    axes.axis("off")


def _write(axes: Axes, x: float, y: float, text: str) -> None:
    """White text in the middle of a node, in the units of the axes, so that it keeps its place at any size."""
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), text, size=1)
    box = path.get_extents()
    scale = min(0.36, 1.5 * RADIUS / box.width)
    move = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(scale).translate(x, y)
    axes.add_patch(PathPatch(path.transformed(move), facecolor="white", edgecolor="none", zorder=5))
