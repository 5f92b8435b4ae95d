"""Plots for pages: half a page wide, with letters about as large as the text's.

A figure of WIDTH inches is shown at its own size where half a page is free, on GitHub, on the site and on a phone. matplotlib's
default letters, LETTERS points, are then readable. What needs more room has panels below each other.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.8  # inches, 461 pixels of a page
LETTERS = 10  # points, at least
_LINE = 60  # letters of this size side by side in a figure, about
CLOSE: dict[str, Any] = {"handlelength": 1.5, "columnspacing": 1.0, "labelspacing": 0.3, "borderpad": 0.2}
"""Of legends, whose labels then fit below a figure."""


def page_figure(height: float) -> Figure:
    """An empty figure, WIDTH inches wide and `height` high, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", dpi=200)  # dots of images in it


def panels(
    figure: Figure, titles: Sequence[str], xlabel: str = "", ylabel: str = "", columns: int = 2, **sharing: Any
) -> list[Axes]:
    """Add axes side by side and below each other, one a title.

    Args:
        figure: an empty one.
        titles: of the axes.
        xlabel: below the lowest ones.
        ylabel: left of all.
        columns: so many side by side.
        sharing: `sharex` and `sharey` of `Figure.subplots`.

    Returns:
        The axes. What is left of the last line stays empty, and is the last of `figure.axes`.
    """
    grid = figure.subplots(math.ceil(len(titles) / columns), columns, squeeze=False, **sharing)
    every = list(grid.flat)
    for axes, title in zip(every, titles):
        axes.set_title(title, fontsize=LETTERS)
    for spare in every[len(titles) :]:
        spare.set_axis_off()
    used = every[: len(titles)]
    for axes in used[-columns:]:
        axes.set_xlabel(xlabel)
        axes.tick_params(labelbottom=True)  # also where `sharex` has left it to the empty ones
    if ylabel:
        figure.supylabel(ylabel, fontsize=LETTERS)
    return used


def legend_below(axes: Axes, columns: int = 2, handles: Sequence[Artist] | None = None) -> None:
    """Put the legend of what has a label below the figure, where it covers nothing.

    Args:
        axes: some whose lines have labels; of a figure with a constrained layout.
        columns: so many labels side by side; long ones are broken.
        handles: what it has, in this order; all of `axes` if None.
    """
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        broken = [textwrap.fill(str(handle.get_label()), _LINE // columns - 4) for handle in handles]
        look = {"ncols": columns, "fontsize": LETTERS, "frameon": False, "markerscale": 1.3, **CLOSE}
        legend = axes.figure.legend(handles, broken, loc="outside lower center", **look)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)


def dots(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str | None = None, alpha: float = 0.5) -> None:
    """Draw many small discs of one colour; an SVG of them is a quarter of that of `Axes.scatter`."""
    axes.plot(x, y, linestyle="none", marker="o", markersize=3, markeredgewidth=0, color=colour, alpha=alpha, label=label)
