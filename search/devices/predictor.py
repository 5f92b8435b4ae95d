"""The latency of cells that were not measured, learned from those that were.

Several regressions are tried on the measured cells, and cross-validation chooses. All of them learn relative errors: a
millisecond counts for more in a fast network than in a slow one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import nnls
from scipy.stats import kendalltau

from search.core.types import SearchError
from search.devices.layers import Features

FEWEST = 10
"""Measured cells from which anything is learned."""
MOST = 500
"""Measured cells that are learned from; of more, as many at even steps."""
FOLDS = 5
Matrix = np.ndarray


class Regression(Protocol):
    """Learns positive numbers from features [N, d] that are none below 0."""

    def fit(self, x: Matrix, y: np.ndarray) -> None: ...

    def predict(self, x: Matrix) -> np.ndarray: ...


class LayerSum:
    """Each kind of layer costs so many nanoseconds a piece of work, none below 0: the sum of a fixed part and all layers."""

    def fit(self, x: Matrix, y: np.ndarray) -> None:
        """Least squares of relative errors."""
        self._scale = np.where(x.max(0) > 0, x.max(0), 1)
        self._weights, _ = nnls(self._table(x) / y[:, None], np.ones(len(y)))

    def predict(self, x: Matrix) -> np.ndarray:
        return np.maximum(self._table(x) @ self._weights, np.finfo(float).tiny)

    def _table(self, x: Matrix) -> Matrix:
        return np.column_stack([np.ones(len(x)), x / self._scale])


class Logarithmic:
    """A regression of scikit-learn's, of logarithms of the values on logarithms of the features, standardised."""

    def __init__(self, regressor: Callable[[], Any]) -> None:
        self._regressor = regressor

    def fit(self, x: Matrix, y: np.ndarray) -> None:
        logs = np.log1p(x)
        self._mean, self._std = logs.mean(0), np.where(logs.std(0) > 0, logs.std(0), 1)
        self._level = float(np.log(y).mean())
        self._model = self._regressor()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bound of a kernel's parameter that was reached
            self._model.fit((logs - self._mean) / self._std, np.log(y) - self._level)

    def predict(self, x: Matrix) -> np.ndarray:
        return np.exp(self._level + self._model.predict((np.log1p(x) - self._mean) / self._std))


class Corrected:
    """What `LayerSum` predicts, times what a Gaussian process makes of the rest."""

    def __init__(self) -> None:
        self._sum, self._rest = LayerSum(), Logarithmic(_gaussian_process)

    def fit(self, x: Matrix, y: np.ndarray) -> None:
        self._sum.fit(x, y)
        self._rest.fit(x, y / self._sum.predict(x))

    def predict(self, x: Matrix) -> np.ndarray:
        return self._sum.predict(x) * self._rest.predict(x)


def _gaussian_process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    kernel = ConstantKernel(0.1) * RBF(5.0) + ConstantKernel(0.01) * DotProduct(1.0) + WhiteKernel(1e-3, (1e-6, 1.0))
    return GaussianProcessRegressor(kernel, random_state=0)


def _boosting() -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(n_estimators=200, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=0)


REGRESSIONS: dict[str, Callable[[], Regression]] = {
    "sum of layers": LayerSum,
    "Gaussian process": lambda: Logarithmic(_gaussian_process),
    "sum of layers, corrected by a Gaussian process": Corrected,
    "gradient boosting": lambda: Logarithmic(_boosting),
}
"""What cross-validation chooses from, by name."""


@dataclass(frozen=True)
class Quality:
    """How predicted times of cells that were not learned from compare with their measured ones.

    cells: their number. median_error, error_90: the median, and the 90 % quantile, of the relative errors. kendall_tau: the
    rank correlation.
    """

    cells: int
    median_error: float
    error_90: float
    kendall_tau: float

    @classmethod
    def of(cls, measured: np.ndarray, predicted: np.ndarray) -> Quality:
        errors = np.abs(predicted / measured - 1)
        tau = float(np.nan_to_num(kendalltau(measured, predicted).statistic))
        return cls(len(measured), float(np.median(errors)), float(np.quantile(errors, 0.9)), tau)

    def __str__(self) -> str:
        return (
            f"median error {self.median_error:.1%}, 90 % within {self.error_90:.1%}, Kendall's tau {self.kendall_tau:.3f}"
            f" on {self.cells} held-out cells"
        )


class LatencyPredictor:
    """Predicts milliseconds from features.

    method: the regression that was chosen. held_out: how it does in cross-validation on the cells that it learns from.
    """

    def __init__(self, features: Sequence[Features], milliseconds: Sequence[float] | np.ndarray, source: str) -> None:
        """Choose a regression and train it on N measured cells, deterministic.

        Args:
            features: of the cells.
            milliseconds: of the cells, above 0.
            source: where they are from, for messages.

        Raises:
            SearchError: for fewer than FEWEST cells.
        """
        if len(features) < FEWEST:
            raise SearchError(
                f"{source}: times of {len(features)} cells, from which no others are predicted; measure {FEWEST} or more,"
                " better 50 (gemnet search export-devices)"
            )
        if len(features) > MOST:
            kept = np.linspace(0, len(features) - 1, MOST).astype(int)
            features, milliseconds = [features[i] for i in kept], [milliseconds[i] for i in kept]
        self._names = sorted({name for one in features for name in one})
        x, y = self._matrix(features), np.asarray(milliseconds, float)
        told = {name: _cross_validated(make, x, y) for name, make in REGRESSIONS.items()}
        self.method = min(told, key=lambda name: float(np.abs(np.log(told[name] / y)).mean()))
        self.held_out = Quality.of(y, told[self.method])
        self._regression = REGRESSIONS[self.method]()
        self._regression.fit(x, y)

    def predict(self, features: Sequence[Features]) -> np.ndarray:
        """Milliseconds of B cells, float64 [B], above 0."""
        return self._regression.predict(self._matrix(features))

    def _matrix(self, features: Sequence[Features]) -> Matrix:
        return np.array([[float(one.get(name, 0)) for name in self._names] for one in features])


def _cross_validated(make: Callable[[], Regression], x: Matrix, y: np.ndarray) -> np.ndarray:
    """What is predicted of each cell by a regression that has not seen it, [N]."""
    predicted = np.empty(len(y))
    for rest, held_out in _folds(len(y)):
        regression = make()
        regression.fit(x[rest], y[rest])
        predicted[held_out] = regression.predict(x[held_out])
    return predicted


def _folds(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(0).permutation(count)
    for fold in np.array_split(order, FOLDS):
        yield np.setdiff1d(order, fold), fold
