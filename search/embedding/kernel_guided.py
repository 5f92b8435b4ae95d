"""NASGEM's encoder: fully connected, guided by the Weisfeiler-Lehman kernel (paper, section 3.1)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from search.base import CellArrays, SearchError, Space
from search.embedding.autoencoder import AutoencoderEncoder
from search.wl_kernel import wl_kernel


class KernelGuidedEncoder(AutoencoderEncoder):
    """The autoencoder with the similarity loss of Eq. 3 beside its reconstruction loss: together Eq. 4.

    h: iterations of the kernel. similarity_weight: factor of the similarity loss, whose size is the variance of the kernel, a
    hundredth of that of the reconstruction loss; Eq. 4 has 1. Other settings as in AutoencoderEncoder.
    """

    name = "kernel_guided"

    def __init__(self, space: Space, h: int = 3, similarity_weight: float = 10.0, **settings: Any) -> None:
        if type(h) is not int or h < 0:
            raise SearchError(f"encoder: h: expected a whole number from 0, found {h!r}")
        if not similarity_weight > 0:
            raise SearchError(f"encoder: similarity_weight: expected a number above 0, found {similarity_weight!r}")
        self.h, self.similarity_weight = h, similarity_weight
        super().__init__(space, **settings)

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "h": self.h, "similarity_weight": self.similarity_weight}

    def _kernel(self, a: CellArrays, b: CellArrays) -> Tensor:
        """S_g, Eq. 1, normalised."""
        return torch.from_numpy(wl_kernel(a, b, self.h)).float().to(self.device)

    def _loss(self, a: Tensor, b: Tensor, kernel: Tensor) -> Tensor:
        x, y = self.net["encoder"](a), self.net["encoder"](b)
        similarity = F.mse_loss(F.cosine_similarity(x, y), kernel)  # Eq. 2 and 3
        return self.similarity_weight * similarity + self._reconstruction(a, x) + self._reconstruction(b, y)
