"""What the encoders share that learn from the scores of cells, as those of NAO and GATES do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search.core.threads import torch_threads
from search.core.types import CellArrays, Progress
from search.encoders.node_rows import NodeRowsEncoder


def part(net: nn.Module, name: str) -> Any:
    """A part of a network by its name; what it offers beyond a module's own is known to its callers alone."""
    return net.get_submodule(name)


class ScoreHead(nn.Module):
    """Vectors [B, dim] -> scores [B]: a hidden layer with dropout, as in NAO and GATES."""

    low: Tensor
    span: Tensor

    def __init__(self, dim: int, hidden: int = 200, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("span", torch.ones(()))

    def forward(self, vectors: Tensor) -> Tensor:
        """The layers' own output, before it is put into the scores' units."""
        return self.layers(vectors).squeeze(1)


class ScoreLearningEncoder(NodeRowsEncoder):
    """A NodeRowsEncoder whose part "head" tells scores of vectors; a class of its own says by what loss both learn."""

    learns_scores = True

    def fit_scores(self, arrays: CellArrays, scores: np.ndarray, seed: int, progress: Progress | None = None) -> None:
        """Learn from N pruned cells with scores [N], from new weights or those of `fit`. Deterministic by seed.

        Raises ValueError for fewer than 2 cells, other than N scores, or one that is not finite.
        """
        scores = np.asarray(scores, np.float64)
        if len(scores) != len(arrays) or len(scores) < 2 or not np.isfinite(scores).all():
            raise ValueError(f"expected finite scores of 2 or more cells, one each; found {len(scores)} of {len(arrays)} cells")
        with torch_threads(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.net is None:
                self.net = self._new_net().to(self.device)
            low, span = float(scores.min()), max(float(np.ptp(scores)), 1e-12)
            head = part(self.net, "head")
            head.low.fill_(low)
            head.span.fill_(span)
            targets = torch.from_numpy((scores - low) / span).float().to(self.device)
            self._minimise(self._score_losses(self._tensor(arrays), targets), self._score_steps(len(arrays)), progress)

    @torch.inference_mode()
    def predict_scores(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [B, dim] -> the scores that the encoder's own head tells of them, float64 [B].

        Raises RuntimeError before the first `fit_scores`.
        """
        head = part(self._trained(), "head")
        told = self._told(head(torch.from_numpy(np.asarray(vectors, np.float32)).to(self.device)))
        return (head.low + head.span * told).double().cpu().numpy()

    def _told(self, output: Tensor) -> Tensor:
        """The head's output [B] -> shares of the span of the scores."""
        return output

    def _score_steps(self, count: int) -> int:
        """Steps of a training on `count` cells."""
        raise NotImplementedError

    def _score_losses(self, rows: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """Of so many batches of N cells' node_rows [N, n, n + num_kinds] and scores [N], which reach from 0 to 1."""
        raise NotImplementedError


def shuffled(count: int, size: int, batches: int) -> Iterator[Tensor]:
    """`batches` batches of at most `size` rows of `count`: pass after pass, each in a new order; a last smaller one is left
    out, unless it is all there is."""
    size = min(size, count)
    while True:
        for rows in torch.randperm(count).split(size):
            if len(rows) == size:
                if batches == 0:
                    return
                batches -= 1
                yield rows
