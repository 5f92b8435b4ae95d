"""The loss that SVGe is trained by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search.core.types import CellArrays
from search.encoders.similarity import similarity_loss


@dataclass(frozen=True)
class Loss:
    """Losses of a batch of graphs, by the weights that `SVGe` describes."""

    noise: float
    kl_weight: float
    edge_weight: float
    similarity_weight: float
    h: int
    half_precision: bool
    readout: float

    def __call__(
        self,
        net: nn.ModuleDict,
        types: Tensor,
        adjacency: Tensor,
        generator: torch.Generator | None = None,
        cells: CellArrays | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses, means over the graphs, and the means of the latent vectors [B, dim]. No noise without a generator, no
        similarity loss without `cells`, the same graphs."""
        adjacency = adjacency.float()
        with torch.autocast(types.device.type, torch.bfloat16, enabled=self.half_precision):
            mean, log_variance = (value.float() for value in net["encoder"](types, adjacency))
            latent = mean
            if generator is not None:
                noise = torch.randn(mean.shape, generator=generator).to(mean.device)
                latent = mean + self.noise * noise * (0.5 * log_variance).exp()
            losses = net["decoder"](latent, types, adjacency)
        reconstruction = 2 * ((1 - self.edge_weight) * losses.types + self.edge_weight * losses.edges).mean()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        figures = {
            "loss": reconstruction + self.kl_weight * divergence,
            "reconstruction loss": reconstruction,
            "KL divergence": divergence,
            "types right": losses.types_right,
            "edges right": losses.edges_right,
        }
        if self.readout:
            figures["readout loss"] = net["readout"](latent, types, adjacency).mean()
            figures["loss"] = figures["loss"] + self.readout * figures["readout loss"]
        if cells is not None:
            figures["similarity loss"] = similarity_loss(mean, cells, self.h)
            figures["loss"] = figures["loss"] + self.similarity_weight * figures["similarity loss"]
        return figures, mean
