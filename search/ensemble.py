"""The default predictor of the benchmarks: a Gaussian process, boosted trees and randomised trees, averaged on normal scores.

Scores of cells have a long tail of bad ones, which nobody wants to tell apart: what is learned is each score's place among the
others, as a quantile of the normal distribution ("normal scores"), and a prediction is mapped back to the scores. The three
members err in different ways: the process is smooth in all counts at once, boosting finds thresholds and interactions, and
randomised trees are steady at small samples.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.stats import norm, rankdata
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from search.base import SearchError

_CHUNK = 8192


class GaussianProcess:
    """Gaussian process with a squared-exponential kernel; amplitude, length and noise by marginal likelihood.

    subset: vectors that these three are found on, where there are more; all of them make the predictions. Beside scikit-learn's
    own prediction this one takes distances from a matrix product, a hundred times faster on long vectors.
    """

    def __init__(self, subset: int = 600) -> None:
        self.subset = subset

    def fit(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        """x: [N, d]; y: [N], of mean 0 and deviation about 1."""
        rows = np.random.default_rng(seed).permutation(len(x))[: self.subset]
        kernel = ConstantKernel(1.0, (0.1, 100)) * RBF(1.0, (0.05, 50)) + WhiteKernel(0.3, (1e-3, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is an answer
            found = GaussianProcessRegressor(kernel, random_state=seed % 2**32).fit(x[rows], y[rows]).kernel_
        self._amplitude, self._length = found.k1.k1.constant_value, found.k1.k2.length_scale
        self._x = x / self._length
        covariance = self._kernel(self._x)
        covariance[np.diag_indices(len(x))] += found.k2.noise_level
        self._factor = cho_factor(covariance, lower=True, overwrite_a=True)
        self._alpha = cho_solve(self._factor, y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """[B, d] -> means [B]."""
        return np.concatenate([self._kernel(part / self._length) @ self._alpha for part in _parts(x)])

    def deviation(self, x: np.ndarray) -> np.ndarray:
        """[B, d] -> standard deviations [B] of the function, without the noise of its measurements."""
        left = [solve_triangular(self._factor[0], self._kernel(part / self._length).T, lower=True) for part in _parts(x)]
        known = np.concatenate([(part**2).sum(0) for part in left])
        return np.sqrt(np.maximum(self._amplitude - known, 0.0))

    def _kernel(self, x: np.ndarray) -> np.ndarray:
        distances = (x**2).sum(1)[:, None] + (self._x**2).sum(1) - 2 * (x @ self._x.T)
        return self._amplitude * np.exp(-0.5 * np.maximum(distances, 0.0))


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
        return self._trained().scores(self._mean(vectors))

    def opinion(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [B, d] -> what `query` gives, and its standard deviations, float64 [B] both."""
        scale, (means, spread) = self._trained(), self._mean_and_spread(vectors)
        return scale.scores(means), (scale.scores(means + spread) - scale.scores(means - spread)) / 2

    def optimistic(self, vectors: np.ndarray, deviations: float) -> np.ndarray:
        """Vectors [B, d] -> the scores that lie so many standard deviations above the predicted ones, float64 [B]."""
        scale, (means, spread) = self._trained(), self._mean_and_spread(vectors)
        return scale.scores(means + deviations * spread)

    def _trained(self) -> NormalScale:
        if self._scale is None:
            raise RuntimeError("the predictor is not trained yet: call fit first")
        return self._scale

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        """Normal scores [B]."""
        raise NotImplementedError

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normal scores and their standard deviations, [B] both."""
        raise NotImplementedError


class EnsemblePredictor(NormalScorePredictor):
    """Mean of the three members on normal scores, deviations by the process. Deterministic by seed, on any number of cores.

    trees: that are boosted; a third as many are randomised, whose deep trees take the most time. subset: see GaussianProcess.
    """

    MEMBERS = ("Gaussian process", "boosted trees", "randomised trees")

    def __init__(self, trees: int = 300, subset: int = 600) -> None:
        check_whole(2, trees=trees, subset=subset)
        self.trees, self.subset = trees, subset

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """Train on vectors [N, d] and scores [N]. Raises ValueError for fewer than 2 of them, or where one is not finite."""
        x, scores = checked(vectors, scores)
        self._scale = NormalScale(scores)
        y = self._scale.normal
        self._process = GaussianProcess(self.subset)
        self._process.fit(x, y, seed)
        seed %= 2**32
        self._trees = [
            GradientBoostingRegressor(
                n_estimators=self.trees, learning_rate=0.05, max_depth=3, subsample=0.5, max_features=0.2, random_state=seed
            ),
            ExtraTreesRegressor(max(self.trees // 3, 2), max_features=0.3, min_samples_leaf=2, random_state=seed),
        ]
        for trees in self._trees:
            trees.fit(x, y)

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        x = np.asarray(vectors, np.float64)
        found = [self._process.predict(x), *(np.concatenate([trees.predict(p) for p in _parts(x)]) for trees in self._trees)]
        return np.mean(found, axis=0)

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._mean(vectors), self._spread(vectors)

    def _spread(self, vectors: np.ndarray) -> np.ndarray:
        return self._process.deviation(np.asarray(vectors, np.float64))


def check_whole(least: int, **settings: object) -> None:
    """Raises SearchError, with the name, for a setting of a predictor that is no whole number from `least` on."""
    for name, value in settings.items():
        if type(value) is not int or value < least:
            raise SearchError(f"predictor: {name}: expected a whole number from {least}, found {value!r}")


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


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + _CHUNK] for start in range(0, len(x), _CHUNK)] or [x]
