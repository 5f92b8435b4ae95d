"""One palette for all plots, and figures as SVG that suit light and dark pages."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING

from gemnet.core.files import save_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, VIOLET, BROWN, GREY = "#2f7fc1", "#e08214", "#3a9a5b", "#c2385a", "#7a57b8", "#8a4f2a", "#8b8f96"
SERIES = (BLUE, ORANGE, GREEN, RED, VIOLET, BROWN, GREY, "#ff6fb5", "#00a5c0", "#c9a227")
"""Colours of lines and points, in this order. They are those of the operators, and readable on white and on black."""
INK = {"light": "#24292f", "dark": "#e6edf3"}
"""Letters and axes, by the page's colour scheme."""

_STYLE = (
    f"<style>svg{{color:{INK['light']};fill:currentColor}}"
    f"@media (prefers-color-scheme:dark){{svg{{color:{INK['dark']}}}}}</style>"
)

_MARK = r'<use xlink:href="{}" x="[^"]*" y="[^"]*" style="{}"/>'
_MARKS = re.compile(_MARK.format(r"(#\w+)", r'([^"]*)') + r"(?:\s*" + _MARK.format(r"\1", r"\2") + ")+")
"""Equal marks of a plot, one after the other."""


def adaptive_svg(figure: Figure) -> str:
    """Draw a figure as SVG text without background, whose letters and axes follow the colour scheme of the page.

    What is drawn in black becomes dark on light pages and light on dark ones; other colours stay. The same figure gives the
    same text.
    """
    from matplotlib import rc_context

    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
    for legend in [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]:
        legend.get_frame().set_alpha(0)
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "gemnet"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = re.sub(r"((?:fill|stroke): )#000000", r"\1currentColor", text.getvalue())
    svg = _MARKS.sub(_together, svg)
    return re.sub(r"(<svg [^>]*>)", rf"\1{_STYLE}", svg, count=1)


def _together(marks: re.Match[str]) -> str:
    """Equal marks, with their style told once and places of a hundredth of a point."""
    places = re.findall(r' x="([-\d.]+)" y="([-\d.]+)"', marks[0])
    uses = (f'<use xlink:href="{marks[1]}" x="{float(x):.2f}" y="{float(y):.2f}"/>\n' for x, y in places)
    return f'<g style="{marks[2]}">\n{"".join(uses)}</g>'


def save_svg(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write `adaptive_svg`, whole or not at all."""
    save_text(path, adaptive_svg(figure))
