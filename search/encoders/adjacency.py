"""The plain encoding: the flattened adjacency matrix and the operators themselves, nothing learned."""

from __future__ import annotations

import numpy as np

from search.core.types import CellArrays, Encoder, Space
from search.encoders.flat import features, num_features


class AdjacencyEncoder(Encoder):
    """Embeds a cell as its feature vector of zeros and ones (the paper's baseline "adj. matrix", Table 3)."""

    name = "adjacency"

    def __init__(self, space: Space) -> None:
        super().__init__(space, num_features(space))

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""
        return features(self.space, arrays).astype(np.float32)
