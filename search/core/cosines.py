"""Cosines of vectors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """S_e of Eq. 2 of B pairs of vectors [B, d]: float64 [B]."""
    return F.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b)).double().numpy()
