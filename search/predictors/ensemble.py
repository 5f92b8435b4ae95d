"""The default predictor of searches in benchmarks: a Gaussian process and boosted trees, averaged on normal scores.

The members err in different ways: the process is smooth in all numbers at once, boosting finds thresholds and interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import EncodedCells, Encoder, SearchError
from search.predictors.gaussian_process import GaussianProcess
from search.predictors.normal_scores import NormalScale, NormalScorePredictor
from search.predictors.training_set import checked

Trees = Annotated[int, Setting("trees that are boosted", at_least=2)]
Subset = Annotated[int, Setting("cells that the Gaussian process finds its weights on, where there are more", at_least=2)]
Groups = Annotated[
    Sequence[int] | None,
    Setting(
        "sizes of the groups of numbers in a vector, each weighed by itself; None for the encoder's own",
        item=Setting("", int, at_least=0),
    ),
]


@takes_settings("predictor")
class EnsemblePredictor(NormalScorePredictor):
    """Weighted mean of the members on normal scores, standard deviations by the process. Deterministic by seed; on another
    number of threads the last digits may differ."""

    PROCESS, TREES = 2.0, 1.0
    """Weights of the members."""

    def __init__(self, trees: Trees = 300, subset: Subset = 1000, groups: Groups = None) -> None:
        self.trees, self.subset, self.groups = trees, subset, groups

    def check_encoder(self, encoder: Encoder) -> None:
        """Raises SearchError where the groups are not of the vectors of `encoder`."""
        if self.groups is not None and sum(self.groups) != encoder.dim:
            raise SearchError(f"predictor: groups: expected sizes of {encoder.dim} dimensions in all, found {self.groups!r}")

    def fit(self, x: EncodedCells, scores: np.ndarray, seed: int) -> None:
        """Train on N cells and their scores [N]. Raises ValueError for fewer than 2 of them, or where one is not finite."""
        vectors, scores = checked(x, scores)
        scale, groups = NormalScale(scores), x.groups if self.groups is None else self.groups
        self._scale = None  # not trained, if it fails
        self._process = GaussianProcess(groups, self.subset)
        self._process.fit(vectors, scale.normal, seed)
        self._boosted = GradientBoostingRegressor(
            n_estimators=self.trees, learning_rate=0.05, max_depth=3, subsample=0.5, max_features=0.2, random_state=seed % 2**32
        ).fit(vectors, scale.normal)
        self._scale = scale

    def _mean(self, x: EncodedCells) -> np.ndarray:
        vectors = np.asarray(x.vectors, np.float64)
        found = self.PROCESS * self._process.predict(vectors) + self.TREES * self._boosted.predict(vectors)
        return found / (self.PROCESS + self.TREES)

    def _mean_and_std(self, x: EncodedCells) -> tuple[np.ndarray, np.ndarray]:
        return self._mean(x), self._process.deviation(np.asarray(x.vectors, np.float64))
