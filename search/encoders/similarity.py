"""How well vectors follow the Weisfeiler-Lehman kernel, and the loss that makes them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from search.core.types import CellArrays
from search.kernel.wl import wl_gram

HELD_OUT_PAIRS = 2000
"""Pairs of random cells that figures are taken from."""


def kernel_figures(cosine: np.ndarray, kernel: np.ndarray) -> dict[str, float]:
    """How cosines [B] of embedded pairs follow their kernels [B]: "R^2", "Spearman" and "similarity MSE"."""
    error = float(((cosine - kernel) ** 2).mean())
    differ = len(cosine) > 1 and np.ptp(cosine) > 0 and np.ptp(kernel) > 0  # else there is no order to compare
    return {
        "R^2": 1 - error / max(float(kernel.var()), 1e-12),
        "Spearman": float(np.nan_to_num(spearmanr(cosine, kernel).statistic)) if differ else 0.0,
        "similarity MSE": error,
    }


def similarity_loss(embedded: Tensor, cells: CellArrays, h: int) -> Tensor:
    """L_s of Eq. 3, its mean over all pairs i != j of a batch: embedded [B, d] are the vectors of `cells`, h the kernel's
    iterations."""
    unit = F.normalize(embedded)
    kernel = torch.from_numpy(wl_gram(cells, h=h)).float().to(embedded.device)  # S_g, Eq. 1, normalised
    pairs = max(1, len(cells) * (len(cells) - 1))
    return ((unit @ unit.T - kernel) ** 2).sum() / pairs  # Eq. 2 and 3; the diagonal adds nothing
