"""A linear map from a latent vector to its graph, beside a decoder: what makes the latent space flat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearReadout(nn.Module):
    """Latent vector -> the type at each of n places, or that there is no node, and the edges between them, by one linear map.

    An encoder that is trained with it as well lays graphs out by what they are made of: those that differ in a node or an edge
    differ by the same vector wherever else they lie.
    """

    def __init__(self, num_types: int, dim: int, places: int) -> None:
        super().__init__()
        self.places, self.types = places, nn.Linear(dim, places * (num_types + 1))
        self.edges = nn.Linear(dim, places * (places - 1) // 2)

    def forward(self, latent: Tensor, types: Tensor, adjacency: Tensor) -> Tensor:
        """latent: [B, d]; types: int64 [B, m], -1 for no node; adjacency: float [B, m, m] -> cross-entropy of all types and
        edges, summed over each graph, in nats [B]. Of graphs of a smaller or a larger space the places that both have count.
        """
        n = min(self.places, types.shape[1])
        logits = self.types(latent).view(len(latent), self.places, -1)[:, :n]
        type_loss = F.cross_entropy(logits.mT, types[:, :n] + 1, reduction="none").sum(1)
        u, v = torch.triu_indices(self.places, self.places, 1, device=latent.device)
        both = v < n
        logits, edges = self.edges(latent)[:, both], adjacency[:, u[both], v[both]]
        return type_loss + F.binary_cross_entropy_with_logits(logits, edges, reduction="none").sum(1)
