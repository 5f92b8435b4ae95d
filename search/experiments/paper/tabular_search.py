"""Search on NAS-Bench-101's 20,001 cells with validation accuracy: test regret after 150 queries, by method.

The regret is the best mean test accuracy of the pool less that of the cell that a method would choose if it ended there. Test
accuracies are read when a search is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from gemnet.core.configs import FOLDER
from gemnet.drawing.plots import legend_below
from search.configuration.settings import load_settings
from search.experiments.paper import published
from search.experiments.paper.base import Comparison, Context, Measured, Part, Result, Shown, Unit, planned
from search.experiments.paper.cells import benchmark_space
from search.experiments.paper.methods import search_history
from search.experiments.paper.plots import colours
from search.experiments.paper.rows import NASGEM_SEARCH, searches
from search.experiments.paper.summary import grid, rounded, summarized

CONFIGS = FOLDER / "search"
QUERIES = 150
VERSION = 2
"""Of what is measured: figures of another one are not taken for these."""
ACCURACY, REGRET, TAU = "test accuracy, %", "test regret, %", "held-out tau"
COLUMNS = ("method", "queries", "mean test regret, %", "seeds")
"""Of the points."""


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    queries = QUERIES // 2 if quick else QUERIES
    recipes = {name: {**with_settings(recipe), "version": VERSION} for name, recipe in searches(quick).items()}
    return planned("search", seeds, recipes, [queries])


def with_settings(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the config and the options that a recipe names: a search with another config is another unit."""
    if "config" not in recipe:
        return recipe
    return {"method": recipe["method"], "settings": load_settings(CONFIGS / recipe["config"], recipe["options"])}


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space("nasbench101", context, "evaluated")
    rows, chosen, tau = search_history(space, unit.seed, unit.setting, unit.recipe, context)
    test = 100 * space.table.test_accuracy()
    best = float(test[space.pool].max())
    figures = {
        ACCURACY: float(test[chosen[-1]]),
        REGRET: best - float(test[chosen[-1]]),
        "best asked for, %": float(test[rows].max()),
    }
    if tau is not None:
        figures[TAU] = tau
    return Measured(figures, {"regret": [rounded(value) for value in best - test[chosen]], "rows": rows})


def table(summary: Mapping[str, Any]) -> str:
    accuracy = grid(summary, ACCURACY, "test accuracy in % of the chosen cell after so many queries", published.SEARCH)
    parts = [accuracy, grid(summary, REGRET, "test regret in %")]
    if any(TAU in row["figures"] for row in summary["rows"]):
        parts.append(grid(summary, TAU, "Kendall's tau of the last predictor with the search's own cells, unseen, 5-fold"))
    return "\n\n".join(parts)


def draw(canvas: Figure, shown: Shown) -> None:
    """Draw the mean regret over the queries, and at the last one its standard error over the seeds."""
    canvas.set_figheight(4.2)
    axes = canvas.subplots()
    name, query, regret, _ = COLUMNS
    last = {row["row"]: row for row in summarized(shown.results)["rows"]}
    for method, colour in colours(last).items():
        curve = [point for point in shown.points if point[name] == method]
        axes.plot([p[query] for p in curve], [p[regret] for p in curve], color=colour, label=method)
        end, spread = curve[-1], last[method]["figures"][REGRET]["deviation"] or 0.0
        error = spread / np.sqrt(last[method]["count"])
        axes.errorbar(end[query], end[regret], error, color=colour, marker="o", markersize=4, capsize=3)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel="queries", ylabel="test regret of the chosen cell, %")
    axes.set_title("mean over seeds; at the end ± 1 standard error", fontsize=10)
    axes.grid(alpha=0.25, which="both")
    legend_below(axes)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    rows: list[Sequence[Any]] = [
        (name, query, rounded(curves[:, query - 1].mean()), len(curves))
        for name, curves in _curves(results).items()
        for query in range(1, curves.shape[1] + 1)
    ]
    return COLUMNS, rows


def _curves(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Regrets [seeds, queries] by method."""
    regrets: dict[str, list[Sequence[float]]] = {}
    for result in results:
        regrets.setdefault(result.unit.row, []).append(result.measured.series["regret"])
    return {name: np.array(curves) for name, curves in regrets.items()}


ABOUT = "search on NAS-Bench-101's pool, test regret by method"
SHOWS = (
    "Mean test regret of the cell that a method would choose, against its queries. From 40 queries on counts with the ensemble "
    "and with graphs are ahead of NASGEM, evolution and random search, at the end by several standard errors"
)
COMPARISONS = tuple(Comparison(name, NASGEM_SEARCH, ACCURACY) for name in searches(False) if name != NASGEM_SEARCH)
SEARCH = Part("search", ABOUT, SHOWS, 20, units, measure, table, draw, COMPARISONS, points)
