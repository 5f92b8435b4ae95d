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

from search.experiments.paper.base import Context, Measured, Part, Result, Unit
from search.experiments.paper.cells import benchmark_space, trained_encoder
from search.experiments.paper.plots import COLOURS
from search.experiments.paper.rows import ADJACENCY, AUTOENCODER, COUNTS, NASGEM, SVGE
from search.experiments.paper.summary import markdown, rounded, rows_of, seeds_text, shown
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune

PAIRS = 5000
SHOWN = 400
"""Pairs in the plot, and in the file of its points."""
BINS = 10


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    pairs = PAIRS // 10 if quick else PAIRS
    return [
        Unit("fig1", row.name, pairs, seed, {"encoder": row.recipe(quick)["encoder"], "shown": SHOWN})
        for seed in seeds
        for row in (ADJACENCY, AUTOENCODER, NASGEM, SVGE, COUNTS)
    ]


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
    count = unit.recipe["shown"]
    shown = {"cosine": cosine[:count], "difference, %": difference[:count]}
    order = np.array_split(np.argsort(cosine), BINS)
    shown |= {
        "cosine of a bin": [cosine[i].mean() for i in order],
        "median difference, %": [np.median(difference[i]) for i in order],
    }
    return Measured(figures, {name: [rounded(value) for value in values] for name, values in shown.items()})


def table(summary: Mapping[str, Any]) -> str:
    found = {row["row"]: row["figures"] for row in summary["rows"]}
    lines = [["embedding", "Spearman of cosine and difference of accuracy", "the kernel's own, same pairs"]]
    lines += [[name, shown(f["Spearman"]), shown(f["Spearman of the kernel"])] for name, f in found.items()]
    return f"{markdown(lines)}\n\n{seeds_text(summary)}"


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """One pair of axes for each encoder, of the first seed: dots are pairs, the line is the median of tenths of all pairs."""
    summary, first = rows_of({"rows": [{"row": r.unit.row} for r in results]}), results[0].unit.seed
    chosen = {r.unit.row: r for r in results if r.unit.seed == first}
    canvas.set_size_inches(3.2 * len(summary), 3.4)
    for index, (axes, name) in enumerate(zip(canvas.subplots(1, len(summary), sharey=True, squeeze=False)[0], summary)):
        series, figures = chosen[name].measured.series, chosen[name].measured.figures
        axes.scatter(series["cosine"], series["difference, %"], s=6, alpha=0.4, color=COLOURS[index], label="a pair of cells")
        axes.plot(series["cosine of a bin"], series["median difference, %"], color="black", linewidth=1.2, label="median")
        axes.set_yscale("symlog", linthresh=1)
        axes.set(xlabel="cosine similarity", title=f"{name}\nSpearman {figures['Spearman']:+.2f}")
        if not index:
            axes.set_ylabel("difference of validation accuracy, %")
            axes.legend(fontsize=7)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    first = results[0].unit.seed
    rows: list[Sequence[Any]] = []
    for result in results:
        if result.unit.seed == first:
            series = result.measured.series
            rows += [(result.unit.row, *pair) for pair in zip(series["cosine"], series["difference, %"])]
    return ("embedding", "cosine", "difference of validation accuracy, %"), rows


FIGURE1 = Part(
    "fig1",
    "similarity of embedded cells against the difference of their accuracies",
    5,
    units,
    measure,
    table,
    draw,
    (),
    points,
)
