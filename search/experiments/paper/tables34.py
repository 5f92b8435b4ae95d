"""Tables 3 and 4: how well an embedding lets a predictor rank, against the share of the training cells that it sees.

The paper's NASGEM-Bench, 1,000 cells of conv3x3 nodes alone, was never published. Here 1,000 cells are drawn from the 2,494 of
NAS-Bench-101 whose operators are all conv3x3; 600 are for training, 400 are scored. Only 114 of them have a validation
accuracy; so the one figure that all have, the mean test accuracy of three trainings, is what is learnt of the 600 and scored on
the 400. Encoders learn from all 2,494 cells without labels. A seed draws cells, encoder and predictor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import pearsonr

from search.core.types import SearchError
from search.experiments.paper import published
from search.experiments.paper.base import Comparison, Context, Measured, Part, Shown, Unit, planned
from search.experiments.paper.cells import Conv3x3Space, fitted, predicted, rank_correlation, trained_encoder
from search.experiments.paper.plots import by_setting
from search.experiments.paper.rows import ADJACENCY, AUTOENCODER, COUNTS, EMBEDDINGS, GUIDED, HEADLESS, NASGEM, RIVALS, UNGUIDED
from search.experiments.paper.summary import grid
from search.experiments.paper.verdicts import verdicts

DRAWN, TRAINING = 1000, 600
PLAIN = (ADJACENCY, AUTOENCODER)
"""The paper's baselines."""


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    proportions = published.PROPORTIONS[:: len(published.PROPORTIONS) - 1] if quick else published.PROPORTIONS
    recipes = {row.name: {**row.recipe(quick), "drawn": DRAWN, "training": TRAINING} for row in (*EMBEDDINGS, COUNTS)}
    return planned("tables34", seeds, recipes, proportions)


def measure(unit: Unit, context: Context) -> Measured:
    space = Conv3x3Space(context.data)
    drawn, training = unit.recipe["drawn"], unit.recipe["training"]
    if len(space.pool) < drawn:
        raise SearchError(f"{space.table.source}: {len(space.pool)} cells are conv3x3 alone; {drawn} are to be drawn")
    rows = np.random.default_rng((unit.seed, 34)).permutation(space.pool)[:drawn]
    seen, held_out = rows[: training * unit.setting // 100], rows[training:]
    encoder = trained_encoder(unit.recipe["encoder"], space, unit.seed, context)
    accuracy, cells = space.table.test_accuracy(), space.table.cells
    predictor = fitted(unit.recipe["predictor"], encoder, cells[seen], accuracy[seen], unit.seed)
    scores = predicted(predictor, encoder, cells[held_out])
    pearson = float(np.nan_to_num(pearsonr(scores, accuracy[held_out]).statistic))
    return Measured({"kendall": rank_correlation(scores, accuracy[held_out]), "pearson": pearson})


def part(name: str, figure: str, title: str, others: Mapping[str, Mapping[int, float]]) -> Part:
    """Table 3 or 4: they differ in the figure alone and share their results."""

    def table(summary: Mapping[str, Any]) -> str:
        ahead = verdicts(summary, figure, [rival.name for rival in RIVALS], unit=" %")
        figures = grid(summary, figure, title, others, unit=" %")
        return f"{figures}\n\n{ahead}" if ahead else figures

    def draw(canvas: Figure, shown: Shown) -> None:
        paper = {label: figures for label, figures in others.items() if "goal" not in label}
        by_setting(canvas, shown.results, figure, "training cells seen, % of 600", title, paper)

    comparisons = tuple(
        Comparison(row.name, against.name, figure)
        for row, baselines in (
            (NASGEM, (*PLAIN, *RIVALS)),
            (GUIDED, (*PLAIN, UNGUIDED, HEADLESS, *RIVALS)),
            (COUNTS, (*PLAIN, *RIVALS)),
        )
        for against in baselines
    )
    about = f"{title} against the share of training cells, by embedding"
    shows = (
        f"{title} from 10 to 100 % of the training cells, a line an embedding. GEMNet's counts with the ensemble are ahead "
        "throughout and hardly need more cells; NASGEM on counts is ahead of the flattened matrix, which rises steeply"
    )
    return Part(name, about, shows, 20, units, measure, table, draw, comparisons)


TABLE3 = part("table3", "kendall", "Kendall's tau", published.TABLE3)
TABLE4 = part("table4", "pearson", "Pearson's r", published.TABLE4)
