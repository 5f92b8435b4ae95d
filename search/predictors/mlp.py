"""Predictors P: R^d -> R of efficiency scores of embedded cells (paper, section 3.2), by name; Lipschitz bound (Eq. 6-13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.layers import mlp
from search.core.registry import build_named
from search.core.threads import torch_threads
from search.core.types import Encoder, Predictor, SearchError
from search.predictors.ensemble import EnsemblePredictor, NormalScale, NormalScorePredictor, checked
from search.predictors.graph_ensemble import GraphEnsemblePredictor

MODES = ("retrain", "finetune")


@dataclass(frozen=True)
class LipschitzBound:
    """Eq. 13 for a trained predictor and vectors X [N, d]: variance <= lipschitz^2 * input_variance.

    lipschitz: K of Eq. 6, the product of the layers' spectral norms: an upper bound of the true constant.
    input_variance: E ||X - E X||^2, the trace of the covariance of X. variance: Var P(X).
    """

    lipschitz: float
    input_variance: float
    variance: float

    @property
    def bound(self) -> float:
        """The right-hand side of Eq. 13."""
        return self.lipschitz**2 * self.input_variance

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "bound": self.bound}


@takes_settings("predictor")
class MLPPredictor:
    """Fully connected ReLU network on standardised vectors, trained by mean squared error.

    The mode "retrain" starts every `fit` from new weights; "finetune" goes on from the last ones for a quarter of the steps, as
    the paper does with its enlarged set.
    """

    def __init__(
        self,
        hidden: Annotated[
            Sequence[int], Setting("widths of the hidden layers", item=Setting("", int, at_least=1), length=(1, None))
        ] = (64, 64),
        steps: Annotated[int, Setting("full-batch AdamW steps of a training from new weights", at_least=1)] = 400,
        lr: Annotated[float, Setting("AdamW's learning rate at its highest", above=0)] = 3e-3,
        weight_decay: Annotated[float, Setting("AdamW's", at_least=0)] = 1e-2,
        mode: Annotated[
            str, Setting("whether each round starts from new weights, or goes on from the last ones", choices=MODES)
        ] = "retrain",
    ) -> None:
        self.hidden, self.steps, self.lr, self.weight_decay, self.mode = tuple(hidden), steps, lr, weight_decay, mode
        self.net: nn.Sequential | None = None
        self._shift: np.ndarray = np.zeros(0)
        self._scale: np.ndarray = np.zeros(0)
        self._mean, self._std = 0.0, 1.0

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """Train on vectors [N, d] and scores [N], deterministic by seed.

        Raises ValueError for fewer than 2 of them, or where one is not finite.
        """
        vectors, scores = checked(vectors, scores)
        steps, mean, std = self.steps, float(scores.mean()), max(float(scores.std()), 1e-12)
        with torch_threads(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.net is None or self.mode == "retrain":
                self.net = mlp((vectors.shape[1], *self.hidden, 1))
                # A dimension that is constant in the sample tells nothing: it is left out.
                spread = vectors.std(0)
                constant = spread <= 1e-3 * max(spread.max(), 1e-12)
                self._shift, self._scale = vectors.mean(0), np.where(constant, np.inf, spread)
            else:
                steps = max(1, steps // 4)
                self._rescale_output(mean, std)
            self._mean, self._std = mean, std
            self._train(vectors, (scores - mean) / std, steps)

    def query(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [B, d] -> predicted scores, float64 [B]. Raises RuntimeError before the first `fit`."""
        if self.net is None:
            raise RuntimeError("the predictor is not trained yet: call fit first")
        with torch.inference_mode():
            out = self.net(self._inputs(vectors)).squeeze(1)
        return out.double().numpy() * self._std + self._mean

    def lipschitz_bound(self, vectors: np.ndarray) -> LipschitzBound:
        """Eq. 6-13 on vectors [N, d], in the units of vectors and scores."""
        predicted = self.query(vectors)
        norm = 1.0
        layers = [layer for layer in self.net if isinstance(layer, nn.Linear)]  # type: ignore[union-attr]
        for i, layer in enumerate(layers):
            weight = layer.weight.detach().double().numpy()
            norm *= float(np.linalg.norm(weight / self._scale if i == 0 else weight, 2))
        return LipschitzBound(norm * self._std, float(np.asarray(vectors, np.float64).var(0).sum()), float(predicted.var()))

    def _inputs(self, vectors: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((np.asarray(vectors, np.float64) - self._shift) / self._scale).astype(np.float32))

    def _rescale_output(self, mean: float, std: float) -> None:
        """Put the last layer into new units of score; what the network predicts stays the same."""
        last = self.net[-1]  # type: ignore[index]
        with torch.no_grad():
            last.weight.mul_(self._std / std)
            last.bias.mul_(self._std / std).add_((self._mean - mean) / std)

    def _train(self, vectors: np.ndarray, targets: np.ndarray, steps: int) -> None:
        x, y = self._inputs(vectors), torch.from_numpy(targets.astype(np.float32))
        net = self.net
        optimizer = torch.optim.AdamW(net.parameters(), lr=self.lr, weight_decay=self.weight_decay)  # type: ignore[union-attr]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.mse_loss(net(x).squeeze(1), y).backward()  # type: ignore[misc]
            optimizer.step()
            schedule.step()


@takes_settings("predictor")
class BaggedPredictor(NormalScorePredictor):
    """The mean of `members` predictors, each trained on as many evaluations drawn with replacement; where they do not agree,
    nobody knows. They learn normal scores (`NormalScale`)."""

    def __init__(
        self,
        predictor: Annotated[
            Mapping[str, Any] | None, Setting("type and settings of a member; None for an mlp with its defaults")
        ] = None,
        members: Annotated[int, Setting("predictors whose mean is taken", at_least=2)] = 5,
    ) -> None:
        self.predictor, self.members = dict(predictor or {"type": "mlp"}), members
        self._found = [build_predictor(**self.predictor) for _ in range(members)]  # a mistake is told at once

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """Train on vectors [N, d] and scores [N]. Raises ValueError for fewer than 2 of them, or where one is not finite."""
        vectors, scores = checked(vectors, scores)
        scale, rng = NormalScale(scores), np.random.default_rng(seed)
        self._scale = None  # not trained, if it fails
        for i, member in enumerate(self._found):
            drawn = rng.integers(len(scores), size=len(scores))
            member.fit(vectors[drawn], scale.normal[drawn], seed + i)
        self._scale = scale

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        return self._mean_and_spread(vectors)[0]

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        told = [member.query(vectors) for member in self._found]
        return np.mean(told, axis=0), np.std(told, axis=0)


PREDICTORS: dict[str, Callable[..., Predictor]] = {
    "mlp": MLPPredictor,
    "ensemble": EnsemblePredictor,
    "graph_ensemble": GraphEnsemblePredictor,
    "bagged": BaggedPredictor,
}


def build_predictor(type: str = "mlp", **settings: Any) -> Predictor:
    """A predictor by name. Raises SearchError for an unknown name or setting."""
    return build_named("predictor", PREDICTORS, type, **settings)


GROUPED = ("ensemble", "graph_ensemble")
"""Predictors that weigh groups of the vectors' dimensions."""


def with_groups(settings: Mapping[str, Any], encoder: Encoder) -> dict[str, Any]:
    """Settings of a predictor, and of those within, for vectors of `encoder`: with its `groups`, where it has some and they are
    of use, unless the settings name others. Raises SearchError where the predictor can do nothing with the vectors."""
    told, kind = dict(settings), settings.get("type", "mlp")
    if isinstance(told.get("predictor"), Mapping):
        told["predictor"] = with_groups(told["predictor"], encoder)
    if kind == "graph_ensemble" and not getattr(encoder, "cells", False):
        raise SearchError(f"predictor: {kind} reads cells; expected encoder.type=statistics encoder.cells=True")
    if kind in GROUPED and getattr(encoder, "groups", None):
        told.setdefault("groups", encoder.groups)  # type: ignore[attr-defined]
    if kind in GROUPED and (groups := told.get("groups")) is not None:
        whole = isinstance(groups, Sequence) and all(type(size) is int and size >= 0 for size in groups)
        if not whole or sum(groups) != encoder.dim:
            raise SearchError(f"predictor: groups: expected sizes of {encoder.dim} dimensions in all, found {groups!r}")
    return told


def cross_validated_predictions(
    settings: dict[str, Any], vectors: np.ndarray, scores: np.ndarray, seed: int, folds: int = 5
) -> np.ndarray:
    """Predictions [N] of each score by a predictor that was trained on the other folds: how good the predictor is."""
    return cross_validated_opinions(settings, vectors, scores, seed, folds)[0]


def cross_validated_opinions(
    settings: dict[str, Any], vectors: np.ndarray, scores: np.ndarray, seed: int, folds: int = 5
) -> tuple[np.ndarray, np.ndarray | None]:
    """`cross_validated_predictions`, and their standard deviations [N]; None of a predictor that has no `opinion`."""
    order = np.random.default_rng(seed).permutation(len(scores))
    predicted, deviations = np.empty(len(scores)), np.full(len(scores), np.nan)
    for fold in np.array_split(order, min(folds, len(scores))):
        rest = np.setdiff1d(order, fold)
        predictor = build_predictor(**settings)
        predictor.fit(vectors[rest], scores[rest], seed)
        if hasattr(predictor, "opinion"):
            predicted[fold], deviations[fold] = predictor.opinion(vectors[fold])
        else:
            predicted[fold] = predictor.query(vectors[fold])
    return predicted, None if np.isnan(deviations).all() else deviations
