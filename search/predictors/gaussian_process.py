"""A Gaussian process on vectors whose dimensions come in groups: how much each group matters is learned with the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

GROUP_SPREAD = 0.5
"""Prior deviation of the logarithm of a group's weight: few samples leave the weights nearly as the vectors have them."""
NOISE = 0.08
"""Prior median of the variance of the noise, where the values' is about 1."""
LEAST_NOISE = 1e-4
"""Variance that the noise has at least: without any, as of costs, the covariance could hardly be inverted."""
SINGLE = 1e-7
"""Relative error of a number in 32 bits."""
ITERATIONS = 60
HIGHEST = 300.0
"""Logarithms above are cut off: a step of the minimiser that goes far astray must give numbers, so that it steps back."""
_CHUNK = 1024


class GaussianProcess:
    """Gaussian process with a Matern kernel of smoothness 5/2 of the weighted distance: d^2 = sum over groups w_g^2 d_g^2.

    Weights, amplitude and noise are those of the highest posterior density, likelihood times lognormal priors: w_g around what
    the vectors have (GROUP_SPREAD), all of them times a common factor, amplitude and noise freely (a factor of e). groups:
    sizes of the groups, in the order of the vectors' dimensions; one group if None. subset: vectors that all this is found on,
    where there are more; all of them make the predictions.
    """

    def __init__(self, groups: Sequence[int] | None = None, subset: int = 1000) -> None:
        self.groups, self.subset = groups, subset

    def fit(self, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        """x: [N, d]; y: [N], of mean 0 and deviation about 1. Raises ValueError where the groups are not of d dimensions."""
        groups = [x.shape[1]] if self.groups is None else list(self.groups)
        if sum(groups) != x.shape[1]:
            raise ValueError(f"groups of {sum(groups)} dimensions in all; the vectors have {x.shape[1]}")
        rows = np.random.default_rng(seed).permutation(len(x))[: self.subset]
        parts = np.split(x[rows], np.cumsum(groups)[:-1], axis=1)
        distances = np.stack([_squared_distances(part, part) for part in parts])
        typical = max(float(np.median(distances.sum(0))), 1e-12)
        objective = _Objective(distances / (2 * typical), y[rows])
        found = minimize(objective, objective.start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
        weights, self._noise, self._amplitude = objective.settings(found)
        self.weights = np.sqrt(weights / weights.mean())
        """Of the groups [G], as factors of the vectors, found by the last `fit`; their mean square is 1."""
        self._scale, self._middle = np.repeat(np.sqrt(weights / (2 * typical)), groups), x.mean(0)
        self._x = self._scaled(x)
        covariance = self._kernel(self._x)
        covariance[np.diag_indices(len(x))] += self._noise
        self._factor = cho_factor(covariance, lower=True, overwrite_a=True)
        self._alpha = cho_solve(self._factor, y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """[B, d] -> means [B]; computed in 32 bits where these are enough, which takes a sixth of the time."""
        exact = SINGLE * self._amplitude * np.abs(self._alpha).sum() > 1e-3
        known, alpha = (values.astype(np.float64 if exact else np.float32) for values in (self._x, self._alpha))
        parts = (self._scaled(part).astype(known.dtype) for part in _parts(x))
        found = [_matern(_squared_distances(part, known)) @ alpha for part in parts]
        return self._amplitude * np.concatenate(found).astype(np.float64)

    def deviation(self, x: np.ndarray) -> np.ndarray:
        """[B, d] -> standard deviations [B] of the function, without the noise of its measurements."""
        found = (self._kernel(self._scaled(part)).T for part in _parts(x))
        known = [(solve_triangular(self._factor[0], left, lower=True) ** 2).sum(0) for left in found]
        return np.sqrt(np.maximum(self._amplitude - np.concatenate(known), 1e-9 * self._amplitude))  # 0 but for rounding

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        """As distances are computed of them: around 0, where least is lost."""
        return (x - self._middle) * self._scale

    def _kernel(self, x: np.ndarray) -> np.ndarray:
        """Of scaled vectors [B, d] and those of the training: [B, N]."""
        return self._amplitude * _matern(_squared_distances(x, self._x))


class _Objective:
    """Minus the logarithm of the posterior density, and its gradient, of the logarithms of the groups' weights, of a factor of
    them all, of noise and amplitude; distances: squared, [G, N, N]."""

    def __init__(self, distances: np.ndarray, y: np.ndarray) -> None:
        self.distances, self.y = distances, y
        self.start = np.concatenate([np.zeros(len(distances) + 1), [np.log(NOISE), 0.0]])
        self.spread = np.concatenate([np.full(len(distances), GROUP_SPREAD), np.ones(3)])

    def settings(self, logarithms: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Squared weights [G], noise and amplitude."""
        *weights, factor, noise, amplitude = logarithms
        squared = np.exp(np.minimum(2 * (np.array(weights) + factor), HIGHEST))
        return squared, LEAST_NOISE + float(np.exp(min(noise, HIGHEST))), float(np.exp(min(amplitude, HIGHEST)))

    def __call__(self, logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        weights, noise, amplitude = self.settings(logarithms)
        squared = np.tensordot(weights, self.distances, 1)
        matern, slope = _matern(squared), _matern_slope(squared)
        covariance = amplitude * matern
        covariance[np.diag_indices(len(self.y))] += noise
        factor = cho_factor(covariance, lower=True)
        alpha = cho_solve(factor, self.y)
        outside = (logarithms - self.start) / self.spread
        value = 0.5 * (self.y @ alpha) + np.log(np.diag(factor[0])).sum() + 0.5 * (outside @ outside)
        # The gradient by the covariance is half of its inverse less alpha alpha^T.
        by_covariance = 0.5 * (cho_solve(factor, np.eye(len(self.y))) - np.outer(alpha, alpha))
        by_distance = by_covariance * (amplitude * slope)
        by_weights = 2 * weights * (self.distances.reshape(len(weights), -1) @ by_distance.ravel())
        others = [by_weights.sum(), (noise - LEAST_NOISE) * np.trace(by_covariance), amplitude * (by_covariance * matern).sum()]
        return value, np.concatenate([by_weights, others]) + outside / self.spread


def _matern(squared: np.ndarray) -> np.ndarray:
    """Matern's kernel of smoothness 5/2 of squared distances."""
    root = np.sqrt(5 * squared)
    return (1 + root + root**2 / 3) * np.exp(-root)


def _matern_slope(squared: np.ndarray) -> np.ndarray:
    """Its derivative by the squared distances."""
    root = np.sqrt(5 * squared)
    return -5 / 6 * (1 + root) * np.exp(-root)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of vectors [A, d] and [B, d]: [A, B], by a matrix product, a hundred times faster on long ones than one by one."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T), 0.0)


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + _CHUNK] for start in range(0, len(x), _CHUNK)] or [x]
