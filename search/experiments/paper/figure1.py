"""Fig. 1: does a small distance between two embedded cells mean a small difference of their scores?

Pairs of NAS-Bench-101's cells with validation accuracy: the cosine of the embedded cells against the absolute difference of
their accuracies, for each encoder, beside the Weisfeiler-Lehman kernel itself. A good embedding's correlation is clearly
negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from gemnet.drawing.plots import dots, legend_below, panels
from search.experiments.paper.base import Context, Measured, Part, Result, Shown, Unit, of_first_seed, planned
from search.experiments.paper.cells import benchmark_space, trained_encoder
from search.experiments.paper.plots import colours
from search.experiments.paper.rows import ADJACENCY, AUTOENCODER, COUNTS, NASGEM, SVGE
from search.experiments.paper.summary import by_row, rounded_series
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune

PAIRS = 5000
SHOWN = 400
"""Pairs in the picture, and in the file of its points."""
BINS = 10
PAIR, MEDIAN = "pair", "median of a tenth"
"""What a point is: a pair, or the median of a tenth of all pairs."""
COLUMNS = ("embedding", "point", "cosine", "difference of validation accuracy, %")


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    rows = (ADJACENCY, AUTOENCODER, NASGEM, SVGE, COUNTS)
    recipes = {row.name: {"encoder": row.recipe(quick)["encoder"], "shown": SHOWN} for row in rows}
    return planned("fig1", seeds, recipes, [PAIRS // 10 if quick else PAIRS])


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space("nasbench101", context, "evaluated")
    encoder = trained_encoder(unit.recipe["encoder"], benchmark_space("nasbench101", context, "all"), unit.seed, context)
    rows = np.random.default_rng((unit.seed, 1)).choice(space.pool, (2, unit.setting))
    rows = rows[:, rows[0] != rows[1]]
    difference = 100 * np.abs(np.diff(space.table.validation_accuracy[rows], axis=0)[0])
    a, b = (prune(space.table.cells[side]) for side in rows)
    x, y = encoder.embed(a).astype(np.float64), encoder.embed(b).astype(np.float64)
    cosine = (x * y).sum(1) / np.maximum(np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1), 1e-12)
    figures = {
        "Spearman": float(np.nan_to_num(spearmanr(cosine, difference).statistic)),
        "Spearman of the kernel": float(np.nan_to_num(spearmanr(wl_kernel(a, b), difference).statistic)),
    }
    count, bins = unit.recipe["shown"], np.array_split(np.argsort(cosine), BINS)
    series = {
        "cosine": cosine[:count],
        "difference, %": difference[:count],
        "cosine of a bin": [cosine[pairs].mean() for pairs in bins],
        "median difference, %": [np.median(difference[pairs]) for pairs in bins],
    }
    return Measured(figures, rounded_series(**series))


def table(summary: Mapping[str, Any]) -> str:
    titles = {
        "Spearman": "Spearman of cosine and difference of accuracy",
        "Spearman of the kernel": "the kernel's own, same pairs",
    }
    return by_row(summary, "embedding", titles)


def draw(canvas: Figure, shown: Shown) -> None:
    """Draw axes for each encoder, of the first seed: dots are pairs, the line is the median of tenths of all pairs."""
    results = of_first_seed(shown.results)
    titles = [f"{result.unit.row}\nSpearman {result.measured.figures['Spearman']:+.2f}" for result in results]
    canvas.set_figheight(6.8)
    every = panels(canvas, titles, "cosine similarity", "difference of validation accuracy, %", sharey=True)
    name, kind, cosine, difference = COLUMNS
    for axes, (row, colour) in zip(every, colours(result.unit.row for result in results).items()):
        of_row = [point for point in shown.points if point[name] == row]
        pairs, medians = ([point for point in of_row if point[kind] == what] for what in (PAIR, MEDIAN))
        dots(axes, [p[cosine] for p in pairs], [p[difference] for p in pairs], colour, "a pair of cells")
        axes.plot([p[cosine] for p in medians], [p[difference] for p in medians], color="black", linewidth=1.2, label=MEDIAN)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    legend_below(every[0])


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The pairs of the first seed that are shown, and its medians."""
    rows: list[Sequence[Any]] = []
    for result in of_first_seed(results):
        series, row = result.measured.series, result.unit.row
        rows += [(row, PAIR, *pair) for pair in zip(series["cosine"], series["difference, %"])]
        rows += [(row, MEDIAN, *median) for median in zip(series["cosine of a bin"], series["median difference, %"])]
    return COLUMNS, rows


ABOUT = "similarity of embedded cells against the difference of their accuracies"
SHOWS = (
    "The cosine of two embedded cells against the difference of their accuracies, a panel an embedding. With the flattened "
    "matrix and the MLP autoencoder the median hardly falls with the cosine; with NASGEM, SVGe and counts it does"
)
FIGURE1 = Part("fig1", ABOUT, SHOWS, 5, units, measure, table, draw, points=points)
