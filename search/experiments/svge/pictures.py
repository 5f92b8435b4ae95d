"""Pictures of SVGe's latent space and of searches in it, made of their points alone.

`run.py` keeps the points of each picture in `<name>_points.json`, `pages.py` all of a space in docs/results/svge. So colours,
letters and layout change without training anything again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gemnet.cell import Cell
from gemnet.drawing import draw_on
from gemnet.drawing.colours import operator_colours
from gemnet.drawing.palette import BLUE, GREEN, GREY, ORANGE
from gemnet.drawing.plots import LETTERS, dots, legend_below, page_figure, panels

Points = Mapping[str, Any]
"""What a picture shows, as plain JSON; see the function that draws it."""
COLOURS = {
    "expected improvement": BLUE,
    "expected improvement on known cells": GREEN,
    "bootstrap": ORANGE,
    "random": GREY,
}
"""By method; NASGEM's bootstrap has NASGEM's."""


def interpolation(points: Points) -> Figure:
    """Draw the cells on the way, from left to right and line by line.

    points: {"cells": [{"share", "predicted accuracy", "known accuracy" or None, "nodes", "edges"}, ...]}.
    """
    shown = [(row, Cell(tuple(row["nodes"]), tuple(map(tuple, row["edges"])))) for row in points["cells"]]
    lines = -(-len(shown) // 3)
    figure = page_figure(2.8 * lines + 0.5)
    titles = [_title(row) for row, _ in shown]
    for axes, (_, cell) in zip(panels(figure, titles, columns=3), shown):
        draw_on(axes, cell)
        if (legend := axes.get_legend()) is not None:
            legend.remove()  # one for all is below
    colours = operator_colours(name for _, cell in shown for name in cell.nodes)
    marks = [Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in colours.items()]
    legend_below(figure.axes[0], 3, marks)
    return figure


def _title(row: Mapping[str, Any]) -> str:
    known = row["known accuracy"]
    lines = [f"{row['share']:.0%}", f"predicted {row['predicted accuracy']:.4f}"]
    return "\n".join([*lines, "" if known is None else f"known {known:.4f}"])


def plane(points: Points) -> Figure:
    """Draw the accuracies over the plane, all in the same colours, from the 5th percentile up; nothing where none is known.

    points: {"predicted accuracy": [side][side], and "known accuracy" where enough is known}, rows from below, three standard
    deviations to each side of the middle.
    """
    names = list(points)
    surfaces = [np.array(points[name], float) for name in names]
    figure = page_figure(3.9 if len(names) > 1 else 5.0)
    every = panels(figure, names, columns=len(names))
    colour: dict[str, Any] = {"cmap": "viridis", "vmin": np.nanpercentile(surfaces, 5), "vmax": np.nanmax(surfaces)}
    for axes, surface in zip(every, surfaces):
        image = axes.imshow(surface, origin="lower", extent=(-3, 3, -3, 3), interpolation="none", **colour)
        axes.set(xticks=(-3, 0, 3), yticks=(-3, 0, 3), xlabel="first component, deviations")
    every[0].set_ylabel("second component, deviations")
    figure.colorbar(image, ax=every, extend="min", location="bottom", fraction=0.05, aspect=30, label="accuracy")
    return figure


def kernel(points: Points) -> Figure:
    """Draw a panel an encoder: cosine against kernel.

    points: {"kernel": [pairs], "cosines": {encoder: [pairs]}, "figures": {encoder: {"R^2", "Spearman"}}}.
    """
    figure = page_figure(3.4)
    follows = points["figures"]
    titles = [f"{name}\nR² {follows[name]['R^2']:.2f}, Spearman {follows[name]['Spearman']:.2f}" for name in points["cosines"]]
    every = panels(figure, titles, "WL kernel, h = 3", "cosine of the vectors", sharey=True)
    for axes, cosines in zip(every, points["cosines"].values()):
        dots(axes, points["kernel"], cosines, BLUE, "a pair of cells")
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--", label="equal")
        axes.grid(alpha=0.25)
    legend_below(every[0])
    return figure


def optimisation(points: Points) -> Figure:
    """Draw the best accuracy against queries: mean and standard deviation of the runs of each method.

    points: {"best in the table", "queries": [N], "random": how many of them are at first,
    "methods": {method: {"runs", "mean": [N], "deviation": [N]}}}.
    """
    figure = page_figure(4.3)
    axes = figure.subplots()
    runs = {method["runs"] for method in points["methods"].values()}
    for name, method in points["methods"].items():
        mean, spread = (100 * np.array(method[what]) for what in ("mean", "deviation"))
        queries = points["queries"][: len(mean)]
        axes.plot(queries, mean, color=COLOURS[name], label=name)
        axes.fill_between(queries, mean - spread, mean + spread, color=COLOURS[name], alpha=0.2, linewidth=0)
    best = 100 * points["best in the table"]
    axes.axhline(best, color="black", linewidth=0.8, linestyle="--", label="best in the table")
    axes.set(xlabel=f"queries, the first {points['random']} of them random", ylabel="best accuracy, %")
    axes.set_title(f"mean of {' or '.join(map(str, sorted(runs)))} runs, band: ± 1 deviation", fontsize=LETTERS)
    axes.grid(alpha=0.25)
    legend_below(axes, 1)
    return figure


DRAWINGS: dict[str, Callable[[Points], Figure]] = {
    "interpolation": interpolation,
    "plane": plane,
    "kernel": kernel,
    "optimisation": optimisation,
}
"""By name, in the order of the page."""
