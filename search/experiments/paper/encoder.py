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

from gemnet.drawing.palette import BLUE, ORANGE
from gemnet.drawing.plots import dots, legend_below, panels
from search.core.cosines import cosines
from search.encoders import build_encoder
from search.encoders.landmarks import HIGHEST
from search.experiments.paper.base import Context, Measured, Part, Result, Shown, Unit, of_first_seed, planned
from search.experiments.paper.figure6 import highest
from search.experiments.paper.rows import CANONICAL, GUIDED, LANDMARKS, NASGEM
from search.experiments.paper.summary import by_row, rounded_series
from search.kernel.wl import wl_kernel
from search.spaces.dag import DagSpace, prune
from search.spaces.node_order import random_order

NODES, ITERATIONS = 30, 10_000
SHOWN = 400
"""Pairs in the picture."""
ISOMORPHIC, SECONDS = "cosine of isomorphic cells", "training, s"
OF_ISOMORPHIC = "similarity of isomorphic cells"
RANDOM, ISOMORPHIC_PAIRS = "random", "isomorphic"
"""Kinds of pairs in the file of points."""
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
    length = {} if quick else {"iterations": ITERATIONS}
    encoders = {row.name: {**row.recipe(quick)["encoder"], **length} for row in (NASGEM, CANONICAL, GUIDED)}
    encoders[LANDMARKS.name] = dict(LANDMARKS.encoder)
    recipes = {name: {"encoder": settings, "figures": list(FIGURES)} for name, settings in encoders.items()}
    return planned("encoder", seeds, recipes, [NODES])


def measure(unit: Unit, context: Context) -> Measured:
    space = DagSpace(unit.setting)
    encoder = build_encoder(space=space, **unit.recipe["encoder"])
    start = time.perf_counter()
    figures = encoder.fit(unit.seed) | {SECONDS: time.perf_counter() - start}
    figures |= highest(encoder, space, unit.seed, context)
    rng = np.random.default_rng((unit.seed, 5))
    a, b = (prune(space.sample(rng, SHOWN)) for _ in range(2))
    x = encoder.embed(a)
    series = {
        "kernel": wl_kernel(a, b),
        "similarity": encoder.similarity(x, encoder.embed(b)),
        OF_ISOMORPHIC: encoder.similarity(x, again := encoder.embed(random_order(a, rng))),
    }
    figures.setdefault(ISOMORPHIC, float(cosines(x, again).mean()))
    figures = {name: figures[name] for name in FIGURES if name in figures}
    return Measured(figures, rounded_series(**series))


def table(summary: Mapping[str, Any]) -> str:
    return by_row(summary, "encoder", FIGURES, {SECONDS: 0})


def draw(canvas: Figure, shown: Shown) -> None:
    """Draw the first seed: similarity of vectors against kernel of pairs of different and of isomorphic cells."""
    rows = [result.unit.row for result in of_first_seed(shown.results)]
    canvas.set_figheight(5.2)
    every = panels(canvas, rows, "kernel", "cosine of the vectors; landmarks: inner product", sharex=True, sharey=True)
    for axes, row in zip(every, rows):
        for kind, colour in ((RANDOM, BLUE), (ISOMORPHIC_PAIRS, ORANGE)):
            pairs = [p for p in shown.points if (p["encoder"], p["pairs"]) == (row, kind)]
            dots(axes, [p["kernel"] for p in pairs], [p["similarity"] for p in pairs], colour, f"{kind} pairs")
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="equal")
        axes.grid(alpha=0.25)
    legend_below(every[0], 3)


def points(results: Sequence[Result]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """The pairs of the first seed."""
    rows: list[Sequence[Any]] = []
    for result in of_first_seed(results):
        series = result.measured.series
        rows += [(result.unit.row, RANDOM, *pair) for pair in zip(series["kernel"], series["similarity"])]
        rows += [(result.unit.row, ISOMORPHIC_PAIRS, 1.0, value) for value in series[OF_ISOMORPHIC]]
    return ("encoder", "pairs", "kernel", "similarity"), rows


ABOUT = "the encoder on held-out and on isomorphic pairs"
SHOWS = (
    "The similarity of two cells' vectors against their kernel, a panel an encoder. Random pairs lie along the diagonal; "
    "isomorphic pairs of NASGEM are spread over half the axis, those of the canonical order and of counts are at 1"
)
ENCODER = Part("encoder", ABOUT, SHOWS, 3, units, measure, table, draw, points=points)
