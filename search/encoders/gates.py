"""GATES: operators as gates on what flows through a cell, trained to rank scores (Ning et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import Progress, Space
from search.encoders.node_rows import num_kinds, present
from search.encoders.score_learning import ScoreHead, ScoreLearningEncoder, shuffled
from search.encoders.settings import Batch, Device, Dim, Epochs, LearningRate

NODE, KIND, START = 48, 48, 96
"""Widths of a node's information at the start, of an operator's embedding, and of the information before the first layer, as in
GATES's own settings for NAS-Bench-101."""


class GateLayer(nn.Module):
    """Hands the nodes' information on along the edges, gated by the operator of the node that it reaches."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.value = nn.Linear(inputs, outputs, bias=False)
        self.gate = nn.Linear(KIND, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, h: Tensor, into: Tensor, kinds: Tensor) -> Tensor:
        """Information [B, n, inputs]; into [B, n, n], where [b, v, u] is 1 where v reads u; embedded operators [B, n, KIND]
        -> [B, n, outputs]."""
        values = self.value(h)
        return torch.sigmoid(self.gate(kinds)) * (into @ values) + values + self.bias


class GateEncoder(nn.Module):
    """node_rows [B, n, r] -> vectors [B, dim]: the mean information of the nodes behind the input.

    Equal for isomorphic cells.
    """

    def __init__(self, kinds: int, dim: int, layers: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(2, NODE))  # of the input, and of the others
        self.first = nn.Linear(NODE, START)
        self.kind = nn.Linear(kinds, KIND, bias=False)
        self.layers = nn.ModuleList(GateLayer(START if i == 0 else dim, dim) for i in range(layers))

    def forward(self, rows: Tensor) -> Tensor:
        n, nodes = rows.shape[1], present(rows)[:, :, None]
        into, kinds = rows[:, :, :n], self.kind(rows[:, :, n:])
        h = self.first(self.start)[(torch.arange(n, device=rows.device) > 0).long()].expand(len(rows), -1, -1)
        for i, layer in enumerate(self.layers):
            h = layer(h, into, kinds)
            h = F.relu(h) if i < len(self.layers) - 1 else h
        behind = nodes[:, 1:]
        return (h[:, 1:] * behind).sum(1) / behind.sum(1).clamp(min=1)


@takes_settings("encoder")
class GatesEncoder(ScoreLearningEncoder):
    """GATES: its vectors and its head learn which of two cells has the higher score, by a hinge loss of all pairs of a batch.

    It learns from scores alone: before `fit_scores` it has no weights, and a search, which trains its encoder before it has
    any score, cannot take it. The scores that its head tells are good for ranking alone.
    """

    name = "gates"
    needs_scores = True

    def __init__(
        self,
        space: Space,
        *,
        dim: Dim = 128,
        layers: Annotated[int, Setting("steps that information goes", at_least=1, at_most=16)] = 5,
        epochs: Epochs = 200,
        batch: Batch = 128,
        lr: LearningRate = 3e-3,
        margin: Annotated[float, Setting("by which the better of two cells is to be ahead", above=0)] = 0.1,
        device: Device = "cpu",
    ) -> None:
        super().__init__(space, dim, iterations=1, batch=batch, lr=lr, device=device)
        self.layers, self.epochs, self.margin = layers, epochs, margin

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Cells without scores teach it nothing."""
        return {}

    def _new_net(self) -> nn.ModuleDict:
        encoder = GateEncoder(num_kinds(self.space), self.dim, self.layers)
        return nn.ModuleDict({"encoder": encoder, "head": ScoreHead(self.dim)})

    def _trained(self) -> nn.ModuleDict:
        if self.net is None:
            raise RuntimeError("the encoder is not trained yet: call fit_scores first")
        return self.net

    def _score_steps(self, count: int) -> int:
        return self.epochs * max(1, count // self.batch)

    def _score_losses(self, rows: Tensor, targets: Tensor) -> Iterator[Tensor]:
        net = self._trained()
        for batch in shuffled(len(rows), self.batch, self._score_steps(len(rows))):
            told, y = net["head"](net["encoder"](rows[batch])), targets[batch]
            better = y[:, None] > y
            lead = told[:, None] - told
            yield (F.relu(self.margin - lead) * better).sum() / better.sum().clamp(min=1)
