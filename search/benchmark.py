"""How fast the search's own parts are: kernel pairs and bootstrap cells a second, trainings on several workers."""

from __future__ import annotations

import importlib.util

import numpy as np

from gemnet.architecture import Architecture
from gemnet.benchmark import Timing, measure, measure_together
from gemnet.cell import Cell
from gemnet.complexity import network_cost
from search.base import CellArrays, Job
from search.bootstrap import bootstrap
from search.data import build_data
from search.embedding import build_encoder
from search.executor import WorkerExecutor
from search.predictor import MLPPredictor
from search.proxy import build_evaluator
from search.space import DagSpace, prune, statistics
from search.wl_kernel import wl_kernel


def kernel(pairs: int, num_nodes: int = 30, h: int = 3, direction: str = "both", repeats: int = 15) -> Timing:
    """Time of the WL kernel of `pairs` random pairs, on one core. direction: see `wl_kernel`."""
    a, b = _random_pairs(pairs, num_nodes)
    return measure(lambda: wl_kernel(a, b, h, direction), repeats)


def grakel_kernel(pairs: int, num_nodes: int = 30, h: int = 3) -> tuple[Timing, float] | None:
    """Time of grakel on `pairs` random pairs, one fit a pair, and the largest difference from our values; None without grakel.

    grakel's kernel of directed graphs looks at out-neighbours; ours is asked for the same in the comparison of values.
    """
    if importlib.util.find_spec("grakel") is None:
        return None
    from grakel import Graph
    from grakel.kernels import VertexHistogram, WeisfeilerLehman

    a, b = _random_pairs(pairs, num_nodes)

    def graph(cells: CellArrays, i: int) -> Graph:
        present = np.flatnonzero(cells.operators[i] >= 0)
        edges = {int(u): {int(v): 1.0 for v in np.flatnonzero(cells.adjacency[i, u])} for u in present}
        return Graph(edges, node_labels={int(v): int(cells.operators[i, v]) for v in present})

    graphs = [(graph(a, i), graph(b, i)) for i in range(pairs)]
    values = np.empty(pairs)

    def run() -> None:
        for i, pair in enumerate(graphs):
            values[i] = WeisfeilerLehman(n_iter=h, normalize=True, base_graph_kernel=VertexHistogram).fit_transform(pair)[0, 1]

    timing = measure(run, repeats=1, warm_up=0)
    return timing, float(np.abs(values - wl_kernel(a, b, h, direction="out")).max())


def bootstrap_cells(cells: int, num_nodes: int = 30, dim: int = 50, repeats: int = 3) -> Timing:
    """Time of bootstrap optimisation over `cells` draws: sample, prune, price, embed, score, keep the best."""
    space = DagSpace(num_nodes)
    encoder = build_encoder("kernel_guided", space, dim=dim, iterations=1)
    encoder.fit(seed=0)
    sample = prune(space.sample(np.random.default_rng(0), 64))
    predictor = MLPPredictor(steps=1)
    predictor.fit(encoder.embed(sample), np.arange(64.0), seed=0)
    network = Architecture(space.to_cells(sample[:1])[0], (8, 16, 32), (1, 1, 1), 8, 0, 1)

    def macs(pruned: CellArrays) -> np.ndarray:
        return network_cost(network, (32, 32), 10, 3, statistics(space, pruned)).macs

    return measure(
        lambda: bootstrap(space, encoder, predictor, macs, np.random.default_rng(1), cells, top=10), repeats, warm_up=1
    )


def executor_efficiency(jobs: int, workers: int = 2, repeats: int = 3) -> tuple[Timing, Timing]:
    """Time of `jobs` equal trainings on one worker with one core, and on `workers` with one each; both are running before.

    The efficiency is the first over `workers` times the second.
    """
    evaluator = build_evaluator(build_data("digits"), epochs=2)
    cell = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2)))
    executors = {str(count): WorkerExecutor(evaluator, ["cpu"] * count) for count in (1, workers)}
    try:
        calls = {
            name: lambda executor=executor: [outcome for outcome in executor.run([Job(i, cell, 0) for i in range(jobs)])]
            for name, executor in executors.items()
        }
        found = measure_together(calls, repeats, warm_up=1)
    finally:
        for executor in executors.values():
            executor.close()
    return found["1"], found[str(workers)]


def _random_pairs(pairs: int, num_nodes: int) -> tuple[CellArrays, CellArrays]:
    space, rng = DagSpace(num_nodes), np.random.default_rng(0)
    return prune(space.sample(rng, pairs)), prune(space.sample(rng, pairs))
