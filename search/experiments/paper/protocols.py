"""Both protocols of predictors' tables: validation accuracies are learned, and test or validation accuracies ranked.

The tables of `ranking.py` score predictions of validation accuracies by mean test accuracies. The newest peers score theirs by
validation accuracies, the figure that was learned. Here one predictor is scored by both, on the cells that have both: all of
NAS-Bench-201, and 20,001 of NAS-Bench-101. Cells that were learned from are left out, but for one column: peers score all
cells of a benchmark, those that were learned from among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemnet.core.tables import markdown_table
from search.experiments.paper import published
from search.experiments.paper.base import Context, Measured, Part, Shown, Unit, planned
from search.experiments.paper.cells import benchmark_space, fitted, predicted, rank_correlation, trained_encoder, training_rows
from search.experiments.paper.plots import by_setting
from search.experiments.paper.rows import NOISE, PROTOCOLS
from search.experiments.paper.summary import rows_of, settings_of, shown
from search.spaces.dag import prune

TEST, VALIDATION, WITH_SEEN = "to test", "to validation", "to validation, all cells"
"""What predictions are ranked against: of cells that were not learned from, and of all."""
HEAD = ("training cells", "predictor", "validation -> test", "validation -> validation", "the same, learned cells among them")


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space(unit.recipe["space"], context, "all")
    table, scored = space.table, space.table.evaluated
    validation, test = table.validation_accuracy[scored], table.test_accuracy()[scored]
    if unit.row == NOISE:
        return Measured(dict.fromkeys((TEST, VALIDATION, WITH_SEEN), rank_correlation(validation, test)))
    seen = training_rows(space, unit.setting, unit.seed)
    encoder = trained_encoder(unit.recipe["encoder"], space, unit.seed, context)
    known, labels = prune(table.cells[seen]), table.validation_accuracy[seen]
    predictor = fitted(unit.recipe["predictor"], encoder, known, labels, unit.seed)
    scores = predicted(predictor, encoder, table.cells[scored])
    unseen = ~np.isin(scored, seen)
    taus = {
        TEST: rank_correlation(scores[unseen], test[unseen]),
        VALIDATION: rank_correlation(scores[unseen], validation[unseen]),
        WITH_SEEN: rank_correlation(scores, validation),
    }
    return Measured(taus)


def part(
    name: str, benchmark: str, title: str, sizes: Sequence[int], peers: Mapping[str, Mapping[int, float]], where: str
) -> Part:
    """The part of one benchmark. peers: figures of others who rank validation accuracies. where: the sizes at which the
    project's own predictor is ahead of them."""

    def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
        counts = sizes[:2] if quick else sizes
        recipes = {row.name: {**row.recipe(quick), "space": benchmark} for row in PROTOCOLS[benchmark]}
        return [*planned(name, seeds, recipes, counts), *planned(name, seeds[:1], {NOISE: {"space": benchmark}}, counts)]

    def table(summary: Mapping[str, Any]) -> str:
        found = {(row["row"], row["setting"]): row["figures"] for row in summary["rows"]}
        lines: list[list[str | None]] = []
        for setting in settings_of(summary):
            for label, figures in peers.items():
                if setting in figures:
                    lines.append([str(setting), label, None, None, f"{figures[setting]:.3f}"])
            for row in rows_of(summary):
                taus = found.get((row, setting))
                if taus:
                    lines.append([str(setting), f"**{row}**", *(shown(taus[tau]) for tau in (TEST, VALIDATION, WITH_SEEN))])
        return markdown_table(HEAD, lines)

    def draw(canvas: Figure, shown: Shown) -> None:
        by_setting(canvas, shown.results, VALIDATION, "training cells", "tau with unseen validations", peers, logarithmic=True)

    about = f"{title}: the same predictors ranked against test and against validation accuracies"
    shows = (
        f"Kendall's tau with the validation accuracies of unseen cells of {title} against the number of training cells: "
        f"GEMNet's counts and graphs are ahead of the published figures {where}"
    )
    return Part(name, about, shows, 10, units, measure, table, draw)


PROTOCOLS101 = part(
    "protocols101", "nasbench101", "NAS-Bench-101", published.SIZES_101, published.VALIDATION_101, "but for the most cells"
)
PROTOCOLS201 = part(
    "protocols201", "nasbench201", "NAS-Bench-201", published.SIZES_201[1:], published.VALIDATION_201, "at every size"
)
