"""Ways to search a benchmark's pool, all with the same number of queries: what they ask for, and which cell they would choose.

A query is a look-up of a validation accuracy, noisy and, at NAS-Bench-101, optimistic. No method sees a test accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.base import SearchError
from search.benchmarks import TabularSpace
from search.display import Display
from search.ensemble import normal_scores
from search.pipeline import run_search
from search.predictor import cross_validated_predictions
from search.reproduce.base import Context
from search.reproduce.cells import benchmark_space, fitted, trained_encoder
from search.reproduce.evolution import evolve
from search.settings import load_settings
from search.space import prune
from search.study import fingerprint

CONFIG = Path(__file__).resolve().parents[2] / "configs/search/nasbench101_nasgem.py"

History = tuple[list[int], list[int]]
"""The rows that were asked for, in order, and after each of them the row that the method would choose."""


def random_search(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """Distinct random rows; the best validation accuracy is chosen."""
    rows = np.random.default_rng((seed, 6)).choice(space.pool, queries, replace=False).tolist()
    return rows, _best_so_far(space, rows)


def evolution(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """See `evolve`; the best validation accuracy is chosen. recipe: population, tournament."""
    rng, accuracy = np.random.default_rng((seed, 6)), space.table.validation_accuracy
    rows = evolve(space, rng, queries, lambda row: float(accuracy[row]), recipe["population"], recipe["tournament"])
    return rows, _best_so_far(space, rows)


def pipeline(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """Plain NASGEM, the search as configs/search/nasbench101_nasgem.py has it; the best validation accuracy is chosen.

    recipe: start, batch, and settings of the encoder and the predictor that replace the config's.
    """
    start, batch = recipe["start"], recipe["batch"]
    options = {
        "seed": seed,
        "space.data": str(space.table.source),
        "search.start": start,
        "search.batch": batch,
        "search.rounds": -(-(queries - start) // batch),
        **recipe["options"],
    }
    directory = context.directory / "searches" / fingerprint(options)
    records = run_search(load_settings(CONFIG, options), directory, Display(quiet=True))
    rows = [space.row(record.cell) for record in sorted(records, key=lambda record: record.id)][:queries]
    return rows, _best_so_far(space, rows)


def ensemble(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """The pipeline's iterations with uncertainty: what predictors do not agree on is worth asking for.

    After `start` random rows, each round asks for the `batch` rows of the whole pool with the highest mean + `optimism` x
    standard deviation: of `members` predictors on resampled evaluations, or, with 0 members, as one predictor itself tells
    (`EnsemblePredictor.opinion`). Accuracies are learnt as normal quantiles of their ranks, so that a few failed cells do not
    count for more than all others. The cell that is chosen is the evaluated one with the highest weighted mean of the accuracy
    that was measured (weight `trust`) and the one that predictors tell who have not seen it, cross-validated on `folds`; when
    the search is over on `last_folds`, if given, and `last_repeats` times, averaged. The best of many noisy measurements is
    mostly a lucky one. Both are accuracies here: ranks do not say how little the best ones differ.
    """
    rng, accuracy = np.random.default_rng((seed, 6)), space.table.validation_accuracy
    encoder = trained_encoder(recipe["encoder"], benchmark_space("nasbench101", context, "all"), seed, context)
    pool = space.pool
    vectors = encoder.embed(prune(space.table.cells[pool]))
    places = rng.choice(len(pool), min(recipe["start"], queries), replace=False).tolist()
    chosen = _best_so_far(space, pool[places].tolist())
    while True:
        measured = accuracy[pool[places]]
        scores = normal_scores(measured)
        seed_of_round = int(rng.integers(2**31))
        over = len(places) == queries
        folds, repeats = recipe["folds"], 1
        if over:
            folds, repeats = recipe.get("last_folds", folds), recipe.get("last_repeats", 1)
        held_out = np.mean(
            [
                cross_validated_predictions(recipe["predictor"], vectors[places], scores, seed_of_round + i, folds)
                for i in range(repeats)
            ],
            axis=0,
        )
        predicted = np.interp(held_out, np.sort(scores), np.sort(measured))
        best = int(np.argmax(recipe["trust"] * measured + (1 - recipe["trust"]) * predicted))
        chosen[-1] = int(pool[places[best]])
        if over:
            return pool[places].tolist(), chosen
        mean, deviation = _opinion(recipe, vectors, places, scores, rng, seed_of_round)
        wanted = mean + recipe["optimism"] * deviation
        wanted[places] = -np.inf
        asked = np.argsort(-wanted, kind="stable")[: min(recipe["batch"], queries - len(places))].tolist()
        places += asked
        chosen += [chosen[-1]] * len(asked)


def _opinion(
    recipe: Mapping[str, Any],
    vectors: np.ndarray,
    places: Sequence[int],
    scores: np.ndarray,
    rng: np.random.Generator,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [B] of the predicted scores of all `vectors`, learnt from those at `places`."""
    if not recipe["members"]:
        return fitted(recipe["predictor"], vectors[list(places)], scores, seed).opinion(vectors)
    found = []
    for member in range(recipe["members"]):
        drawn = rng.integers(len(places), size=len(places))
        found.append(
            fitted(recipe["predictor"], vectors[[places[i] for i in drawn]], scores[drawn], seed + member).query(vectors)
        )
    return np.mean(found, axis=0), np.std(found, axis=0)


METHODS: dict[str, Callable[[TabularSpace, int, int, Mapping[str, Any], Context], History]] = {
    "random": random_search,
    "evolution": evolution,
    "pipeline": pipeline,
    "ensemble": ensemble,
}


def search_history(space: TabularSpace, seed: int, queries: int, recipe: Mapping[str, Any], context: Context) -> History:
    """By the name recipe["method"]. Raises SearchError for more queries than the pool has cells."""
    if queries > len(space.pool):
        raise SearchError(f"{queries} queries are asked for, but the pool of {space.table.source} has {len(space.pool)} cells")
    return METHODS[recipe["method"]](space, seed, queries, recipe, context)


def _best_so_far(space: TabularSpace, rows: Sequence[int]) -> list[int]:
    """After each query the row with the highest validation accuracy."""
    best: list[int] = []
    for row in rows:
        accuracy = space.table.validation_accuracy
        best.append(row if not best or accuracy[row] > accuracy[best[-1]] else best[-1])
    return best
