"""Optimisation in the latent space by expected improvement, beside bootstrap (NASGEM, Eq. 15) and random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gemnet.core.tables import markdown_table, mean_and_deviation
from search.core.types import CellArrays, EncodedCells, Progress, SearchError
from search.encoders.svge.model import SVGe
from search.experiments.svge.prediction import SparseGaussianProcess, expected_improvement
from search.experiments.svge.tasks import Task
from search.predictors.mlp import MLPPredictor
from search.spaces.isomorphism import Index

NEAR_BEST = 10
"""Of the best graphs so far: around their vectors half of the candidates are drawn."""


@dataclass(frozen=True)
class Budget:
    """start: random graphs at first. rounds of batch queries each. candidates: latent vectors, or cells of the table, among
    which a round chooses."""

    start: int = 50
    rounds: int = 10
    batch: int = 50
    candidates: int = 5000


class Pool:
    """The graphs of a task with a known accuracy, as what can be asked for, and their latent vectors."""

    def __init__(self, task: Task, model: SVGe) -> None:
        self.rows = task.known(np.arange(len(task.graphs)))
        self.graphs, self.accuracies = task.graphs[self.rows], task.accuracies[self.rows]
        self.vectors = model.embed(self.graphs)
        self.encoded = EncodedCells(self.graphs, self.vectors)
        self._names = task.space.types

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _index(self) -> Index:
        return Index(self.graphs, np.arange(len(self)))

    def find(self, graphs: CellArrays) -> np.ndarray:
        """Place in the pool of each of B valid graphs, whatever the order of its nodes; -1 where it is not there: int64 [B]."""
        return self._index.find_all(graphs, self._names)


@dataclass(frozen=True)
class Trace:
    """asked: places in the pool in the order of the queries. decoded, unknown: how many latent vectors were decoded, and how
    many of these gave no graph of the pool, so that there was no query."""

    asked: list[int]
    decoded: int = 0
    unknown: int = 0


def optimise(
    method: str, model: SVGe, pool: Pool, seed: int, budget: Budget | None = None, progress: Progress | None = None
) -> Trace:
    """`budget.start` random queries, the same for each method, and `budget.rounds` rounds of new ones. Deterministic by seed.

    A round of "expected improvement" draws latent vectors, half of them like the pool's (a normal distribution of their mean
    and standard deviation in each dimension), half around the best vectors so far; it decodes them, to graphs of the space, in
    the order of their expected improvement under a Gaussian process on all queries, until the table has answered `batch` times
    or none is left. The others draw cells of the pool: "expected improvement on known cells" takes the ones of highest expected
    improvement, for tables that know little of their space; "bootstrap" those that a network on latent vectors scores highest;
    "random" any.

    Raises SearchError for another method, or a pool smaller than the budget.
    """
    budget = budget or Budget()
    wanted = budget.start + budget.rounds * budget.batch
    if len(pool) < wanted:
        raise SearchError(f"optimisation: {wanted} queries are more than the {len(pool)} cells with a known accuracy")
    rounds = {
        "expected improvement": lambda rng, asked: _improve(model, pool, rng, asked, budget),
        "expected improvement on known cells": lambda rng, asked: _improve_known(pool, rng, asked, budget),
        "bootstrap": lambda rng, asked: _bootstrap(pool, rng, asked, budget, seed),
        "random": lambda rng, asked: Trace(_new(rng.permutation(len(pool)), asked, budget.batch)),
    }
    if method not in rounds:
        raise SearchError(f"optimisation: unknown method {method!r}; expected one of {', '.join(rounds)}")
    asked = np.random.default_rng((seed, 0)).permutation(len(pool))[: budget.start].tolist()
    decoded = unknown = 0
    for number in range(budget.rounds):
        trace = rounds[method](np.random.default_rng((seed, 1, number)), asked)
        asked, decoded, unknown = asked + trace.asked, decoded + trace.decoded, unknown + trace.unknown
        if progress:
            progress(number + 1, budget.rounds, f"best accuracy {pool.accuracies[asked].max():.4f}")
    return Trace(asked, decoded, unknown)


METHODS = ("expected improvement", "expected improvement on known cells", "bootstrap", "random")
PEERS = ("bootstrap", "random")
"""What the others are compared with at as many queries."""


def _improve(model: SVGe, pool: Pool, rng: np.random.Generator, asked: list[int], budget: Budget) -> Trace:
    mean, deviation = pool.vectors.mean(0), pool.vectors.std(0)
    best = pool.vectors[asked][np.argsort(-pool.accuracies[asked], kind="stable")[:NEAR_BEST]]
    half = budget.candidates // 2
    anywhere = mean + deviation * rng.standard_normal((budget.candidates - half, model.dim))
    scale = 2.0 ** -rng.uniform(0, 4, (half, 1))  # from a standard deviation to a 16th of it
    near = best[rng.integers(len(best), size=half)] + scale * deviation * rng.standard_normal((half, model.dim))
    latent = np.concatenate([anywhere, near]).astype(np.float32)
    order = _by_improvement(pool, asked, latent, rng)
    chosen: list[int] = []
    unknown = decoded = 0
    while decoded < len(order) and len(chosen) < budget.batch:
        # Twice as many each time: where the table knows few, calls would cost more than decoding.
        graphs = model.decode(latent[order[decoded : 2 * decoded + budget.batch]], constrained=True)
        places = pool.find(graphs)
        decoded, unknown = decoded + len(graphs), unknown + int((places < 0).sum())
        chosen += _new(places[places >= 0], asked + chosen, budget.batch - len(chosen))
    return Trace(chosen, decoded, unknown)


def _improve_known(pool: Pool, rng: np.random.Generator, asked: list[int], budget: Budget) -> Trace:
    drawn = rng.integers(len(pool), size=budget.candidates)
    return Trace(_new(drawn[_by_improvement(pool, asked, pool.vectors[drawn], rng)], asked, budget.batch))


def _by_improvement(pool: Pool, asked: list[int], latent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order of latent vectors [B, dim] by expected improvement under a Gaussian process on all queries, the highest first."""
    process = SparseGaussianProcess(len(asked), int(rng.integers(2**31))).fit(pool.vectors[asked], pool.accuracies[asked])
    return np.argsort(-expected_improvement(*process.predict(latent), pool.accuracies[asked].max()), kind="stable")


def _bootstrap(pool: Pool, rng: np.random.Generator, asked: list[int], budget: Budget, seed: int) -> Trace:
    predictor = MLPPredictor()
    predictor.fit(pool.encoded[asked], pool.accuracies[asked], seed)
    drawn = rng.integers(len(pool), size=budget.candidates)
    order = np.argsort(-predictor.predict(pool.encoded[drawn]), kind="stable")
    return Trace(_new(drawn[order], asked, budget.batch))


def _new(places: np.ndarray, asked: list[int], count: int) -> list[int]:
    """The first `count` of the places that have not been asked for, each once."""
    known = set(asked)
    return [place for place in dict.fromkeys(places.tolist()) if place not in known][:count]


Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""For each method its runs: {"rows": of the task, in the order of the queries, "decoded": ..., "unknown": ...}."""


def curves(task: Task, runs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Best accuracy after each query of each run: float64 [runs, queries], NaN after the last query of a shorter run."""
    best = np.full((len(runs), max(len(run["rows"]) for run in runs)), np.nan)
    for i, run in enumerate(runs):
        best[i, : len(run["rows"])] = np.maximum.accumulate(task.accuracies[run["rows"]])
    return best


def summary(task: Task, runs_of: Runs) -> dict[str, Any]:
    """For each method: the best accuracy of its runs; the share of decoded vectors without an answer; where the space has
    them, the test accuracy of the cells that were best by the accuracy asked for; and, for a fair look at a method that asks
    for fewer cells, the best accuracy of the runs of "bootstrap" and "random" after as many queries as its shortest run has."""
    scores = None if task.test_accuracy is None else task.test_accuracy()
    best = {peer: curves(task, runs_of[peer]) for peer in PEERS if peer in runs_of}
    methods = {}
    for method, runs in runs_of.items():
        chosen = [run["rows"][int(task.accuracies[run["rows"]].argmax())] for run in runs]
        queries, decoded = [len(run["rows"]) for run in runs], sum(run["decoded"] for run in runs)
        methods[method] = {
            "best accuracy": task.accuracies[chosen].tolist(),
            "queries": queries,
            "decoded without an answer": sum(run["unknown"] for run in runs) / decoded if decoded else None,
            "test accuracy of the best": None if scores is None else scores[chosen].tolist(),
            "peers after as many queries": {
                peer: values[:, min(*queries, values.shape[1]) - 1].tolist() for peer, values in best.items()
            },
        }
    return {"space": task.name, "best in the table": float(np.nanmax(task.accuracies)), "methods": methods}


def rows(task: Task, runs_of: Runs) -> list[dict[str, Any]]:
    """A row a query of each run."""
    return [
        {"method": method, "run": number, "query": query, "row": row, "accuracy": float(task.accuracies[row])}
        for method, runs in runs_of.items()
        for number, run in enumerate(runs)
        for query, row in enumerate(run["rows"], 1)
    ]


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary as a table: mean ± standard deviation over the runs."""
    peers = list(next(iter(summary["methods"].values()))["peers after as many queries"])
    titles = ["best accuracy, %", *(f"{peer} after as many, %" for peer in peers), "its test accuracy, %"]
    lines = []
    for method, values in summary["methods"].items():
        missed, fewest, most = values["decoded without an answer"], min(values["queries"]), max(values["queries"])
        after = [values["peers after as many queries"][peer] for peer in peers]
        shown = map(_percent, [values["best accuracy"], *after, values["test accuracy of the best"]])
        queries = fewest if fewest == most else f"{fewest} to {most}"
        lines.append([method, queries, *shown, None if missed is None else f"{100 * missed:.1f}", len(values["queries"])])
    columns = [summary["space"], "queries", *titles, "decoded without an answer, %", "runs"]
    best = f"The best accuracy in the table is {100 * summary['best in the table']:.3f} %."
    return f"{markdown_table(columns, lines)}\n\n{best}\n"


def _percent(values: Sequence[float] | None) -> str | None:
    if values is None:
        return None
    deviation = 100 * float(np.std(values, ddof=1)) if len(values) > 1 else None
    return mean_and_deviation(100 * float(np.mean(values)), deviation, 3)
