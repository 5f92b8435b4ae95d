"""How well encoders follow the kernel, and whether isomorphic cells embed alike, as long as the paper trains its own.

The paper's space of 30 nodes; 10,000 iterations. Pairs that the encoder has not seen: R^2 and Spearman's correlation of cosine
and kernel, beside the highest R^2 that any cosines of so many numbers can have (`search.encoders.landmarks`). Isomorphic cells
have a kernel of 1: their cosine is that of cells whose nodes come in another random topological order. The paper's encoder
reads matrices as they are; the second row sorts the nodes first (`search.spaces.node_order`); the third reads counts, and its
cosines are those behind a head (`search.encoders.guided_counts`). The last is not trained, and its similarity is the inner
product: the kernel of different cells, not that of a cell with itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from search.encoders import build_encoder
from search.encoders.common import by_cosines, cosines, similarity_of
from search.encoders.landmarks import HIGHEST, highest_r_squared
from search.experiments.paper.base import Context, Measured, Part, Result, Unit
from search.experiments.paper.cells import trained_encoder
from search.experiments.paper.rows import CANONICAL, GUIDED, LANDMARKS, NASGEM, Row
from search.experiments.paper.summary import markdown, rounded, seeds_text, shown
from search.kernel.wl import wl_kernel
from search.spaces.dag import DagSpace, prune
from search.spaces.node_order import random_order

NODES, ITERATIONS = 30, 10_000
SHOWN = 400
"""Pairs in the plot."""
ISOMORPHIC, SECONDS = "cosine of isomorphic cells", "training, s"
OF_ISOMORPHIC = "similarity of isomorphic cells"
FIGURES = {
    "R^2": "held-out R^2",
    HIGHEST: "highest R^2 of any cosines",
    "Spearman": "held-out Spearman's correlation",
    ISOMORPHIC: "mean cosine of isomorphic cells",
    "edges reconstructed": "edges reconstructed",
    "counts reconstructed": "variance of counts reconstructed",
    SECONDS: "training, s",
}


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    recipes: list[tuple[Row, Mapping[str, Any]]] = [
        (row, {**row.recipe(quick)["encoder"], **({} if quick else {"iterations": ITERATIONS})})
        for row in (NASGEM, CANONICAL, GUIDED)
    ]
    recipes.append((LANDMARKS, LANDMARKS.encoder))
    return [
        Unit("encoder", row.name, NODES, seed, {"encoder": encoder, "figures": list(FIGURES)})
        for seed in seeds
        for row, encoder in recipes
    ]


def measure(unit: Unit, context: Context) -> Measured:
    space = DagSpace(unit.setting)
    encoder = build_encoder(space=space, **unit.recipe["encoder"])
    start = time.perf_counter()
    figures = encoder.fit(unit.seed) | {SECONDS: time.perf_counter() - start}
    similarity = similarity_of(encoder)
    if by_cosines(encoder):
        known = trained_encoder(LANDMARKS.encoder, space, unit.seed, context).metrics
        figures[HIGHEST] = highest_r_squared(known, encoder.dim)
    rng = np.random.default_rng((unit.seed, 5))
    a, b = (prune(space.sample(rng, SHOWN)) for _ in range(2))
    x = encoder.embed(a)
    series = {
        "kernel": wl_kernel(a, b),
        "similarity": similarity(x, encoder.embed(b)),
        OF_ISOMORPHIC: similarity(x, again := encoder.embed(random_order(a, rng))),
    }
    figures.setdefault(ISOMORPHIC, float(cosines(x, again).mean()))
    figures = {name: figures[name] for name in FIGURES if name in figures}
    return Measured(figures, {name: [rounded(value) for value in values] for name, values in series.items()})


def table(summary: Mapping[str, Any]) -> str:
    lines = [["encoder", *FIGURES.values()]]
    for row in summary["rows"]:
        found = ((row["figures"].get(name), 0 if name == SECONDS else 3) for name in FIGURES)
        lines.append([row["row"], *("" if value is None else shown(value, places) for value, places in found)])
    return f"{markdown(lines)}\n\n{seeds_text(summary)}"


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """The first seed: similarity of vectors against kernel of pairs of different and of isomorphic cells."""
    chosen = [r for r in results if r.unit.seed == results[0].unit.seed]
    canvas.set_size_inches(5.2 * len(chosen), 4.2)
    for axes, result in zip(canvas.subplots(1, len(chosen), squeeze=False, sharey=True)[0], chosen):
        series = result.measured.series
        axes.scatter(series["kernel"], series["similarity"], s=7, alpha=0.6, label="random pairs")
        same = series[OF_ISOMORPHIC]
        axes.scatter(np.ones(len(same)), same, s=7, alpha=0.6, label="isomorphic pairs")
        axes.plot([min(series["kernel"]), 1], [min(series["kernel"]), 1], color="black", linewidth=0.8, label="equal")
        axes.set(xlabel="kernel", ylabel="cosine of the vectors; landmarks: inner product", title=result.unit.row)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The pairs of the first seed."""
    rows: list[Sequence[Any]] = []
    for result in (r for r in results if r.unit.seed == results[0].unit.seed):
        series = result.measured.series
        rows += [(result.unit.row, "random", *pair) for pair in zip(series["kernel"], series["similarity"])]
        rows += [(result.unit.row, "isomorphic", 1.0, value) for value in series[OF_ISOMORPHIC]]
    return ("encoder", "pairs", "kernel", "similarity"), rows


ENCODER = Part("encoder", "the encoder on held-out and on isomorphic pairs", 3, units, measure, table, draw, points=points)
