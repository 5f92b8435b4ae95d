"""NASGEM's encoder: fully connected, guided by the Weisfeiler-Lehman kernel (paper, section 3.1)."""

from __future__ import annotations

import math
import sys
from typing import Any

from torch import Tensor

from search.base import CellArrays, SearchError, Space
from search.checks import check_whole
from search.embedding.autoencoder import AutoencoderEncoder
from search.embedding.common import similarity_loss


class KernelGuidedEncoder(AutoencoderEncoder):
    """The autoencoder with the similarity loss of Eq. 3 beside its reconstruction loss: together Eq. 4.

    h: iterations of the kernel. similarity_weight: factor of the similarity loss, whose size is the variance of the kernel, a
    hundredth of that of the reconstruction loss; Eq. 4 has 1. Other settings as in AutoencoderEncoder.
    """

    name = "kernel_guided"

    def __init__(self, space: Space, h: int = 3, similarity_weight: float = 50.0, **settings: Any) -> None:
        check_whole("encoder", 0, sys.maxsize, h=h)
        if not 0 < similarity_weight < math.inf:
            raise SearchError(f"encoder: similarity_weight: expected a finite number above 0, found {similarity_weight!r}")
        self.h, self.similarity_weight = h, similarity_weight
        super().__init__(space, **settings)

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "h": self.h, "similarity_weight": self.similarity_weight}

    def _loss(self, cells: CellArrays, x: Tensor) -> Tensor:
        """Eq. 4, the mean over all pairs i != j of the batch: each pair has one L_s and two L_r."""
        embedded = self.net["encoder"](x)
        return self.similarity_weight * similarity_loss(embedded, cells, self.h) + 2 * self._reconstruction(x, embedded)
