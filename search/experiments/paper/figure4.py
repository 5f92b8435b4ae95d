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
from search.experiments.paper.base import Comparison, Context, Measured, Part, Result, Unit
from search.experiments.paper.cells import benchmark_space, fitted, predicted, trained_encoder, training_rows
from search.experiments.paper.rows import ADJACENCY, SURFACE
from search.experiments.paper.summary import markdown, rounded, seeds_text, shown
from search.report.figures import surface_on
from search.spaces.dag import prune

EVALUATED, DRAWS, PENALTY = 500, 50_000, 0.1
NEIGHBOURS, JUDGED = 15, 5000
BINS = 48


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    draws = DRAWS // 10 if quick else DRAWS
    return [
        Unit("fig4", row.name, EVALUATED, seed, {**row.recipe(quick), "draws": draws, "penalty": PENALTY, "bins": BINS})
        for seed in seeds
        for row in SURFACE
    ]


def measure(unit: Unit, context: Context) -> Measured:
    space = benchmark_space("nasbench101", context, "all")
    seen = training_rows(space, unit.setting, unit.seed)
    encoder = trained_encoder(unit.recipe["encoder"], space, unit.seed, context)
    evaluated = prune(space.table.cells[seen])
    scores = efficiency_score(space.table.validation_accuracy[seen], space.count(evaluated).macs / 1e6, unit.recipe["penalty"])
    vectors = encoder.embed(evaluated)
    predictor = fitted(unit.recipe["predictor"], encoder, vectors, scores, unit.seed)
    drawn = prune(space.sample(np.random.default_rng((unit.seed, 4)), unit.recipe["draws"]))
    surface, embedded = predicted(predictor, encoder, drawn), encoder.embed(drawn)
    projection = PCA(2, random_state=unit.seed).fit(embedded)
    plane, places = projection.transform(embedded), projection.transform(vectors)
    folds = KFold(5, shuffle=True, random_state=unit.seed)
    smooth = cross_val_score(KNeighborsRegressor(NEIGHBOURS), plane[:JUDGED], surface[:JUDGED], cv=folds, scoring="r2")
    mean, x, y, _ = binned_statistic_2d(*plane.T, surface, bins=unit.recipe["bins"])
    series = {"x": x, "y": y, "score": mean.ravel(), "cell x": places[:, 0], "cell y": places[:, 1], "cell score": scores}
    return Measured(
        {"smoothness, R^2": float(smooth.mean()), "variance in the plane": float(projection.explained_variance_ratio_.sum())},
        {name: [None if np.isnan(value) else rounded(value) for value in values] for name, values in series.items()},
    )


def table(summary: Mapping[str, Any]) -> str:
    lines = [["embedding", f"R^2 of {NEIGHBOURS} neighbours in the plane", "share of the vectors' variance in the plane"]]
    for row in summary["rows"]:
        figures = row["figures"]
        lines.append([row["row"], shown(figures["smoothness, R^2"]), shown(figures["variance in the plane"])])
    for pair in summary["paired"]:
        lines.append([f"{pair['row']} - {pair['against']}, paired", shown(pair, sign=True), ""])
    return f"{markdown(lines)}\n\n{seeds_text(summary)}"


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """The first seed: one surface for each embedding, with the evaluated cells on it."""
    chosen = [r for r in results if r.unit.seed == results[0].unit.seed]
    canvas.set_size_inches(5.2 * len(chosen), 4.2)
    for axes, result in zip(canvas.subplots(1, len(chosen), squeeze=False)[0], chosen):
        series, bins = result.measured.series, result.unit.recipe["bins"]
        score = np.array(series["score"], np.float64).reshape(bins, bins)
        mesh = surface_on(axes, np.asarray(series["x"]), np.asarray(series["y"]), score)
        cells = {"c": series["cell score"], "cmap": mesh.cmap, "norm": mesh.norm}
        axes.scatter(series["cell x"], series["cell y"], s=9, edgecolors="white", linewidths=0.4, label="evaluated", **cells)
        smooth = result.measured.figures["smoothness, R^2"]
        axes.set(xlabel="first principal component", ylabel="second", title=f"{result.unit.row}\nsmoothness {smooth:.2f}")
        axes.legend(fontsize=7)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The bins of the first seed's surfaces."""
    rows: list[Sequence[Any]] = []
    for result in (r for r in results if r.unit.seed == results[0].unit.seed):
        series, bins = result.measured.series, result.unit.recipe["bins"]
        x, y = ((np.array(series[name])[1:] + np.array(series[name])[:-1]) / 2 for name in "xy")
        for place, score in enumerate(series["score"]):
            if score is not None:
                rows.append((result.unit.row, rounded(x[place // bins]), rounded(y[place % bins]), score))
    return ("embedding", "x", "y", "mean predicted score"), rows


FIGURE4 = Part(
    "fig4",
    "surface of the efficiency score over the embedded cells",
    3,
    units,
    measure,
    table,
    draw,
    tuple(Comparison(row.name, ADJACENCY.name, "smoothness, R^2") for row in SURFACE if row != ADJACENCY),
    points,
)
