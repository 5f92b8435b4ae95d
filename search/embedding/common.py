"""What the encoders that learn share: checks, layers, steps of training, and how well vectors follow the kernel."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from search.base import CellArrays, Encoder, Progress, SearchError
from search.wl_kernel import wl_gram

CHUNK = 8192
"""Cells embedded at a time."""
HELD_OUT_PAIRS = 2000
MAX_WIDTH = 65_536
"""Of a layer: no saved description may ask for more."""


def check_training(dim: int, hidden: Sequence[int], iterations: int, batch: int, lr: float) -> None:
    """Raises SearchError for settings of which no network can be made, or with which none can be trained."""
    counts = {"dim": [dim], "hidden": list(hidden), "iterations": [iterations], "batch": [batch]}
    for label, values in counts.items():
        most = MAX_WIDTH if label in ("dim", "hidden") else sys.maxsize
        if any(type(value) is not int or not 1 <= value <= most for value in values):
            raise SearchError(f"encoder: {label}: expected whole numbers from 1 to {most}, found {values}")
    if not 0 < lr < math.inf:
        raise SearchError(f"encoder: lr: expected a finite number above 0, found {lr!r}")


def check_device(device: str) -> None:
    """Raises SearchError where torch cannot compute on `device`."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SearchError(f"encoder: device: {device!r} cannot be used: {str(error).splitlines()[0]}") from None


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers between these widths, with ReLU between each other."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def minimise(net: nn.Module, losses: Iterable[Tensor], iterations: int, lr: float, progress: Progress | None) -> None:
    """A step of Adam for each of `iterations` losses, with a one-cycle schedule whose peak is lr.

    losses: each is asked for after the step before.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, iterations, pct_start=0.1)
    for done, loss in enumerate(losses, 1):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress and (done % 20 == 0 or done == iterations):
            progress(done, iterations, f"loss {loss.item():.4f}")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """S_e of Eq. 2 of B pairs of vectors [B, d]: float64 [B]."""
    return F.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b)).double().numpy()


def similarity_of(encoder: Encoder) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What is to follow the kernel: the encoder's own `similarity` of vectors, if it has one, or their cosine."""
    return getattr(encoder, "similarity", cosines)


def by_cosines(encoder: Encoder) -> bool:
    """Whether cosines of `dim` numbers are to follow the kernel: those of the vectors, or of what the encoder makes of them."""
    return not getattr(encoder, "inner_products", False)


def kernel_figures(cosine: np.ndarray, kernel: np.ndarray) -> dict[str, float]:
    """How cosines [B] of embedded pairs follow their kernels [B]: "R^2", "Spearman" and "similarity MSE"."""
    error = float(((cosine - kernel) ** 2).mean())
    return {
        "R^2": 1 - error / max(float(kernel.var()), 1e-12),
        "Spearman": float(np.nan_to_num(spearmanr(cosine, kernel).statistic)),
        "similarity MSE": error,
    }


def similarity_loss(embedded: Tensor, cells: CellArrays, h: int) -> Tensor:
    """L_s of Eq. 3, its mean over all pairs i != j of a batch: embedded [B, d] are the vectors of `cells`, h the kernel's
    iterations."""
    unit = F.normalize(embedded)
    kernel = torch.from_numpy(wl_gram(cells, h=h)).float().to(embedded.device)  # S_g, Eq. 1, normalised
    pairs = max(1, len(cells) * (len(cells) - 1))
    return ((unit @ unit.T - kernel) ** 2).sum() / pairs  # Eq. 2 and 3; the diagonal adds nothing
