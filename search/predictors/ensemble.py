"""The default predictor of searches in benchmarks: a Gaussian process and boosted trees, averaged on normal scores.

Scores of cells have a long tail of bad ones, which nobody wants to tell apart: what is learned is each score's place among the
others, as a quantile of the normal distribution ("normal scores"), and a prediction is mapped back to the scores. The members
err in different ways: the process is smooth in all numbers at once, boosting finds thresholds and interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.ensemble import GradientBoostingRegressor

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.predictors.gaussian_process import GaussianProcess

Trees = Annotated[int, Setting("trees that are boosted", at_least=2)]
Subset = Annotated[int, Setting("cells that the Gaussian process finds its weights on, where there are more", at_least=2)]
Groups = Annotated[
    Sequence[int] | None,
    Setting(
        "sizes of the groups of numbers in a vector, each weighed by itself; None for the encoder's own",
        item=Setting("", int, at_least=0),
    ),
]


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


class NormalScorePredictor:
    """What predictors of normal scores have in common: they say it in scores. `_scale` is of `fit`."""

    _scale: NormalScale | None = None

    def query(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [B, d] -> predicted scores, float64 [B]. Raises RuntimeError before the first `fit`."""
        scale = self._trained()
        return scale.scores(self._mean(vectors)) if len(vectors) else np.empty(0)

    def opinion(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [B, d] -> what `query` gives, and its standard deviations, float64 [B] both."""
        scale, (means, spread) = self._trained(), self._both(vectors)
        return scale.scores(means), (scale.scores(means + spread) - scale.scores(means - spread)) / 2

    def optimistic(self, vectors: np.ndarray, deviations: float) -> np.ndarray:
        """Vectors [B, d] -> the scores that lie so many standard deviations above the predicted ones, float64 [B]."""
        scale, (means, spread) = self._trained(), self._both(vectors)
        return scale.scores(means + deviations * spread)

    def _trained(self) -> NormalScale:
        if self._scale is None:
            raise RuntimeError("the predictor is not trained yet: call fit first")
        return self._scale

    def _both(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._mean_and_spread(vectors) if len(vectors) else (np.empty(0), np.empty(0))

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        """Normal scores [B] of one vector or more."""
        raise NotImplementedError

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normal scores of one vector or more and their standard deviations, [B] both."""
        raise NotImplementedError


@takes_settings("predictor")
class EnsemblePredictor(NormalScorePredictor):
    """Weighted mean of the members on normal scores, deviations by the process. Deterministic by seed; on another number of
    threads the last digits may differ."""

    PROCESS, TREES = 2.0, 1.0
    """Weights of the members."""

    def __init__(self, trees: Trees = 300, subset: Subset = 1000, groups: Groups = None) -> None:
        self.trees, self.subset, self.groups = trees, subset, groups

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """Train on vectors [N, d] and scores [N]. Raises ValueError for fewer than 2 of them, or where one is not finite."""
        x, scores = checked(vectors, scores)
        self._fit(x, NormalScale(scores), seed)

    def _fit(self, x: np.ndarray, scale: NormalScale, seed: int) -> None:
        self._scale, y = None, scale.normal  # not trained, if it fails
        self._process = GaussianProcess(self.groups, self.subset)
        self._process.fit(x, y, seed)
        self._boosted = GradientBoostingRegressor(
            n_estimators=self.trees, learning_rate=0.05, max_depth=3, subsample=0.5, max_features=0.2, random_state=seed % 2**32
        ).fit(x, y)
        self._scale = scale

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        x = np.asarray(vectors, np.float64)
        found = self.PROCESS * self._process.predict(x) + self.TREES * self._boosted.predict(x)
        return found / (self.PROCESS + self.TREES)

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._mean(vectors), self._spread(vectors)

    def _spread(self, vectors: np.ndarray) -> np.ndarray:
        return self._process.deviation(np.asarray(vectors, np.float64))


def normal_scores(values: np.ndarray) -> np.ndarray:
    """The normal distribution's quantiles at the ranks of values [N]; of equal values the same."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))


def checked(vectors: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ValueError for fewer than 2, different numbers of them, or where one is not finite."""
    vectors, scores = np.asarray(vectors, np.float64), np.asarray(scores, np.float64)
    if len(vectors) != len(scores) or len(vectors) < 2:
        raise ValueError(f"expected as many vectors as scores, at least 2; found {len(vectors)} and {len(scores)}")
    if not (np.isfinite(vectors).all() and np.isfinite(scores).all()):
        raise ValueError("vectors and scores must be finite")
    return vectors, scores
