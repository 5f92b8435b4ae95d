"""How smooth the latent space is: cells between two cells, a plane through it, and cosines against the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from search.core.cosines import cosines
from search.core.types import CellArrays, Progress
from search.encoders.kernel_guided import KernelGuidedEncoder
from search.encoders.similarity import kernel_figures
from search.encoders.svge.model import SVGe
from search.experiments.svge.optimisation import Pool
from search.experiments.svge.prediction import SparseGaussianProcess
from search.experiments.svge.tasks import PoolSpace, Task
from search.kernel.wl import wl_kernel

Rows = list[dict[str, Any]]


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


def _known_accuracies(pool: Pool, graphs: CellArrays) -> np.ndarray:
    """Of valid graphs, float64 [B], NaN where one is not in the table."""
    places = pool.find(graphs)
    return np.where(places >= 0, pool.accuracies[places], np.nan)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
