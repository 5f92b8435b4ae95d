"""Several predictors of one kind in the place of one: what they do not agree on, none of them knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import EncodedCells, Encoder
from search.predictors import build_predictor
from search.predictors.normal_scores import NormalScale, NormalScorePredictor
from search.predictors.training_set import checked


@takes_settings("predictor")
class BaggedPredictor(NormalScorePredictor):
    """The mean of `members` predictors of normal scores, each trained on as many evaluations drawn with replacement; their
    standard deviation is the prediction's."""

    def __init__(
        self,
        predictor: Annotated[
            Mapping[str, Any] | None, Setting("type and settings of a member; None for an mlp with its defaults")
        ] = None,
        members: Annotated[int, Setting("predictors whose mean is taken", at_least=2)] = 5,
    ) -> None:
        self.predictor, self.members = dict(predictor or {"type": "mlp"}), members
        self._found = [build_predictor(**self.predictor) for _ in range(members)]  # a mistake is told at once

    def check_encoder(self, encoder: Encoder) -> None:
        """Raises SearchError where a member does."""
        self._found[0].check_encoder(encoder)

    def fit(self, x: EncodedCells, scores: np.ndarray, seed: int) -> None:
        """Train on N cells and their scores [N]. Raises ValueError for fewer than 2 of them, or where one is not finite."""
        _, scores = checked(x, scores)
        scale, rng = NormalScale(scores), np.random.default_rng(seed)
        self._scale = None  # not trained, if it fails
        for i, member in enumerate(self._found):
            drawn = rng.integers(len(scores), size=len(scores))
            member.fit(x[drawn], scale.normal[drawn], seed + i)
        self._scale = scale

    def _mean(self, x: EncodedCells) -> np.ndarray:
        return self._mean_and_std(x)[0]

    def _mean_and_std(self, x: EncodedCells) -> tuple[np.ndarray, np.ndarray]:
        found = [member.predict(x) for member in self._found]
        return np.mean(found, axis=0), np.std(found, axis=0)
