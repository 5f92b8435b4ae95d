"""Accuracy from latent vectors: a sparse Gaussian process, the fine-tuned network, and how well they predict."""

from __future__ import annotations

import copy
import os
import warnings

import numpy as np
from scipy.stats import kendalltau, norm, pearsonr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import BayesianRidge

from search.core.types import Progress, SearchError
from search.encoders.svge.model import SVGe
from search.encoders.svge.training import Plan
from search.experiments.svge.tasks import Task

FINE_TUNED = 1000
"""Cells that the network is fine-tuned on, as the authors have it."""


class SparseGaussianProcess:
    """Projected process (Rasmussen and Williams, section 8.3.4) with a squared-exponential kernel, of scikit-learn's parts.

    Inducing points are drawn from the training vectors. The kernel's length, one for all dimensions, is the one of highest
    marginal likelihood of an exact process on these points alone, sought again from the best of several lengths where it ends
    below that; given it, the projected process is Bayesian linear regression on Nystroem's features, whose noise and signal are
    found from all training vectors. A length for each dimension, as D-VAE has it, predicted worse (0.446 instead of 0.433 RMSE
    on ENAS with 500 points) and took four times as long.
    """

    def __init__(self, inducing: int = 500, seed: int = 0) -> None:
        if inducing < 2:
            raise SearchError(f"Gaussian process: inducing: expected a number from 2, found {inducing}")
        self.inducing, self.seed = inducing, seed

    def fit(self, vectors: np.ndarray, values: np.ndarray) -> SparseGaussianProcess:
        """vectors: [N, d]; values: [N]. Raises SearchError for fewer than 2 of them, or where one is not finite."""
        vectors, values = np.asarray(vectors, np.float64), np.asarray(values, np.float64)
        if vectors.ndim != 2 or values.shape != vectors.shape[:1] or len(values) < 2:
            shapes = f"{list(vectors.shape)} and {list(values.shape)}"
            raise SearchError(f"Gaussian process: expected vectors [N, d] and values [N], N from 2, found {shapes}")
        if not (np.isfinite(vectors).all() and np.isfinite(values).all()):
            raise SearchError("Gaussian process: expected finite vectors and values")
        self._shift, self._unit = vectors.mean(0), max(float(vectors.std(0).max()), 1e-12)
        self._mean, self._deviation = float(values.mean()), max(float(values.std()), 1e-12)
        x, y = (vectors - self._shift) / self._unit, (values - self._mean) / self._deviation
        count = min(self.inducing, len(x))
        some = np.random.default_rng(self.seed).permutation(len(x))[:count]
        length, bounds = float(np.sqrt(x.shape[1])), (1e-2, 1e3)
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(length, bounds) + WhiteKernel(0.1, (1e-5, 1e1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is as good as any beyond
            exact = GaussianProcessRegressor(kernel, random_state=self.seed).fit(x[some], y[some])
            starts = [np.log([signal, part * length, 1 - signal]) for signal in (0.3, 0.9) for part in (0.25, 0.5, 1, 2)]
            best = max(starts, key=exact.log_marginal_likelihood)
            if exact.log_marginal_likelihood(best) > exact.log_marginal_likelihood_value_:  # a few outliers can mislead it
                exact = GaussianProcessRegressor(kernel.clone_with_theta(best), random_state=self.seed).fit(x[some], y[some])
        scale = exact.kernel_.k1.k2.length_scale
        self._unit, x = self._unit * scale, x / scale
        self._features = Nystroem("rbf", gamma=0.5, n_components=count, random_state=self.seed).fit(x)
        self._line = BayesianRidge().fit(self._features.transform(x), y)
        return self

    def predict(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the value without noise at vectors [B, d]: float64 [B] each."""
        features = self._features.transform((np.asarray(vectors, np.float64) - self._shift) / self._unit)
        mean, deviation = self._line.predict(features, return_std=True)
        variance = deviation**2 - 1 / self._line.alpha_
        variance += np.maximum(0, 1 - (features**2).sum(1)) / self._line.lambda_  # what no inducing point is near to
        return mean * self._deviation + self._mean, np.sqrt(np.maximum(variance, 1e-12)) * self._deviation


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """E max(0, f - best) of normal f, [B]."""
    z = (mean - best) / deviation
    return (mean - best) * norm.cdf(z) + deviation * norm.pdf(z)


def agreement(predicted: np.ndarray, measured: np.ndarray, deviation: float) -> dict[str, float]:
    """RMSE in units of `deviation`, the training accuracies', Pearson's r and Kendall's tau; both are 0 for a constant."""
    error = float(np.sqrt(((predicted - measured) ** 2).mean())) / deviation
    if not (np.ptp(predicted) and np.ptp(measured)):
        return {"RMSE": error, "Pearson": 0.0, "Kendall": 0.0}
    r, tau = pearsonr(predicted, measured).statistic, kendalltau(predicted, measured).statistic
    return {"RMSE": error, "Pearson": float(r), "Kendall": float(tau)}


def accuracy_process(model: SVGe, task: Task, seed: int, inducing: int, cells: int) -> SparseGaussianProcess:
    """A sparse Gaussian process that knows the accuracies at the latent vectors of `cells` training graphs at most, those that
    `fine_tuned` takes."""
    train = task.known(task.train)
    known = train[np.sort(np.random.default_rng((seed, 2)).permutation(len(train))[:cells])]
    return SparseGaussianProcess(inducing, seed).fit(model.embed(task.graphs[known]), task.accuracies[known])


def gaussian_process_figures(model: SVGe, task: Task, seed: int, inducing: int, cells: int) -> dict[str, float]:
    """`agreement` on the test graphs of `accuracy_process`."""
    train, test = task.known(task.train), task.known(task.test)
    predicted, _ = accuracy_process(model, task, seed, inducing, cells).predict(model.embed(task.graphs[test]))
    return agreement(predicted, task.accuracies[test], task.accuracies[train].std())


def fine_tuned(
    model: SVGe,
    task: Task,
    seed: int,
    cells: int = FINE_TUNED,
    plan: Plan | None = None,
    progress: Progress | None = None,
    directory: str | os.PathLike[str] | None = None,
    threads: int = 1,
) -> SVGe:
    """A copy of the model, fine-tuned with the network 56-28-14-7-1 on the accuracies of `cells` training graphs. plan,
    progress, directory, threads: see `SVGe.fine_tune`."""
    train = task.known(task.train)
    chosen = np.random.default_rng((seed, 2)).permutation(train)[:cells]
    tuned = copy.deepcopy(model)
    tuned.fine_tune(task.graphs[chosen], task.accuracies[chosen], seed, progress, plan, directory=directory, threads=threads)
    return tuned


def network_figures(tuned: SVGe, task: Task) -> dict[str, float]:
    """`agreement` of a fine-tuned model on the test graphs."""
    train, test = task.known(task.train), task.known(task.test)
    predicted = tuned.predict(tuned.embed(task.graphs[test]))
    return agreement(predicted, task.accuracies[test], task.accuracies[train].std())
