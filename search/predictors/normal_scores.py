"""Scores as normal scores: each one's place among the others, as a quantile of the normal distribution.

Scores of cells have a long tail of bad ones, which nobody wants to tell apart. What is learned of them is their place, and a
prediction is mapped back to the scores.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

from search.core.types import EncodedCells, Predictor


class NormalScale:
    """Scores as quantiles of the normal distribution at their ranks, `normal`, and back."""

    def __init__(self, scores: np.ndarray) -> None:
        self.normal = normal_scores(scores)
        self._known, first = np.unique(self.normal, return_index=True)
        self._scores = scores[first]

    def scores(self, normal: np.ndarray) -> np.ndarray:
        """Linear between the scores, and on with the mean slope beyond the best and the worst of them."""
        known, scores = self._known, self._scores
        if len(known) == 1:
            return np.full(len(normal), scores[0])
        slope = (scores[-1] - scores[0]) / (known[-1] - known[0])
        beyond = normal - np.clip(normal, known[0], known[-1])
        return np.interp(normal, known, scores) + slope * beyond


class NormalScorePredictor(Predictor):
    """What predictors of normal scores have in common: they tell scores, and how sure they are. `_scale` is of `fit`."""

    has_std = True
    _scale: NormalScale | None = None

    def predict(self, x: EncodedCells) -> np.ndarray:
        """B cells -> predicted scores, float64 [B]. Raises RuntimeError before the first `fit`."""
        scale = self._trained()
        return scale.scores(self._mean(x)) if len(x) else np.empty(0)

    def predict_with_std(self, x: EncodedCells) -> tuple[np.ndarray, np.ndarray]:
        """B cells -> what `predict` returns, and its standard deviations, float64 [B] both."""
        scale, (means, spread) = self._trained(), self._both(x)
        return scale.scores(means), (scale.scores(means + spread) - scale.scores(means - spread)) / 2

    def ucb(self, x: EncodedCells, beta: float) -> np.ndarray:
        """B cells -> the scores `beta` standard deviations above the predicted ones, float64 [B], added on the normal scale."""
        scale, (means, spread) = self._trained(), self._both(x)
        return scale.scores(means + beta * spread)

    def _trained(self) -> NormalScale:
        if self._scale is None:
            raise RuntimeError("the predictor is not trained yet: call fit first")
        return self._scale

    def _both(self, x: EncodedCells) -> tuple[np.ndarray, np.ndarray]:
        return self._mean_and_std(x) if len(x) else (np.empty(0), np.empty(0))

    def _mean(self, x: EncodedCells) -> np.ndarray:
        """Normal scores [B] of one cell or more."""
        raise NotImplementedError

    def _mean_and_std(self, x: EncodedCells) -> tuple[np.ndarray, np.ndarray]:
        """Normal scores of one cell or more and their standard deviations, [B] both."""
        raise NotImplementedError


def normal_scores(values: np.ndarray) -> np.ndarray:
    """The normal distribution's quantiles at the ranks of values [N]; of equal values the same."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))
