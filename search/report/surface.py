"""The surface of the predicted score as a piece of the report: evaluated cells as dots, each drawn when it is pointed at.

The drawings are JSON, whole numbers in 1/100 of the layout's unit: the page's script has nothing to lay out.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gemnet.cell import Cell
from gemnet.core.html_page import svg_url
from gemnet.drawing.cells import RADIUS, ROW
from gemnet.drawing.colours import operator_colours
from gemnet.drawing.layout import layered
from search.record.study import Record
from search.report.dynamics import Dynamics
from search.report.figures import surface_plot

UNIT = 100
MARGIN = 50
VIEW = (640, 480)
"""Width and height in which the dots have their places: the ratio of the plot's sides."""


def surface_html(dynamics: Dynamics) -> str:
    """The plot with its dots, the panel for the cell that is pointed at, and the drawings."""
    plot, (width, height) = surface_plot(dynamics), VIEW
    best = int(np.argmax(dynamics.measured))
    dots = "".join(
        f'<circle class="{"best" if i == best else "dot"}" tabindex="0" role="option" data-cell="{i}" cx="{x * width:.1f}"'
        f' cy="{y * height:.1f}" r="{9 if i == best else 7}" fill="{colour}">'
        f"<title>{html.escape(_told(record))}</title></circle>"
        for i, (record, (x, y), colour) in enumerate(zip(dynamics.evaluated, plot.places, plot.colours))
    )
    cells = [r.cell.pruned() for r in dynamics.evaluated]
    colours = operator_colours(name for cell in cells for name in cell.nodes)
    drawings = json.dumps([_drawing(cell, colours) for cell in cells], separators=(",", ":"))
    drawings = drawings.replace("<", "\\u003c")  # nothing in it can end the script
    legend = "".join(
        f'<span data-colour="{colour}"><b style="background:{colour}"></b>{html.escape(name)} <i></i></span> '
        for name, colour in colours.items()
    )
    legend += "<span>ringed: a leaf, part of the output</span>"
    return (
        f'<div class="surface"><figure><svg viewBox="0 0 {width:g} {height:g}" role="listbox" aria-label="Evaluated cells">'
        f'<image role="presentation" width="{width:g}" height="{height:g}" href="{svg_url(plot.svg)}"/>{dots}</svg>'
        f"<figcaption>Predicted efficiency score of {len(dynamics.drawn)} drawn cells over the first two principal components"
        f" of their vectors, {dynamics.variance:.0%} of the variance. Dots: the {len(dynamics.evaluated)} cells evaluated"
        " to the end, coloured by measured score, the best one large and ringed. Tap or point at a dot, or step through them"
        ' with the arrow keys, to see its cell.</figcaption></figure><div id="cell">'
        '<section aria-live="polite"><p></p></section><svg role="img"></svg>'
        f'<p class="legend">{legend}</p></div></div><script type="application/json" id="drawings">{drawings}</script>'
    )


def _told(r: Record) -> str:
    return f"{r.digest[:8]}: round {r.round}, score {r.score:.4f}, accuracy {r.accuracy:.4f}, cost {r.cost:.4g}"


def _drawing(cell: Cell, colours: Mapping[str, str]) -> dict[str, Any]:
    """The drawing of a pruned cell, its operators in `colours`, as JSON values.

    box: x, y, width, height. nodes: [x, y, colour, whether a leaf]. lines: [node, x, y, x, y], the node that the line leaves,
    and its ends.
    """
    layout, leaves = layered(cell), set(cell.leaves)
    places = set(layout.nodes.values())
    nodes = [[*_place(*layout.nodes[v], 0), colours[name], v in leaves] for v, name in enumerate(cell.nodes)]
    lines = [
        [line.source, *_place(*line.start, 0), *_place(*line.end, RADIUS if line.end in places else 0)] for line in layout.lines
    ]
    points = np.array([node[:2] for node in nodes] + [line[3:] for line in lines])
    low, size = points.min(0) - MARGIN, np.ptp(points, 0) + 2 * MARGIN
    return {"box": [*low.tolist(), *size.tolist()], "nodes": nodes, "lines": lines}


def _place(x: float, layer: int, above: float) -> tuple[int, int]:
    return round(UNIT * x), round(UNIT * (ROW * layer - above))
