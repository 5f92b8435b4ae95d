"""How good a predictor is, told on scores that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from search.core.types import EncodedCells, Predictor

Build = Callable[[], Predictor]
"""Makes a predictor that is not trained yet."""


def cross_validated_predictions(build: Build, x: EncodedCells, scores: np.ndarray, seed: int, folds: int = 5) -> np.ndarray:
    """Predictions [N] of the scores of N cells, each by a predictor that was trained on the other folds."""
    predicted = np.empty(len(scores))
    for fold, predictor in _trained(build, x, scores, seed, folds):
        predicted[fold] = predictor.predict(x[fold])
    return predicted


def cross_validated_with_std(
    build: Build, x: EncodedCells, scores: np.ndarray, seed: int, folds: int = 5
) -> tuple[np.ndarray, np.ndarray | None]:
    """`cross_validated_predictions` [N], and their standard deviations [N]; None where the predictor has none."""
    if not build().has_std:
        return cross_validated_predictions(build, x, scores, seed, folds), None
    predicted, std = np.empty((2, len(scores)))
    for fold, predictor in _trained(build, x, scores, seed, folds):
        predicted[fold], std[fold] = predictor.predict_with_std(x[fold])
    return predicted, std


def _trained(
    build: Build, x: EncodedCells, scores: np.ndarray, seed: int, folds: int
) -> Iterator[tuple[np.ndarray, Predictor]]:
    """Each fold, as rows, and a predictor that was trained on the others."""
    order = np.random.default_rng(seed).permutation(len(scores))
    for fold in np.array_split(order, min(folds, len(scores))):
        rest = np.setdiff1d(order, fold)
        predictor = build()
        predictor.fit(x[rest], scores[rest], seed)
        yield fold, predictor
