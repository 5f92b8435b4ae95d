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
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.stats import binned_statistic_2d
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor

from gemnet.drawing.plots import panels
from search.core.efficiency import efficiency_score
from search.experiments.paper.base import Comparison, Context, Measured, Part, Result, Shown, Unit, of_first_seed, planned
from search.experiments.paper.cells import benchmark_space, fitted, predicted, trained_encoder, training_rows
from search.experiments.paper.rows import ADJACENCY, SURFACE
from search.experiments.paper.summary import by_row, rounded, rounded_series
from search.spaces.dag import prune

EVALUATED, DRAWS, PENALTY = 500, 50_000, 0.1
NEIGHBOURS, JUDGED = 15, 5000
BINS = 48
BIN, CELL = "bin", "cell"
"""What a point is: a bin with the mean of its predicted scores, or an evaluated cell with its own."""
COLUMNS = ("embedding", "point", "x", "y", "score")
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
    predictor = fitted(unit.recipe["predictor"], encoder, evaluated, scores, unit.seed)
    drawn = prune(space.sample(np.random.default_rng((unit.seed, 4)), unit.recipe["draws"]))
    surface, embedded = predicted(predictor, encoder, drawn), encoder.embed(drawn)
    projection = PCA(2, random_state=unit.seed).fit(embedded)
    plane, places = projection.transform(embedded), projection.transform(encoder.embed(evaluated))
    folds = KFold(5, shuffle=True, random_state=unit.seed)
    smooth = cross_val_score(KNeighborsRegressor(NEIGHBOURS), plane[:JUDGED], surface[:JUDGED], cv=folds, scoring="r2")
    mean, x, y, _ = binned_statistic_2d(*plane.T, surface, bins=unit.recipe["bins"])
    series = {"x": x, "y": y, "score": mean.ravel(), "cell x": places[:, 0], "cell y": places[:, 1], "cell score": scores}
    figures = {SMOOTHNESS: float(smooth.mean()), VARIANCE: float(projection.explained_variance_ratio_.sum())}
    return Measured(figures, rounded_series(**series))


def table(summary: Mapping[str, Any]) -> str:
    neighbours = f"R^2 of {NEIGHBOURS} neighbours in the plane"
    return by_row(summary, "embedding", {SMOOTHNESS: neighbours, VARIANCE: "share of the vectors' variance in the plane"})


def draw(canvas: Figure, shown: Shown) -> None:
    """Draw the first seed's surfaces, one for each embedding and all in the same colours, with the evaluated cells on them.

    The colours end at the quantiles .02 and .98 of the bins, so that a tail of bad cells does not take all of them.
    """
    results = of_first_seed(shown.results)
    titles = [f"{result.unit.row}\nsmoothness {result.measured.figures[SMOOTHNESS]:.2f}" for result in results]
    canvas.set_figheight(5.6)
    every = panels(canvas, titles, "first principal component", "second principal component")
    ends = np.quantile([point["score"] for point in shown.points if point["point"] == BIN], (0.02, 0.98))
    norm = Normalize(*ends)
    for axes, result in zip(every, results):
        of_row = [point for point in shown.points if point["embedding"] == result.unit.row]
        bins, cells = (
            np.array([(p["x"], p["y"], p["score"]) for p in of_row if p["point"] == what]).reshape(-1, 3)
            for what in (BIN, CELL)
        )
        mesh = axes.pcolormesh(*_surface(bins), cmap="viridis", norm=norm, rasterized=True)
        rim: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.3, "rasterized": True}
        axes.scatter(cells[:, 0], cells[:, 1], 7, cells[:, 2], cmap="viridis", norm=norm, **rim)
    bar = canvas.colorbar(mesh, ax=every, extend="both", location="bottom", fraction=0.05, aspect=30)
    bar.set_label("efficiency score: predicted; discs: measured")


def _surface(bins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles and scores of bins [N, 3] -> middles [X], [Y] of a regular grid, and its scores [Y, X], NaN in an empty bin."""
    places, middles = [], []
    for values in bins[:, :2].T:
        step = np.diff(np.unique(values)).min()
        place = np.rint((values - values.min()) / step).astype(int)
        places.append(place)
        middles.append(np.linspace(values.min(), values.max(), place.max() + 1))
    score = np.full((len(middles[1]), len(middles[0])), np.nan)
    score[places[1], places[0]] = bins[:, 2]
    return *middles, score  # type: ignore[return-value]  # mypy does not count a list's entries


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The bins of the first seed's surfaces that have a cell, and the evaluated cells."""
    rows: list[Sequence[Any]] = []
    for result in of_first_seed(results):
        series, bins, row = result.measured.series, result.unit.recipe["bins"], result.unit.row
        x, y = ((np.array(series[name])[1:] + np.array(series[name])[:-1]) / 2 for name in "xy")
        for place, score in enumerate(series["score"]):
            if score is not None:
                rows.append((row, BIN, rounded(x[place // bins]), rounded(y[place % bins]), score))
        rows += [(row, CELL, *cell) for cell in zip(series["cell x"], series["cell y"], series["cell score"])]
    return COLUMNS, rows


ABOUT = "surface of the efficiency score over the embedded cells"
SHOWS = (
    "The predicted efficiency score over the first two principal components, a panel an embedding: two bands of the flattened "
    "matrix, scattered clusters of NASGEM, one closed triangle of counts, where good cells lie on one side"
)
COMPARISONS = tuple(Comparison(row.name, ADJACENCY.name, SMOOTHNESS) for row in SURFACE if row != ADJACENCY)
FIGURE4 = Part("fig4", ABOUT, SHOWS, 3, units, measure, table, draw, COMPARISONS, points)
