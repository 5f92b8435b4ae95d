"""A graph network that ranks cells: messages along edges both ways, and along paths of two edges, trained on pairs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.base import CellArrays
from search.threads import torch_threads

SHARPNESS = 3.0
"""Of the ranking loss: its slope at a tie, in normal scores."""
TIE = 0.02
"""Pairs that differ by less are not ranked, in normal scores."""
CHUNK = 256


class GraphLayer(nn.Module):
    """Pre-normalised residual layer: a node takes from itself, from where its edges lead to and come from, one or two steps."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.messages = nn.Linear(width, 5 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, ways: Tensor) -> Tensor:
        """h: [B, n, width]; ways: [B, n, 5 n], the five matrices of who takes from whom side by side -> [B, n, width]."""
        batch, n, width = h.shape
        messages = self.messages(self.norm(h)).view(batch, n, 5, width).transpose(1, 2).reshape(batch, 5 * n, width)
        return h + self.dropout(self.out(F.silu(ways @ messages)))


class GraphNetwork(nn.Module):
    """Cells -> scores. Equal for isomorphic cells."""

    def __init__(self, kinds: int, width: int, layers: int, dropout: float) -> None:
        """kinds: of operators, the input's among them."""
        super().__init__()
        self.kind = nn.Embedding(kinds + 1, width)  # the first for places without a node
        self.degrees = nn.Linear(4, width)
        self.layers = nn.ModuleList(GraphLayer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, adjacency: Tensor, operators: Tensor) -> Tensor:
        """adjacency: [B, n, n], zeros and ones; operators: int [B, n], -1 where there is no node -> [B]."""
        live = (operators >= 0).unsqueeze(2)
        into, out = adjacency.sum(1), adjacency.sum(2)
        degrees = torch.stack([into, out, (into > 1).float(), (out > 1).float()], dim=2)
        two = (adjacency @ adjacency).clamp(max=1)
        itself = torch.eye(operators.shape[1]).expand_as(adjacency)
        ways = torch.cat([itself, adjacency.mT, adjacency, two.mT, two], dim=2)
        h = (self.kind(operators + 1) + self.degrees(degrees)) * live
        for layer in self.layers:
            h = layer(h, ways) * live
        h = self.norm(h) * live
        ends = live & (out == 0).unsqueeze(2)
        return self.head(torch.cat([h.sum(1) / 4, (h * ends).sum(1), h.amax(1)], dim=1)).squeeze(1)


def train(
    cells: CellArrays, targets: np.ndarray, seed: int, width: int = 64, layers: int = 3, epochs: int = 60, dropout: float = 0.2
) -> GraphNetwork:
    """A network that ranks `cells` by targets [N] of deviation about 1; deterministic by seed, on one thread.

    The loss of a batch is half the mean squared error and the logistic loss of all its pairs. Batches have a twelfth of the
    cells, 16 at least and 64 at most.
    """
    adjacency, operators = _tensors(cells)
    y = torch.from_numpy(targets).float()
    size = min(max(len(y) // 12, 16), 64, len(y))
    steps = epochs * (len(y) // size)
    with torch_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GraphNetwork(int(operators.max()) + 1, width, layers, dropout)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.1)
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).split(size)[: len(y) // size]:
                loss = _loss(network(adjacency[rows], operators[rows]), y[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval()


@torch.inference_mode()
def predict(network: GraphNetwork, cells: CellArrays) -> np.ndarray:
    """B cells -> float64 [B]. An operator that the training set lacks counts as no node's."""
    adjacency, operators = _tensors(cells)
    operators = torch.where(operators < network.kind.num_embeddings - 1, operators, -1)
    parts = [network(adjacency[i : i + CHUNK], operators[i : i + CHUNK]) for i in range(0, len(operators), CHUNK)]
    return torch.cat(parts or [torch.empty(0)]).double().numpy()


def _tensors(cells: CellArrays) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(cells.adjacency).float(), torch.from_numpy(cells.operators).long()


def _loss(found: Tensor, y: Tensor) -> Tensor:
    wanted = y[:, None] - y
    wrong = F.softplus(-SHARPNESS * (found[:, None] - found) * wanted.sign())
    return F.mse_loss(found, y) / 2 + (wrong * (wanted.abs() > TIE)).mean()
