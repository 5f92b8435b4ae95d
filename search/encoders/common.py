"""What the encoders that learn share: the check of a device, and how well vectors follow the Weisfeiler-Lehman kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from gemnet.core.settings import Setting
from search.core.types import CellArrays, Encoder, SearchError
from search.kernel.wl import wl_gram

HELD_OUT_PAIRS = 2000
MAX_WIDTH = 65_536
"""Of a layer: no saved description may ask for more."""

Dim = Annotated[int, Setting("length d of a cell's vector", at_least=1, at_most=MAX_WIDTH)]
Hidden = Annotated[
    Sequence[int],
    Setting(
        "widths of the layers between what is read and the vector, mirrored in the decoder",
        item=Setting("", int, at_least=1, at_most=MAX_WIDTH),
    ),
]
Iterations = Annotated[int, Setting("Adam steps of the training", at_least=1)]
Batch = Annotated[int, Setting("cells of a step", at_least=1)]
LearningRate = Annotated[float, Setting("learning rate at its highest", above=0)]
Epochs = Annotated[int, Setting("passes over the cells", at_least=1)]
H = Annotated[int, Setting("iterations of the Weisfeiler-Lehman kernel", at_least=0)]
Device = Annotated[str, Setting("where torch trains and embeds, such as 'cpu' or 'cuda:0'")]


def check_device(device: str) -> None:
    """Raises SearchError where torch cannot compute on `device`."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SearchError(f"encoder: device: {device!r} cannot be used: {str(error).splitlines()[0]}") from None


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
