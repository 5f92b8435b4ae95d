"""Search on NAS-Bench-101's 20,001 cells with validation accuracy: test regret after 150 queries, by method.

The regret is the best mean test accuracy of the pool less that of the cell that a method would choose if it ended there. Test
accuracies are read when a search is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemnet.core.configs import FOLDER
from gemnet.drawing.palette import SERIES
from search.configuration.settings import load_settings
from search.experiments.paper import published
from search.experiments.paper.base import Comparison, Context, Measured, Part, Result, Unit, planned
from search.experiments.paper.cells import benchmark_space
from search.experiments.paper.methods import search_history
from search.experiments.paper.rows import NASGEM_SEARCH, searches
from search.experiments.paper.summary import grid, rounded

CONFIGS = FOLDER / "search"
QUERIES = 150
VERSION = 2
"""Of what is measured: figures of another one are not taken for these."""
ACCURACY, REGRET, TAU = "test accuracy, %", "test regret, %", "held-out tau"


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


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    axes = canvas.subplots()
    for index, (name, curves) in enumerate(_curves(results).items()):
        queries, mean = np.arange(1, curves.shape[1] + 1), curves.mean(0)
        error = curves.std(0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else np.zeros(len(mean))
        axes.plot(queries, mean, color=SERIES[index], label=name)
        axes.fill_between(queries, mean - error, mean + error, color=SERIES[index], alpha=0.15, linewidth=0)
    axes.set_yscale("log")
    axes.set(
        xlabel="queries", ylabel="test regret of the cell that would be chosen, %\n(mean over seeds, band: standard error)"
    )
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    rows: list[Sequence[Any]] = [
        (name, query, rounded(curves[:, query - 1].mean()), len(curves))
        for name, curves in _curves(results).items()
        for query in range(1, curves.shape[1] + 1)
    ]
    return ("method", "queries", "mean test regret, %", "seeds"), rows


def _curves(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Regrets [seeds, queries] by method."""
    regrets: dict[str, list[Sequence[float]]] = {}
    for result in results:
        regrets.setdefault(result.unit.row, []).append(result.measured.series["regret"])
    return {name: np.array(curves) for name, curves in regrets.items()}


ABOUT = "search on NAS-Bench-101's pool, test regret by method"
COMPARISONS = tuple(Comparison(name, NASGEM_SEARCH, ACCURACY) for name in searches(False) if name != NASGEM_SEARCH)
SEARCH = Part("search", ABOUT, 20, units, measure, table, draw, COMPARISONS, points)
