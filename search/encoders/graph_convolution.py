"""NGE's encoder: graph convolutions over a cell, from which its edges and operators are told again (Li et al., AAAI 2020)."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.layers import mlp
from search.core.types import Space
from search.encoders.node_rows import ReconstructingEncoder, num_kinds, present
from search.encoders.score_learning import part
from search.encoders.settings import Batch, Device, Dim, Iterations, LearningRate


class ConvolutionEncoder(nn.Module):
    """node_rows [B, n, r] -> vectors [B, dim]: the mean of the nodes after graph convolutions.

    The convolutions are those of Kipf and Welling (ICLR 2017), without the directions of edges. A node begins as its place and
    its kind, both one-hot, as NGE numbers the nodes of a cell.
    """

    def __init__(self, nodes: int, kinds: int, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(nodes + kinds if i == 0 else dim, dim) for i in range(layers))

    def states(self, rows: Tensor) -> Tensor:
        """node_rows [B, n, r] -> [B, n, dim], of each node; zeros where there is none."""
        n, nodes = rows.shape[1], present(rows)
        places = torch.eye(n, device=rows.device).expand(len(rows), n, n)
        h = torch.cat([places, rows[:, :, n:]], dim=2) * nodes[:, :, None]
        neighbours = rows[:, :, :n] + rows[:, :, :n].mT + torch.diag_embed(nodes.float())
        scale = neighbours.sum(2).clamp(min=1).rsqrt()
        spread = scale[:, :, None] * neighbours * scale[:, None]  # D^-1/2 (A + A^T + I) D^-1/2
        for i, layer in enumerate(self.layers):
            h = spread @ layer(h)
            h = F.relu(h) if i < len(self.layers) - 1 else h
        return h * nodes[:, :, None]

    def forward(self, rows: Tensor) -> Tensor:
        return self.states(rows).sum(1) / present(rows).sum(1, keepdim=True)


class PairDecoder(nn.Module):
    """Tells an edge from the states of its two nodes side by side, as NGE does, and a kind from that of its node."""

    def __init__(self, kinds: int, dim: int) -> None:
        super().__init__()
        self.edge = mlp((2 * dim, dim, 1))
        self.kind = nn.Linear(dim, kinds)

    def forward(self, states: Tensor) -> Tensor:
        """[B, n, dim] -> logits [B, n, n + kinds]."""
        n = states.shape[1]
        pairs = torch.cat([states[:, :, None].expand(-1, n, n, -1), states[:, None].expand(-1, n, n, -1)], dim=3)
        return torch.cat([self.edge(pairs).squeeze(3), self.kind(states)], dim=2)


@takes_settings("encoder")
class GCNEncoder(ReconstructingEncoder):
    """NGE's graph convolutions and pairs of nodes, trained to reconstruct random cells.

    NGE trains them with the weights of the network that it searches; here no such network is trained, and the adjacency
    matrix and the operators are what is told from the nodes, as in a graph autoencoder (Kipf and Welling, 2016).
    """

    name = "gcn"

    def __init__(
        self,
        space: Space,
        *,
        dim: Dim = 50,
        layers: Annotated[int, Setting("graph convolutions", at_least=1, at_most=16)] = 3,
        iterations: Iterations = 1000,
        batch: Batch = 128,
        lr: LearningRate = 5e-3,
        device: Device = "cpu",
    ) -> None:
        super().__init__(space, dim, iterations=iterations, batch=batch, lr=lr, device=device)
        self.layers = layers

    def _new_net(self) -> nn.ModuleDict:
        kinds = num_kinds(self.space)
        encoder = ConvolutionEncoder(self.space.num_nodes, kinds, self.dim, self.layers)
        return nn.ModuleDict({"encoder": encoder, "decoder": PairDecoder(kinds, self.dim)})

    def _logits(self, rows: Tensor) -> Tensor:
        encoder, decoder = (part(self._trained(), name) for name in ("encoder", "decoder"))
        return decoder(encoder.states(rows))
