"""The plain encoding: the flattened adjacency matrix and the operators themselves, nothing learned."""

from __future__ import annotations

import os

import numpy as np

from search.core.types import CellArrays, Progress, Space
from search.encoders.flat import features, num_features
from search.encoders.io import save_encoder


class AdjacencyEncoder:
    """Embeds a cell as its feature vector of zeros and ones (the paper's baseline "adj. matrix", Table 3)."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.dim = num_features(space)

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Nothing is learned; returns no figures."""
        return {}

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""
        return features(self.space, arrays).astype(np.float32)

    def save(self, directory: str | os.PathLike[str]) -> None:
        save_encoder(directory, "adjacency", self.space, {}, {}, {})

    def load_weights(self, weights: dict) -> None:
        """There are none to take."""
