"""Fig. 4: the surface of the efficiency score over the two principal components of the embedded cells.

A predictor learns the efficiency scores (Eq. 5: validation accuracy, MACs counted) of some NAS-Bench-101 cells and scores
50,000 drawn ones; their vectors are projected to the plane by PCA, without and with the embedding. How smooth the surface is,
is told by how well a cell's score follows from those of its neighbours in the plane: the R^2 of k-nearest-neighbour regression,
5-fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binned_statistic_2d
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor

from search.core.efficiency import efficiency_score
from search.experiments.paper.base import Comparison, Context, Measured, Part, Result, Unit, of_first_seed, planned
from search.experiments.paper.cells import benchmark_space, fitted, predicted, trained_encoder, training_rows
from search.experiments.paper.plots import panels
from search.experiments.paper.rows import ADJACENCY, SURFACE
from search.experiments.paper.summary import by_row, rounded, rounded_series
from search.report.figures import surface_on
from search.spaces.dag import prune

EVALUATED, DRAWS, PENALTY = 500, 50_000, 0.1
NEIGHBOURS, JUDGED = 15, 5000
BINS = 48
SMOOTHNESS, VARIANCE = "smoothness, R^2", "variance in the plane"


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    sizes = {"draws": DRAWS // 10 if quick else DRAWS, "penalty": PENALTY, "bins": BINS}
    return planned("fig4", seeds, {row.name: {**row.recipe(quick), **sizes} for row in SURFACE}, [EVALUATED])


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space("nasbench101", context, "all")
    seen = training_rows(space, unit.setting, unit.seed)
    encoder = trained_encoder(unit.recipe["encoder"], space, unit.seed, context)
    evaluated = prune(space.table.cells[seen])
    scores = efficiency_score(space.table.validation_accuracy[seen], space.count(evaluated).macs / 1e6, unit.recipe["penalty"])
    known = encoder.encode(evaluated)
    predictor = fitted(unit.recipe["predictor"], known, scores, unit.seed)
    drawn = prune(space.sample(np.random.default_rng((unit.seed, 4)), unit.recipe["draws"]))
    surface, embedded = predicted(predictor, encoder, drawn), encoder.embed(drawn)
    projection = PCA(2, random_state=unit.seed).fit(embedded)
    plane, places = projection.transform(embedded), projection.transform(known.vectors)
    folds = KFold(5, shuffle=True, random_state=unit.seed)
    smooth = cross_val_score(KNeighborsRegressor(NEIGHBOURS), plane[:JUDGED], surface[:JUDGED], cv=folds, scoring="r2")
    mean, x, y, _ = binned_statistic_2d(*plane.T, surface, bins=unit.recipe["bins"])
    series = {"x": x, "y": y, "score": mean.ravel(), "cell x": places[:, 0], "cell y": places[:, 1], "cell score": scores}
    figures = {SMOOTHNESS: float(smooth.mean()), VARIANCE: float(projection.explained_variance_ratio_.sum())}
    return Measured(figures, rounded_series(**series))


def table(summary: Mapping[str, Any]) -> str:
    neighbours = f"R^2 of {NEIGHBOURS} neighbours in the plane"
    return by_row(summary, "embedding", {SMOOTHNESS: neighbours, VARIANCE: "share of the vectors' variance in the plane"})


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """The first seed: one surface for each embedding, with the evaluated cells on it."""
    for axes, result in panels(canvas, results, 5.2, 4.2):
        series, bins = result.measured.series, result.unit.recipe["bins"]
        score = np.array(series["score"], np.float64).reshape(bins, bins)
        mesh = surface_on(axes, np.asarray(series["x"]), np.asarray(series["y"]), score)
        axes.scatter(
            series["cell x"],
            series["cell y"],
            s=9,
            c=series["cell score"],
            cmap=mesh.cmap,
            norm=mesh.norm,  # type: ignore[arg-type]  # matplotlib tells it as Norm, and wants Normalize
            edgecolors="white",
            linewidths=0.4,
            label="evaluated",
        )
        smooth = result.measured.figures[SMOOTHNESS]
        axes.set(xlabel="first principal component", ylabel="second", title=f"{result.unit.row}\nsmoothness {smooth:.2f}")
        axes.legend(fontsize=7)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The bins of the first seed's surfaces."""
    rows: list[Sequence[Any]] = []
    for result in of_first_seed(results):
        series, bins = result.measured.series, result.unit.recipe["bins"]
        x, y = ((np.array(series[name])[1:] + np.array(series[name])[:-1]) / 2 for name in "xy")
        for place, score in enumerate(series["score"]):
            if score is not None:
                rows.append((result.unit.row, rounded(x[place // bins]), rounded(y[place % bins]), score))
    return ("embedding", "x", "y", "mean predicted score"), rows


ABOUT = "surface of the efficiency score over the embedded cells"
COMPARISONS = tuple(Comparison(row.name, ADJACENCY.name, SMOOTHNESS) for row in SURFACE if row != ADJACENCY)
FIGURE4 = Part("fig4", ABOUT, 3, units, measure, table, draw, COMPARISONS, points)
