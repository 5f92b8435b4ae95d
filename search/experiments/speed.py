"""How fast the search's own parts are: kernel pairs and bootstrap cells a second, trainings on several workers."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gemnet.architecture import Architecture
from gemnet.bench.benchmark import Timing, measure, measure_together
from gemnet.cell import Cell
from gemnet.complexity import network_cost
from gemnet.core.files import save_text
from gemnet.core.machine import processor
from gemnet.drawing.palette import BLUE, ORANGE, save_svg
from gemnet.drawing.plots import legend_below, page_figure, panels
from search.bootstrap import Draws, bootstrap
from search.core.types import CellArrays, Job
from search.encoders import build_encoder
from search.evaluation.data import build_data
from search.evaluation.executor import WorkerExecutor
from search.evaluation.proxy import build_evaluator
from search.kernel.wl import wl_kernel
from search.predictors.mlp import MLPPredictor
from search.spaces.dag import DagSpace, prune, statistics

DIRECTIONS_TIMED = {"both": "in- and out-neighbours, as the search", "out": "out-neighbours alone, as grakel"}
H = 3
"""Iterations of the kernel, the paper's."""
KERNEL_TIMES, KERNEL_PICTURE = "docs/results/wl_kernel.json", "docs/results/wl_kernel.svg"


def kernel(
    pairs: int, grakel_pairs: int, num_nodes: int = 30, h: int = H, repeats: int = 10
) -> tuple[dict[str, Timing], float | None]:
    """Times of the WL kernel of `pairs` random pairs on one core, by direction, and under "grakel" that of grakel on the first
    `grakel_pairs` of them, one fit a pair, side by side; and the largest difference of its values from ours.

    Without grakel, or for no pairs of it, it has no time and None. Its kernel of directed graphs looks at out-neighbours.
    """
    a, b = _random_pairs(pairs, num_nodes)
    calls: dict[str, Callable[[], object]] = {d: functools.partial(wl_kernel, a, b, h, d) for d in DIRECTIONS_TIMED}
    if not grakel_pairs or importlib.util.find_spec("grakel") is None:
        return measure_together(calls, repeats), None
    from grakel.kernels import VertexHistogram, WeisfeilerLehman

    a, b = a[:grakel_pairs], b[:grakel_pairs]
    graphs = [_grakel_graphs(side) for side in (a, b)]
    values = np.empty(len(a))

    def grakel() -> None:
        for i, pair in enumerate(zip(*graphs)):
            values[i] = WeisfeilerLehman(n_iter=h, normalize=True, base_graph_kernel=VertexHistogram).fit_transform(pair)[0, 1]

    times = measure_together({**calls, "grakel": grakel}, repeats)
    return times, float(np.abs(values - wl_kernel(a, b, h, direction="out")).max())


def _grakel_graphs(cells: CellArrays) -> list[Any]:
    from grakel import Graph

    graphs = []
    for adjacency, operators in zip(cells.adjacency, cells.operators):
        present = np.flatnonzero(operators >= 0)
        edges = {int(u): {int(v): 1.0 for v in np.flatnonzero(adjacency[u])} for u in present}
        graphs.append(Graph(edges, node_labels={int(v): int(operators[v]) for v in present}))
    return graphs


def kernel_costs(
    pairs: Sequence[int] = (10_000, 20_000, 30_000, 40_000, 50_000), iterations: int = 8, num_nodes: int = 30, repeats: int = 15
) -> dict[tuple[str, int, int], Timing]:
    """Times of the WL kernel on one core by (direction, pairs, h), side by side: H for each number of pairs, and all h up to
    `iterations` for the largest number."""
    a, b = _random_pairs(max(pairs), num_nodes)
    points = sorted({*((count, H) for count in pairs), *((max(pairs), h) for h in range(iterations + 1))})
    keys = [(direction, *point) for direction in DIRECTIONS_TIMED for point in points]
    calls = {(d, count, h): functools.partial(wl_kernel, a[:count], b[:count], h, d) for d, count, h in keys}
    return measure_together(calls, repeats)


def write_kernel_costs(root: Path, costs: Mapping[tuple[str, int, int], Timing]) -> None:
    """Write `kernel_costs` and their picture to docs/results below `root`."""
    names = ("neighbours", "pairs", "h")
    times = [dict(zip(names, key)) | asdict(time) for key, time in costs.items()]
    lines = ",\n".join(f"  {json.dumps(time)}" for time in times)
    save_text(root / KERNEL_TIMES, f'{{"machine": {json.dumps(processor())}, "seconds": [\n{lines}\n]}}\n')
    save_svg(kernel_picture(times), root / KERNEL_PICTURE)


def kernel_picture(times: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw what `write_kernel_costs` has written: medians, with bars from the fastest to the slowest run."""
    most = max(time["pairs"] for time in times)
    figure = page_figure(3.4)
    by_pairs, by_h = panels(figure, [f"h = {H}", f"{most:,} pairs"], ylabel="ms on one core", sharey=True)
    for (direction, about), colour in zip(DIRECTIONS_TIMED.items(), (BLUE, ORANGE)):
        of_these = [time for time in times if time["neighbours"] == direction]
        for axes, along, shown in (
            (by_pairs, "pairs", [time for time in of_these if time["h"] == H]),
            (by_h, "h", [time for time in of_these if time["pairs"] == most]),
        ):
            x = np.array([time[along] for time in shown]) / (1000 if along == "pairs" else 1)
            low, middle, high = (1000 * np.array([time[name] for time in shown]) for name in ("fastest", "median", "slowest"))
            bars: dict[str, Any] = {"fmt": "o-", "markersize": 3, "capsize": 2, "color": colour}
            axes.errorbar(x, middle, (middle - low, high - middle), label=about, **bars)
    by_pairs.set(xlabel="thousand pairs", ylim=(0, None))
    by_h.set(xlabel="iterations h")
    for axes in (by_pairs, by_h):
        axes.grid(alpha=0.25)
    legend_below(by_pairs, 1)
    return figure


def bootstrap_cells(cells: int, num_nodes: int = 30, dim: int = 50, repeats: int = 3) -> Timing:
    """Time of bootstrap optimisation over `cells` draws: sample, prune, price, embed, score, keep the best."""
    space = DagSpace(num_nodes)
    encoder = build_encoder("kernel_guided", space, dim=dim, iterations=1)
    encoder.fit(seed=0)
    sample = prune(space.sample(np.random.default_rng(0), 64))
    predictor = MLPPredictor(steps=1)
    predictor.fit(encoder.encode(sample), np.arange(64.0), seed=0)
    network = Architecture(space.to_cells(sample[:1])[0], (8, 16, 32), (1, 1, 1), 8, 0, 1)

    def macs(pruned: CellArrays) -> np.ndarray:
        return network_cost(network, (32, 32), 10, 3, statistics(space, pruned)).macs

    def run() -> object:
        return bootstrap(Draws(space, encoder, np.random.default_rng(1), cells, macs), predictor.predict, top=10)

    return measure(run, repeats, warm_up=1)


def executor_efficiency(jobs: int, workers: int = 2, repeats: int = 3) -> tuple[Timing, Timing]:
    """Time of `jobs` equal trainings on one worker with one core, and on `workers` with one each; both are running before.

    The efficiency is the first over `workers` times the second.
    """
    evaluator = build_evaluator(build_data("digits"), epochs=2)
    cell = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2)))
    trainings = [Job(i, cell, 0) for i in range(jobs)]
    with contextlib.ExitStack() as stack:
        one, several = (
            stack.enter_context(contextlib.closing(WorkerExecutor(evaluator, ["cpu"] * count))) for count in (1, workers)
        )
        calls = {1: lambda: list(one.run(trainings)), workers: lambda: list(several.run(trainings))}
        times = measure_together(calls, repeats, warm_up=1)
    return times[1], times[workers]


def _random_pairs(pairs: int, num_nodes: int) -> tuple[CellArrays, CellArrays]:
    space, rng = DagSpace(num_nodes), np.random.default_rng(0)
    return prune(space.sample(rng, pairs)), prune(space.sample(rng, pairs))
