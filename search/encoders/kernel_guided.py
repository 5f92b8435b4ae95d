"""NASGEM's encoder: fully connected, guided by the Weisfeiler-Lehman kernel (paper, section 3.1)."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import CellArrays, Space
from search.encoders.autoencoder import AutoencoderEncoder
from search.encoders.settings import H
from search.encoders.similarity import similarity_loss


@takes_settings("encoder")
class KernelGuidedEncoder(AutoencoderEncoder):
    """The autoencoder with the similarity loss of Eq. 3 beside its reconstruction loss: together Eq. 4.

    The size of the similarity loss is the variance of the kernel, a hundredth of that of the reconstruction loss; where its
    factor is 50 here, Eq. 4 has 1.
    """

    name = "kernel_guided"

    def __init__(
        self,
        space: Space,
        *,
        h: H = 3,
        similarity_weight: Annotated[float, Setting("factor of the similarity loss", above=0)] = 50.0,
        **settings: Annotated[Any, AutoencoderEncoder],
    ) -> None:
        self.h, self.similarity_weight = h, similarity_weight
        super().__init__(space, **settings)

    def _loss(self, cells: CellArrays, x: Tensor) -> Tensor:
        """Eq. 4, the mean over all pairs i != j of the batch: each pair has one L_s and two L_r."""
        embedded = self._trained()["encoder"](x)
        return self.similarity_weight * similarity_loss(embedded, cells, self.h) + 2 * self._reconstruction(x, embedded)
