"""Fig. 5: the global prediction bias B = A_B - A_P on NAS-Bench-101, with and without the embedding.

A predictor learns the validation accuracies of 200 to 2,000 cells; among 50,000 cells drawn from all 423,624 with replacement
(bootstrap, Eq. 15) the one that it puts first is taken. A_P is that cell's mean test accuracy, A_B the benchmark's best one.
Test accuracies are read for these two alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from search.bootstrap import Draws, bootstrap
from search.experiments.paper import published
from search.experiments.paper.base import Comparison, Context, Measured, Part, Shown, Unit, planned
from search.experiments.paper.cells import benchmark_space, fitted, trained_encoder, training_rows
from search.experiments.paper.plots import by_setting
from search.experiments.paper.rows import ADJACENCY, BIAS, COUNTS, GUIDED, NASGEM, RIVALS
from search.experiments.paper.summary import grid
from search.experiments.paper.verdicts import verdicts
from search.spaces.dag import prune

SAMPLES = (200, 500, 1000, 2000)
DRAWS = 50_000
FIGURE = "bias, %"


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    recipes = {row.name: {**row.recipe(quick), "draws": DRAWS // 10 if quick else DRAWS} for row in BIAS}
    return planned("fig5", seeds, recipes, SAMPLES[:2] if quick else SAMPLES)


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space("nasbench101", context, "all")
    seen = training_rows(space, unit.setting, unit.seed)
    encoder = trained_encoder(unit.recipe["encoder"], space, unit.seed, context)
    known, labels = prune(space.table.cells[seen]), space.table.validation_accuracy[seen]
    predictor = fitted(unit.recipe["predictor"], encoder, known, labels, unit.seed)
    rng = np.random.default_rng((unit.seed, 5))
    (chosen,) = bootstrap(Draws(space, encoder, rng, unit.recipe["draws"]), predictor.predict, top=1)
    test = space.table.test_accuracy()
    achieved = float(test[space.row(chosen.cell)])
    return Measured({FIGURE: 100 * (float(test.max()) - achieved), "test accuracy, %": 100 * achieved})


def table(summary: Mapping[str, Any]) -> str:
    figures = grid(summary, FIGURE, "bias in % at so many samples", published.FIGURE5, digits=2)
    ahead = verdicts(summary, FIGURE, [rival.name for rival in RIVALS], lower=True)
    return f"{figures}\n\n{ahead}" if ahead else figures


def draw(canvas: Figure, shown: Shown) -> None:
    by_setting(canvas, shown.results, FIGURE, "samples that the predictor learns from", "global prediction bias, %")


ABOUT = "global prediction bias on NAS-Bench-101, with and without the embedding"
SHOWS = (
    "Global prediction bias against the samples that a predictor learns from, with a band over the seeds. Counts with the "
    "ensemble have about half the bias of the others from the fewest samples on"
)
COMPARISONS = (
    *(Comparison(row.name, ADJACENCY.name, FIGURE) for row in BIAS if row not in (ADJACENCY, *RIVALS)),
    *(Comparison(row.name, rival.name, FIGURE) for row in (NASGEM, GUIDED, COUNTS) for rival in RIVALS),
)
FIGURE5 = Part("fig5", ABOUT, SHOWS, 20, units, measure, table, draw, COMPARISONS)
