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

from gemnet.drawing.palette import SERIES
from search.experiments.paper.base import Context, Measured, Part, Result, Unit, of_first_seed, planned
from search.experiments.paper.cells import benchmark_space, trained_encoder
from search.experiments.paper.plots import panels
from search.experiments.paper.rows import ADJACENCY, AUTOENCODER, COUNTS, NASGEM, SVGE
from search.experiments.paper.summary import by_row, rounded_series
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune

PAIRS = 5000
SHOWN = 400
"""Pairs in the plot, and in the file of its points."""
BINS = 10


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


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """One pair of axes for each encoder, of the first seed: dots are pairs, the line is the median of tenths of all pairs."""
    for index, (axes, result) in enumerate(panels(canvas, results, 3.2, 3.4, sharey=True)):
        series, spearman = result.measured.series, result.measured.figures["Spearman"]
        axes.scatter(series["cosine"], series["difference, %"], s=6, alpha=0.4, color=SERIES[index], label="a pair of cells")
        axes.plot(series["cosine of a bin"], series["median difference, %"], color="black", linewidth=1.2, label="median")
        axes.set_yscale("symlog", linthresh=1)
        axes.set(xlabel="cosine similarity", title=f"{result.unit.row}\nSpearman {spearman:+.2f}")
        if not index:
            axes.set_ylabel("difference of validation accuracy, %")
            axes.legend(fontsize=7)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    rows: list[Sequence[Any]] = []
    for result in of_first_seed(results):
        series = result.measured.series
        rows += [(result.unit.row, *pair) for pair in zip(series["cosine"], series["difference, %"])]
    return ("embedding", "cosine", "difference of validation accuracy, %"), rows


ABOUT = "similarity of embedded cells against the difference of their accuracies"
FIGURE1 = Part("fig1", ABOUT, 5, units, measure, table, draw, points=points)
