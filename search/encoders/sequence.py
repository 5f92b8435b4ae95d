"""NAO's encoder: an LSTM over a cell's nodes, with a decoder and a predictor of scores (Luo et al., NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import Space
from search.encoders.node_rows import ReconstructingEncoder, num_kinds, present, reconstruction
from search.encoders.score_learning import ScoreHead, ScoreLearningEncoder, part, shuffled
from search.encoders.settings import Batch, Device, Dim, Iterations, LearningRate

TOKEN = 32
"""Width of what is read of one node, as in NAO."""


class SequenceEncoder(nn.Module):
    """node_rows [B, n, r] -> vectors [B, dim] of length 1: the mean of what an LSTM says after each node."""

    def __init__(self, row: int, dim: int) -> None:
        super().__init__()
        self.read = nn.Linear(row, TOKEN, bias=False)  # a token for each edge and kind, summed
        self.lstm = nn.LSTM(TOKEN, dim, batch_first=True)

    def states(self, rows: Tensor) -> Tensor:
        """node_rows [B, n, r] -> [B, n, dim], after each node; zeros where there is none."""
        out, _ = self.lstm(self.read(rows))
        return F.normalize(out, dim=2) * present(rows)[:, :, None]

    def forward(self, rows: Tensor) -> Tensor:
        return F.normalize(self.states(rows).sum(1), dim=1)


class SequenceDecoder(nn.Module):
    """Tells a cell node by node, with attention to the encoder's states, each after those before it as they are."""

    def __init__(self, row: int, dim: int) -> None:
        super().__init__()
        self.read = nn.Linear(row, TOKEN, bias=False)
        self.lstm = nn.LSTM(TOKEN, dim, batch_first=True)
        self.attend = nn.Linear(2 * dim, dim)
        self.tell = nn.Linear(dim, row)

    def forward(self, rows: Tensor, vectors: Tensor, states: Tensor) -> Tensor:
        """node_rows [B, n, r], vectors [B, dim] and the encoder's states [B, n, dim] -> logits [B, n, r]."""
        before = F.pad(rows, (0, 0, 1, 0))[:, :-1]
        start = vectors.unsqueeze(0).contiguous()
        out, _ = self.lstm(self.read(before), (start, start))
        weights = (out @ states.mT).masked_fill(~present(rows)[:, None], -torch.inf).softmax(2)
        return self.tell(torch.tanh(self.attend(torch.cat([out, weights @ states], dim=2))))


@takes_settings("encoder")
class LSTMEncoder(ReconstructingEncoder, ScoreLearningEncoder):
    """NAO's encoder, predictor and decoder, trained together where scores are known, and on cells alone before.

    A step of the LSTM reads one node: the nodes that it reads and its operator, so that the vector depends on the order of
    nodes. `fit` learns to reconstruct random cells, as NAO's followers do with cells without scores (SemiNAS, Luo et al.,
    NeurIPS 2020). `fit_scores` goes on as in NAO: the loss is `tradeoff` times the squared error of the scores, scaled to 0 to
    1, and the rest of 1 times the reconstruction loss.
    """

    name = "lstm"

    def __init__(
        self,
        space: Space,
        *,
        dim: Dim = 64,
        iterations: Iterations = 1000,
        score_iterations: Annotated[int, Setting("Adam steps of the training with scores", at_least=1)] = 300,
        batch: Batch = 100,
        lr: LearningRate = 5e-3,
        tradeoff: Annotated[float, Setting("share of the scores in the loss", at_least=0, at_most=1)] = 0.8,
        device: Device = "cpu",
    ) -> None:
        super().__init__(space, dim, iterations=iterations, batch=batch, lr=lr, device=device)
        self.score_iterations, self.tradeoff = score_iterations, tradeoff

    def _new_net(self) -> nn.ModuleDict:
        row = self.space.num_nodes + num_kinds(self.space)
        parts = {"encoder": SequenceEncoder(row, self.dim), "decoder": SequenceDecoder(row, self.dim)}
        return nn.ModuleDict({**parts, "head": ScoreHead(self.dim)})

    def _logits(self, rows: Tensor) -> Tensor:
        encoder, decoder = (part(self._trained(), name) for name in ("encoder", "decoder"))
        return decoder(rows, encoder(rows), encoder.states(rows))

    def _told(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def _score_steps(self, count: int) -> int:
        return self.score_iterations

    def _score_losses(self, rows: Tensor, targets: Tensor) -> Iterator[Tensor]:
        net = self._trained()
        for batch in shuffled(len(rows), self.batch, self.score_iterations):
            told = self._told(net["head"](net["encoder"](rows[batch])))
            wrong = reconstruction(self._logits(rows[batch]), rows[batch])
            yield self.tradeoff * F.mse_loss(told, targets[batch]) + (1 - self.tradeoff) * wrong
