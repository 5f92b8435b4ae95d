"""How smooth the latent space is: cells between two cells, a plane through it, and cosines against the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from gemnet.drawing import draw_on
from gemnet.drawing.colours import operator_colours
from search.core.cosines import cosines
from search.core.types import CellArrays, Progress
from search.encoders.kernel_guided import KernelGuidedEncoder
from search.encoders.similarity import kernel_figures
from search.encoders.svge.model import SVGe
from search.experiments.svge.optimisation import Pool
from search.experiments.svge.prediction import SparseGaussianProcess
from search.experiments.svge.tasks import PoolSpace, Task
from search.kernel.wl import wl_kernel
from search.report.figures import BLUE, GREY

Rows = list[dict[str, Any]]
SHOWN = 0.02
"""Share of a plane's points whose accuracy is known, from which on they are drawn."""


@dataclass(frozen=True, eq=False)
class Walk:
    """What the straight line between two latent vectors decodes to: rows for a table, and the graphs."""

    rows: Rows
    graphs: CellArrays


def interpolation(model: SVGe, task: Task, pool: Pool, process: SparseGaussianProcess, seed: int, steps: int = 11) -> Walk:
    """From a random test graph to the most accurate training graph. Decoded constrained. Each row: share of the way, kernel
    (h = 3) with both ends, accuracy predicted at the vector by `process`, and accuracy that the pool knows of the decoded
    graph; None where there is none."""
    train = task.known(task.train)
    ends = task.graphs[[int(np.random.default_rng(seed).choice(task.test)), int(train[task.accuracies[train].argmax()])]]
    first, last = model.embed(ends)
    share = np.linspace(0, 1, steps)
    latent = (1 - share[:, None]) * first + share[:, None] * last
    graphs = model.decode(latent, constrained=True)
    accuracies = _known_accuracies(pool, graphs)
    predicted, _ = process.predict(latent)
    kernels = [wl_kernel(graphs, ends.padded(task.space.max_nodes)[[end] * steps]) for end in (0, 1)]
    rows = [
        {
            "share": float(share[i]),
            "kernel with first": float(kernels[0][i]),
            "kernel with last": float(kernels[1][i]),
            "predicted accuracy": float(predicted[i]),
            "known accuracy": _or_none(accuracies[i]),
            "cell": task.cell(graphs, i).digest()[:8],
        }
        for i in range(steps)
    ]
    return Walk(rows, graphs)


def draw_walk(walk: Walk, task: Task) -> Figure:
    """The cells on the way from left to right; consecutive equal ones stand once."""
    shown = [0] + [i for i in range(1, len(walk.rows)) if _changed(walk, i)]
    below_titles = ConstrainedLayoutEngine(rect=(0, 0, 1, 0.96))  # titles of three lines stand out of it otherwise
    figure = Figure(figsize=(2.4 * max(2, len(shown)), 5.2), layout=below_titles)
    for axes, i in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        row = walk.rows[i]
        draw_on(axes, task.cell(walk.graphs, i))
        axes.get_legend().remove()  # one for all, below
        accuracy = "" if row["known accuracy"] is None else f"\naccuracy {row['known accuracy']:.4f}"
        axes.set_title(f"{row['share']:.0%}\npredicted {row['predicted accuracy']:.4f}{accuracy}", fontsize=8)
    colours = operator_colours(task.space.types)
    marks = [Line2D([], [], marker="o", linestyle="", color=colours[name], label=name) for name in task.space.types]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def plane(model: SVGe, task: Task, pool: Pool, process: SparseGaussianProcess, seed: int, side: int = 41) -> Rows:
    """A grid of side x side points in the plane of the two principal components of the training vectors, three standard
    deviations to each side of their mean. Each row: place, accuracy predicted there by `process`, whether the decoded graph is
    valid, its accuracy if the pool knows it, or None."""
    vectors = model.embed(task.graphs[task.train])
    pca = PCA(2, random_state=seed).fit(vectors)
    spread = np.sqrt(pca.explained_variance_)
    x, y = (grid.reshape(-1) for grid in np.meshgrid(np.linspace(-3, 3, side), np.linspace(-3, 3, side)))
    latent = pca.inverse_transform(np.stack([x, y], 1) * spread).astype(np.float32)
    predicted, _ = process.predict(latent)
    graphs = model.decode(latent)
    valid = task.space.valid(graphs)
    accuracies = np.full(len(graphs), np.nan)
    accuracies[valid] = _known_accuracies(pool, graphs[valid])
    return [
        {
            "x": float(x[i]),
            "y": float(y[i]),
            "predicted accuracy": float(predicted[i]),
            "valid": bool(valid[i]),
            "known accuracy": _or_none(accuracies[i]),
        }
        for i in range(len(x))
    ]


def draw_plane(rows: Rows) -> Figure:
    """Left: predicted accuracy; right: known accuracy of what is decoded, grey where it is not known or not valid; left out
    where it is known of fewer than SHOWN of the points, as in a space of which a table has few cells. Both in the same colours,
    from the 5th percentile up."""
    side = round(len(rows) ** 0.5)
    names = ["predicted accuracy"]
    if sum(row["known accuracy"] is not None for row in rows) >= SHOWN * len(rows):
        names.append("known accuracy")
    accuracies = [row[name] for name in names for row in rows if row[name] is not None]
    figure = Figure(figsize=(5.5 * len(names), 4.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        values = np.array([np.nan if row[name] is None else row[name] for row in rows]).reshape(side, side)
        axes.set(xlabel="first principal component, standard deviations", ylabel="second", title=name, facecolor="#d9d9d9")
        axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        image = axes.imshow(values, origin="lower", extent=(-3, 3, -3, 3), cmap="viridis")
        image.set_clim(np.percentile(accuracies, 5), max(accuracies))
        figure.colorbar(image, ax=axes, extend="min")
    return figure


def kernel_pairs(
    model: SVGe,
    name: str,
    task: Task,
    seed: int,
    pairs: int = 2000,
    progress: Progress | None = None,
    encoder_settings: dict[str, Any] | None = None,
) -> tuple[Rows, dict[str, dict[str, float]]]:
    """Cosines of random pairs of test graphs under a `model` called `name` and under NASGEM's encoder, trained on the same
    training graphs, beside the kernel (h = 3): a row a pair, and `kernel_figures` of both encoders."""
    rng = np.random.default_rng(seed)
    graphs = task.graphs.padded(task.space.max_nodes)
    a, b = (graphs[task.test[rng.integers(len(task.test), size=pairs)]] for _ in range(2))
    kernel = wl_kernel(a, b)
    encoder = KernelGuidedEncoder(PoolSpace(task.space, task.graphs[task.train]), **(encoder_settings or {}))
    encoder.fit(seed, progress)
    similar = {
        name: cosines(model.embed(a), model.embed(b)),
        "NASGEM": cosines(encoder.embed(a), encoder.embed(b)),
    }
    rows = [{"kernel": float(kernel[i]), **{who: float(values[i]) for who, values in similar.items()}} for i in range(pairs)]
    return rows, {who: kernel_figures(values, kernel) for who, values in similar.items()}


def draw_kernel_pairs(rows: Rows, figures: dict[str, dict[str, float]]) -> Figure:
    """A panel an encoder: cosine against kernel."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for axes, (name, follows) in zip(figure.subplots(1, len(figures), sharey=True), figures.items()):
        axes.scatter([row["kernel"] for row in rows], [row[name] for row in rows], s=5, alpha=0.4, color=BLUE)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
        axes.set_title(f"{name}: R² {follows['R^2']:.3f}, Spearman {follows['Spearman']:.3f}", fontsize=9)
        axes.set(xlabel="WL kernel, h = 3", ylabel="cosine of the vectors")
    return figure


def _known_accuracies(pool: Pool, graphs: CellArrays) -> np.ndarray:
    """Of valid graphs, float64 [B], NaN where one is not in the table."""
    places = pool.find(graphs)
    return np.where(places >= 0, pool.accuracies[places], np.nan)


def _changed(walk: Walk, i: int) -> bool:
    keys = walk.graphs[[i - 1, i]].keys(walk.graphs.operators.shape[1])
    return bool(keys[0] != keys[1])


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
