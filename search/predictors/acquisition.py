"""What bootstrap ranks cells by, in the place of the predicted score alone."""

from __future__ import annotations

import numpy as np

from search.core.types import Predictor


class Optimistic:
    """The scores that lie `deviations` standard deviations above the predicted ones: what is not known yet may be good.

    predictor: trained already, with `optimistic`, which those have that know how sure they are.
    """

    def __init__(self, predictor: Predictor, deviations: float) -> None:
        self.predictor, self.deviations = predictor, deviations

    def query(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [B, d] -> scores, float64 [B]."""
        return self.predictor.optimistic(vectors, self.deviations)  # type: ignore[attr-defined]


class AffordableFirst:
    """Predictions of one predictor, lowered by FAR where another predicts a cost above `limit`. Both are trained already."""

    FAR = 1e3

    def __init__(self, scores: Predictor | Optimistic, costs: Predictor, limit: float) -> None:
        self.scores, self.costs, self.limit = scores, costs, limit

    def query(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [B, d] -> predicted scores, float64 [B]."""
        return self.scores.query(vectors) - self.FAR * (self.costs.query(vectors) > self.limit)
