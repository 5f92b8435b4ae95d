"""What bootstrap ranks cells by, in the place of the predicted score alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from search.core.types import EncodedCells, Predictor

Acquisition = Callable[[EncodedCells], np.ndarray]
"""B cells -> what they are ranked by, the highest first, float64 [B]: `predict` of a trained predictor, or more."""
FAR = 1e3
"""What cells that are probably too dear are lowered by."""


def upper_confidence_bound(predictor: Predictor, beta: float) -> Acquisition:
    """Scores `beta` standard deviations above the predicted ones: what is not known yet may be good. predictor: trained."""
    return partial(predictor.ucb, beta=beta) if beta else predictor.predict


def affordable_first(score: Acquisition, cost: Acquisition, limit: float) -> Acquisition:
    """`score`, lowered by FAR where a predicted `cost` is above `limit`."""

    def ranked(x: EncodedCells) -> np.ndarray:
        return score(x) - FAR * (cost(x) > limit)

    return ranked
