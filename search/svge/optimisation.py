"""Optimisation in the latent space by expected improvement, beside bootstrap (NASGEM, Eq. 15) and random search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search.base import Progress, SearchError
from search.benchmarks.identity import Index
from search.embedding.graphs import Graphs
from search.embedding.svge import SVGe
from search.predictor import MLPPredictor
from search.svge.prediction import SparseGaussianProcess, expected_improvement
from search.svge.tasks import Task

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
        self._names = task.space.types

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _index(self) -> Index:
        return Index(self.graphs.cells, np.arange(len(self)))

    def find(self, graphs: Graphs) -> np.ndarray:
        """Place in the pool of each of B valid graphs, whatever the order of its nodes; -1 where it is not there: int64 [B]."""
        return self._index.find_all(graphs.cells, self._names)


@dataclass(frozen=True)
class Trace:
    """asked: places in the pool in the order of the queries. decoded, unknown: how many latent vectors were decoded, and how
    many of these gave no valid graph of the pool, so that there was no query."""

    asked: list[int]
    decoded: int = 0
    unknown: int = 0


Choice = Callable[[np.random.Generator, list[int]], Trace]


def optimise(
    method: str, model: SVGe, pool: Pool, seed: int, budget: Budget | None = None, progress: Progress | None = None
) -> Trace:
    """`budget.start` random queries, the same for each method, and `budget.rounds` rounds of new ones. Deterministic by seed.

    A round of "expected improvement" draws latent vectors, half of them like the pool's (a normal distribution of their mean
    and standard deviation in each dimension), half around the best vectors so far; it decodes them in the order of their
    expected improvement under a Gaussian process on all queries, until the table has answered `batch` times or none is left.
    "bootstrap" draws cells of the pool and takes those that a network on latent vectors scores highest; "random" takes any.

    Raises SearchError for another method, or a pool smaller than the budget.
    """
    budget = budget or Budget()
    wanted = budget.start + budget.rounds * budget.batch
    if len(pool) < wanted:
        raise SearchError(f"optimisation: {wanted} queries are more than the {len(pool)} cells with a known accuracy")
    rounds = {
        "expected improvement": lambda rng, asked: _improve(model, pool, rng, asked, budget),
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


METHODS = ("expected improvement", "bootstrap", "random")


def _improve(model: SVGe, pool: Pool, rng: np.random.Generator, asked: list[int], budget: Budget) -> Trace:
    vectors, accuracies = pool.vectors[asked], pool.accuracies[asked]
    process = SparseGaussianProcess(len(asked), int(rng.integers(2**31))).fit(vectors, accuracies)
    mean, deviation = pool.vectors.mean(0), pool.vectors.std(0)
    best = vectors[np.argsort(-accuracies, kind="stable")[:NEAR_BEST]]
    half = budget.candidates // 2
    anywhere = mean + deviation * rng.standard_normal((budget.candidates - half, model.dim))
    scale = 2.0 ** -rng.uniform(0, 4, (half, 1))  # from a standard deviation to a 16th of it
    near = best[rng.integers(len(best), size=half)] + scale * deviation * rng.standard_normal((half, model.dim))
    latent = np.concatenate([anywhere, near]).astype(np.float32)
    order = np.argsort(-expected_improvement(*process.predict(latent), accuracies.max()), kind="stable")
    found: list[int] = []
    unknown = decoded = 0
    for start in range(0, len(order), budget.batch):
        graphs = model.decode(latent[order[start : start + budget.batch]])
        valid = model.space.valid(graphs)
        places = pool.find(graphs[valid])
        decoded, unknown = decoded + len(graphs), unknown + int((~valid).sum() + (places < 0).sum())
        found += _new(places[places >= 0], asked + found, budget.batch - len(found))
        if len(found) == budget.batch:
            break
    return Trace(found, decoded, unknown)


def _bootstrap(pool: Pool, rng: np.random.Generator, asked: list[int], budget: Budget, seed: int) -> Trace:
    predictor = MLPPredictor()
    predictor.fit(pool.vectors[asked], pool.accuracies[asked], seed)
    drawn = rng.integers(len(pool), size=budget.candidates)
    order = np.argsort(-predictor.query(pool.vectors[drawn]), kind="stable")
    return Trace(_new(drawn[order], asked, budget.batch))


def _new(places: np.ndarray, asked: list[int], count: int) -> list[int]:
    """The first `count` of the places that have not been asked for, each once."""
    known = set(asked)
    return [place for place in dict.fromkeys(places.tolist()) if place not in known][:count]
