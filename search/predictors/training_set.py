"""The check of what predictors are trained on."""

from __future__ import annotations

import numpy as np

from search.core.types import EncodedCells


def checked(x: EncodedCells, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [N, d] and scores [N] as float64.

    Raises ValueError for fewer than 2, different numbers of them, or where one is not finite.
    """
    vectors, scores = np.asarray(x.vectors, np.float64), np.asarray(scores, np.float64)
    if len(vectors) != len(scores) or len(vectors) < 2:
        raise ValueError(f"expected as many vectors as scores, at least 2; found {len(vectors)} and {len(scores)}")
    if not (np.isfinite(vectors).all() and np.isfinite(scores).all()):
        raise ValueError("vectors and scores must be finite")
    return vectors, scores
