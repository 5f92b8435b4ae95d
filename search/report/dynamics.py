"""What a search's record tells of its learning: the predicted scores over the space (Fig. 4), and how far they are right."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from search.core.types import SearchError
from search.record.study import DONE, ENCODER_DIRECTORY, Record, Snapshot

DRAWN = 5000
FEWEST = 5
"""Cells that must be evaluated to the end, so that each of the 5 folds has one."""
BINS = 5


@dataclass(frozen=True)
class Dynamics:
    """A search's predictor, trained anew on the N cells that were evaluated to the end, and asked about D drawn ones.

    evaluated: the N records. drawn, places: [D, 2] and [N, 2], where the drawn and the evaluated cells lie in the plane of the
    first two principal components of the drawn ones' vectors. variance: the share of these vectors' variance in that plane.
    surface: [D], predicted scores of the drawn cells. held_out: [N], cross-validated predictions of the evaluated ones' scores;
    deviation: [N], their standard deviations, None where the predictor has none.
    """

    evaluated: tuple[Record, ...]
    drawn: np.ndarray
    places: np.ndarray
    variance: float
    surface: np.ndarray
    held_out: np.ndarray
    deviation: np.ndarray | None

    @property
    def measured(self) -> np.ndarray:
        """[N], scores of the evaluated cells."""
        return np.array([r.score for r in self.evaluated])

    def within(self, deviations: float) -> float | None:
        """The share of the measured scores no further than so many `deviation` from `held_out`; None where there is none."""
        if self.deviation is None:
            return None
        return float((np.abs(self.measured - self.held_out) <= deviations * self.deviation).mean())


def learning_dynamics(snapshot: Snapshot, directory: str | os.PathLike[str]) -> Dynamics:
    """What the search in `directory` has learned so far, deterministic by its seed.

    Raises SearchError with the reason where that cannot be told: no encoder yet, too few evaluations, a table that is missing.
    """
    evaluated = tuple(r for r in snapshot.records if r.state == DONE and not r.stopped)
    if len(evaluated) < FEWEST:
        raise SearchError(f"{len(evaluated)} cells are evaluated to the end, {FEWEST} are needed")
    from search.encoders import DESCRIPTION  # torch and all encoders, which a report without a surface does without

    path = Path(directory) / ENCODER_DIRECTORY
    if not (path / DESCRIPTION).exists():
        raise SearchError("the encoder is not trained yet")
    try:
        return _learned(snapshot.settings, evaluated, path)
    except SearchError:
        raise
    except Exception as error:  # any predictor and encoder may stand here: what they raise is no reason to lose the report
        raise SearchError(f"the predictor cannot be trained on this record ({type(error).__name__}: {error})") from error


def _learned(settings: Mapping[str, Any], evaluated: tuple[Record, ...], path: Path) -> Dynamics:
    from sklearn.decomposition import PCA

    from search.encoders import load_encoder
    from search.predictors import build_predictor
    from search.predictors.cross_validation import cross_validated_with_std
    from search.spaces.dag import build_space, prune

    seed, space = settings["seed"], build_space(**settings["space"])
    encoder = load_encoder(path, space)
    known = encoder.encode(prune(space.from_cells([r.cell for r in evaluated])))
    scores, build = np.array([r.score for r in evaluated]), partial(build_predictor, **settings["predictor"])
    held_out, deviation = cross_validated_with_std(build, known, scores, seed)
    predictor = build()
    predictor.fit(known, scores, seed)
    drawn = encoder.encode(prune(space.sample(np.random.default_rng(seed), DRAWN)))
    surface = predictor.predict(drawn)
    if not (np.isfinite(surface).all() and np.isfinite(held_out).all()):
        raise SearchError("the predictor gives scores that are no numbers")
    plain = np.asarray(drawn.vectors, np.float64)
    if not plain.std(0).any():
        raise SearchError("all drawn cells have the same vector")
    projection = PCA(2, random_state=seed % 2**32).fit(plain)
    return Dynamics(
        evaluated,
        projection.transform(plain),
        projection.transform(np.asarray(known.vectors, np.float64)),
        float(projection.explained_variance_ratio_.sum()),
        surface,
        held_out,
        deviation,
    )


@dataclass(frozen=True)
class Bin:
    """Cells of like predictions: how many, mean of the predicted and of the measured scores, and the latter's deviation."""

    count: int
    predicted: float
    measured: float
    deviation: float


def calibration(predicted: np.ndarray, measured: np.ndarray) -> list[Bin]:
    """N predictions and measurements in BINS bins of equal count along the predictions, or fewer of at least 2 cells."""
    order = np.argsort(predicted, kind="stable")
    return [
        Bin(len(rows), float(predicted[rows].mean()), float(measured[rows].mean()), float(measured[rows].std()))
        for rows in np.array_split(order, min(BINS, max(1, len(order) // 2)))
    ]


def rank_correlations(snapshot: Snapshot) -> tuple[dict[int, float], dict[int, float]]:
    """Kendall's tau by round: cross-validated on what was evaluated before it, as its note tells, and of the predictions made
    before it with what it measured, where that are 3 cells or more (those stopped early count as they did)."""
    held_out = {index: note["kendall_tau"] for index, note in snapshot.rounds.items() if "kendall_tau" in note}
    fresh = {index: _tau([r for r in snapshot.records if r.round == index]) for index in snapshot.rounds}
    return held_out, {index: tau for index, tau in fresh.items() if np.isfinite(tau)}


def _tau(records: Sequence[Record]) -> float:
    """NaN where there are fewer than 3 pairs, or all are equal."""
    pairs = [(r.predicted, r.score) for r in records if r.state == DONE and r.predicted is not None]
    return float(kendalltau(*zip(*pairs)).statistic) if len(pairs) >= 3 else float("nan")
