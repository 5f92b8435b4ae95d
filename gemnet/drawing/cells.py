"""Drawing of cells with matplotlib: data flow downwards from the input; nodes and the edges they feed coloured by operator."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gemnet.core.errors import UserError
from gemnet.drawing.colours import operator_colours
from gemnet.drawing.layout import layered
from gemnet.drawing.plots import CLOSE, LETTERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from gemnet.cell import Cell

DROPPED = "#b9bcc2"
RADIUS = 0.3  # in the units of the layout: neighbours in a layer are 1 apart
ROW = 1.3  # between layers
GAP = 0.5  # between the middle of a node and the edges that enter it from above
UNIT_INCHES = 0.52
MAX_INCHES = 50.0
DPI = 120


def draw_cell(cell: Cell, path: str | os.PathLike[str]) -> None:
    """Draw `cell` to a file, PNG or SVG by the ending of `path`. Raises UserError, a ValueError, for another ending."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kind = os.path.splitext(os.fspath(path))[1].lower()
    if kind not in (".png", ".svg"):
        raise UserError(f"{path}: a cell is drawn to .png or .svg, not to {kind or 'a file without ending'}")
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    draw_on(axes, cell)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    unit = min(UNIT_INCHES, MAX_INCHES / max(right - left, top - bottom))
    width, height, legend = max(5.0, unit * (right - left)), unit * (top - bottom), 0.7
    figure.set_size_inches(width, height + legend)
    axes.set_position((0, legend / (height + legend), 1, height / (height + legend)))
    with rc_context({"svg.hashsalt": "gemnet"}):  # the same cell gives the same file
        figure.savefig(path, format=kind[1:], dpi=DPI, metadata={"Date": None} if kind == ".svg" else {"Software": None})


def draw_on(axes: Axes, cell: Cell) -> None:
    """Draw `cell` on matplotlib axes, legend below: leaves ringed, edges from a node in its colour, dropped nodes apart."""
    from matplotlib.collections import PatchCollection, PathCollection
    from matplotlib.patches import Polygon
    from matplotlib.path import Path

    layout, leaves = layered(cell), set(cell.leaves)
    colours = operator_colours(cell.nodes[v] for v in layout.nodes)
    nodes = {v: (x, -ROW * layer) for v, (x, layer) in layout.nodes.items()}
    places = set(layout.nodes.values())
    lines = []
    for line in layout.lines:
        (x0, y0), (x1, y1) = ((x, -ROW * layer) for x, layer in (line.start, line.end))
        y1 += GAP if line.end in places else 0
        bend = (y0 - y1) / 2
        lines.append(Path([(x0, y0), (x0, y0 - bend), (x1, y1 + bend), (x1, y1)], [Path.MOVETO] + 3 * [Path.CURVE4]))
    edge_colours = [colours[cell.nodes[line.source]] for line in layout.lines]
    axes.add_collection(PathCollection(lines, facecolors="none", edgecolors=edge_colours, linewidths=1.0, alpha=0.7, zorder=1))
    fed = list(nodes.values())[1:] if layout.lines else []
    tips = [Polygon([(x - 0.08, y + GAP), (x + 0.08, y + GAP), (x, y + GAP - 0.13)]) for x, y in fed]
    axes.add_collection(PatchCollection(tips, facecolors="#6b717a", edgecolors="none", zorder=2))
    for v, place in nodes.items():
        _disc(axes, place, RADIUS, colours[cell.nodes[v]], str(v), ring=v in leaves)

    xs = [x for x, _ in nodes.values()] + [line.end[0] for line in layout.lines]
    left, right, bottom = min(xs) - 0.8, max(xs) + 0.8, min(y for _, y in nodes.values()) - 0.7
    dropped = [v for v in range(len(cell.nodes)) if v not in nodes]
    columns = max(10, int((right - left) / 0.6))
    for i in range(0, len(dropped), columns):
        row = dropped[i : i + columns]
        for k, v in enumerate(row):
            _disc(axes, ((left + right + 0.6 * (2 * k + 1 - len(row))) / 2, bottom), 0.6 * RADIUS, DROPPED, str(v))
        bottom -= 0.6
    half = 0.3 * min(columns, len(dropped))
    axes.set_xlim(min(left, (left + right) / 2 - half), max(right, (left + right) / 2 + half))
    axes.set_ylim(bottom, 0.6)
    axes.set_aspect("equal")
    axes.axis("off")

    handles = [_dot(name, colour) for name, colour in colours.items()]
    handles.append(_dot("leaf: part of the output", "none", "black"))
    if dropped:
        handles.append(_dot("dropped: not reached", DROPPED))
    if not layout.lines:
        handles.append(_dot(f"{len(cell.edges):,} edges: too many to draw", "none"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize=LETTERS, frameon=False, **CLOSE)


def _dot(label: str, colour: str, edge: str = "none") -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker="o", markersize=8, color=colour, markeredgecolor=edge, label=label)


def _disc(axes: Axes, place: tuple[float, float], radius: float, colour: str, text: str, ring: bool = False) -> None:
    """A node with its number, all in the units of the axes, so that it looks the same at any size."""
    from matplotlib.patches import Circle, PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    x, y = place
    if ring:
        axes.add_patch(Circle((x, y), radius + 0.08, facecolor="none", edgecolor="black", linewidth=1.3, zorder=3))
    axes.add_patch(Circle((x, y), radius, facecolor=colour, edgecolor="none", zorder=4))
    path = TextPath((0, 0), text, size=1)
    box = path.get_extents()
    scale = radius * min(1.15, 1.5 / box.width)
    move = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(scale).translate(x, y)
    axes.add_patch(PathPatch(path.transformed(move), facecolor="white", edgecolor="none", zorder=5))
