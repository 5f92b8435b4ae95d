"""NAS-Bench-101 and NAS-Bench-201: Kendall's tau of predictors trained on few cells, on all cells of the benchmark.

n cells are drawn from the rows with validation accuracy, which is what a predictor learns; the tau is that of its predictions
for every cell of the benchmark against their mean test accuracies, which nothing else reads. Encoders learn from cells without
labels. A last row is no prediction: the tau of the validation accuracies themselves, of cells that have one; what a predictor
lacks beyond it is noise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from search.experiments.paper import published
from search.experiments.paper.base import Comparison, Context, Measured, Part, Shown, Unit, planned
from search.experiments.paper.cells import benchmark_space, fitted, predicted, rank_correlation, trained_encoder, training_rows
from search.experiments.paper.plots import by_setting
from search.experiments.paper.rows import ADJACENCY, GEMNET, GUIDED, LABELS, NASGEM, OWN_RIVALS, PREDICTORS
from search.experiments.paper.summary import grid
from search.experiments.paper.verdicts import verdicts
from search.spaces.dag import prune


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space(unit.recipe["space"], context, "all")
    if unit.row == LABELS:
        table = space.table
        tau = rank_correlation(table.validation_accuracy[table.evaluated], table.test_accuracy()[table.evaluated])
        return Measured({"kendall": tau})
    cells, seen = space.table.cells, training_rows(space, unit.setting, unit.seed)
    encoder = trained_encoder(unit.recipe["encoder"], space, unit.seed, context)
    start = time.perf_counter()
    labels = space.table.validation_accuracy[seen]
    predictor = fitted(unit.recipe["predictor"], encoder, prune(cells[seen]), labels, unit.seed)
    scores = predicted(predictor, encoder, cells)
    seconds = time.perf_counter() - start
    return Measured({"kendall": rank_correlation(scores, space.table.test_accuracy()), "fit and predict, s": seconds})


def part(name: str, title: str, sizes: Sequence[int], others: Mapping[str, Mapping[int, float]], ahead: str) -> Part:
    """The part of one benchmark. ahead: of whom the project's own predictor is."""

    def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
        counts = sizes[:2] if quick else sizes
        recipes = {row.name: {**row.recipe(quick), "space": name} for row in PREDICTORS[name]}
        return [*planned(name, seeds, recipes, counts), *planned(name, seeds[:1], {LABELS: {"space": name}}, counts)]

    rivals = [row for row in PREDICTORS[name] if row in OWN_RIVALS]

    def table(summary: Mapping[str, Any]) -> str:
        figures = grid(summary, "kendall", "training cells", others)
        ahead = verdicts(summary, "kendall", [rival.name for rival in rivals])
        return f"{figures}\n\n{ahead}" if ahead else figures

    def draw(canvas: Figure, shown: Shown) -> None:
        lines = {label: figures for label, figures in others.items() if "PINAT" in label or "NN-Former" in label}
        by_setting(canvas, shown.results, "kendall", "training cells", "Kendall's tau on all cells", lines, logarithmic=True)

    comparisons = (
        *(Comparison(row.name, ADJACENCY.name, "kendall") for row in PREDICTORS[name] if row not in (ADJACENCY, *rivals)),
        *(Comparison(row.name, rival.name, "kendall") for row in (NASGEM, GUIDED, GEMNET) for rival in rivals),
    )
    about = f"{title}: predictors' Kendall's tau on all cells"
    shows = (
        f"Kendall's tau on all cells of {title} against the number of training cells: GEMNet's counts and graphs are {ahead}"
    )
    return Part(name, about, shows, 10, units, measure, table, draw, comparisons)


AHEAD_101 = "ahead of all other predictors but for NN-Former's published figure at the most cells"
AHEAD_201 = "ahead of the published figures and of all other predictors"
NASBENCH101 = part("nasbench101", "NAS-Bench-101", published.SIZES_101, published.NASBENCH101, AHEAD_101)
NASBENCH201 = part("nasbench201", "NAS-Bench-201", published.SIZES_201, published.NASBENCH201, AHEAD_201)
