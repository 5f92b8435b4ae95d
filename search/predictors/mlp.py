"""The paper's predictor P: R^d -> R of efficiency scores (section 3.2), and its Lipschitz bound (Eq. 6-13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import torch
from torch import nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.layers import mlp
from search.core.threads import torch_threads
from search.core.types import EncodedCells, Predictor
from search.predictors.training_set import checked

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
class MLPPredictor(Predictor):
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

    def fit(self, x: EncodedCells, scores: np.ndarray, seed: int) -> None:
        """Train on N cells and their scores [N], deterministic by seed.

        Raises ValueError for fewer than 2 of them, or where one is not finite.
        """
        vectors, scores = checked(x, scores)
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

    def predict(self, x: EncodedCells) -> np.ndarray:
        """B cells -> predicted scores, float64 [B]. Raises RuntimeError before the first `fit`."""
        net = self._trained()
        with torch.inference_mode():
            out = net(self._inputs(x.vectors)).squeeze(1)
        return out.double().numpy() * self._std + self._mean

    def summary(self, x: EncodedCells) -> dict[str, float]:
        """The Lipschitz bound on the vectors of N cells, by name."""
        return self.lipschitz_bound(x).as_dict()

    def lipschitz_bound(self, x: EncodedCells) -> LipschitzBound:
        """Eq. 6-13 on the vectors of N cells, in the units of vectors and scores."""
        predicted = self.predict(x)
        norm = 1.0
        for i, layer in enumerate(self._layers()):
            weight = layer.weight.detach().double().numpy()
            norm *= float(np.linalg.norm(weight / self._scale if i == 0 else weight, 2))
        return LipschitzBound(norm * self._std, float(np.asarray(x.vectors, np.float64).var(0).sum()), float(predicted.var()))

    def _trained(self) -> nn.Sequential:
        if self.net is None:
            raise RuntimeError("the predictor is not trained yet: call fit first")
        return self.net

    def _layers(self) -> list[nn.Linear]:
        """Those with weights, in their order."""
        return [layer for layer in self._trained() if isinstance(layer, nn.Linear)]

    def _inputs(self, vectors: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((np.asarray(vectors, np.float64) - self._shift) / self._scale).astype(np.float32))

    def _rescale_output(self, mean: float, std: float) -> None:
        """Put the last layer into new units of score; what the network predicts stays the same."""
        last = self._layers()[-1]
        with torch.no_grad():
            last.weight.mul_(self._std / std)
            last.bias.mul_(self._std / std).add_((self._mean - mean) / std)

    def _train(self, vectors: np.ndarray, targets: np.ndarray, steps: int) -> None:
        x, y = self._inputs(vectors), torch.from_numpy(targets.astype(np.float32))
        net = self._trained()
        optimizer = torch.optim.AdamW(net.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.mse_loss(net(x).squeeze(1), y).backward()
            optimizer.step()
            schedule.step()
