"""NASGEM's guided encoder done anew: it reads counts instead of a matrix, and the kernel guides it from behind a head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.cosines import cosines
from search.core.layers import mlp
from search.core.types import CellArrays, Progress, Space
from search.encoders.fully_connected import FullyConnectedEncoder
from search.encoders.graph_features import Dropped, GraphFeatureEncoder, Identities
from search.encoders.settings import Batch, Device, Dim, H, Hidden, Iterations, LearningRate
from search.encoders.similarity import HELD_OUT_PAIRS, kernel_figures, similarity_loss
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune

COUNTS = "counts."
"""Prefix of the counts' own weights in a file."""
FAR = 4.0
"""Counts count as at most so many deviations from their mean: one rare thing would be most of the vector."""


@takes_settings("encoder")
class GuidedCountsEncoder(FullyConnectedEncoder):
    """An autoencoder of a cell's counts (`GraphFeatureEncoder`), guided by the Weisfeiler-Lehman kernel through a head.

    Counts do not depend on the order of nodes, so that isomorphic cells embed alike. The similarity loss of Eq. 3 is that of
    the vectors' cosines behind a network of their own, the head, as in contrastive learning (SimCLR, Chen et al., ICML 2020):
    on vectors whose own cosines have to be the kernel, predictors rank worse (`tools/reproduce.py table3`). What follows the
    kernel is `similarity`.

    What the head makes is of length d, too, and it has the hidden widths in between. The similarity loss stands beside twice
    the reconstruction loss, the mean squared error in variances of the counts.
    """

    name = "guided_counts"

    def __init__(
        self,
        space: Space,
        *,
        dim: Dim = 50,
        hidden: Hidden = (256,),
        iterations: Iterations = 2000,
        batch: Batch = 128,
        lr: LearningRate = 2e-3,
        h: H = 3,
        similarity_weight: Annotated[
            float, Setting("factor of the similarity loss; 0 leaves an autoencoder, without a head", at_least=0)
        ] = 50.0,
        head: Annotated[bool, Setting("whether the kernel guides a head's cosines, not the vectors' own as in Eq. 2")] = True,
        sample: Annotated[int, Setting("cells that are drawn once to train on", at_least=2)] = 16_384,
        dropped: Dropped = (),
        identities: Identities = (),
        device: Device = "cpu",
    ) -> None:
        super().__init__(space, dim, hidden=hidden, iterations=iterations, batch=batch, lr=lr, device=device)
        self.h, self.similarity_weight, self.head, self.sample = h, similarity_weight, head, sample
        self.dropped, self.identities = tuple(dropped), tuple(identities)
        self.counts = GraphFeatureEncoder(space, dropped=dropped, identities=identities)
        self._bound = torch.ones(self.counts.dim)

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        self.counts.fit(seed)
        return super().fit(seed, progress)

    def _losses(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Of batches of `sample` cells, whose counts are bounded by what they have from here on."""
        cells = prune(self.space.sample(rng, self.sample))
        counts = self.counts.embed(cells)
        self._bound = torch.from_numpy(FAR * counts.std(0))
        net, inputs = self._trained(), self._bounded(counts)
        for _ in range(self.iterations):
            rows = rng.integers(len(cells), size=self.batch)
            x = inputs[torch.from_numpy(rows)]
            embedded = net["encoder"](x)
            loss = 2 * F.mse_loss(net["decoder"](embedded), x)
            if self.similarity_weight:
                loss = loss + self.similarity_weight * similarity_loss(net["head"](embedded), cells[rows], self.h)
            yield loss

    @torch.inference_mode()
    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of B pairs of vectors [B, dim]: the cosines of what the head, if any, makes of them, float64 [B].

        Raises RuntimeError before the first `fit`.
        """
        head = self._trained()["head"]
        return cosines(*(head(torch.from_numpy(x).float().to(self.device)).cpu().numpy() for x in (a, b)))

    def weights(self) -> dict[str, Tensor]:
        """Of the network, the counts and their bounds. Raises RuntimeError before the first `fit`."""
        counts = {f"{COUNTS}{name}": value for name, value in self.counts.weights().items()}
        return {**super().weights(), **counts, "bound": self._bound}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        bound = weights.get("bound", torch.empty(0))
        if bound.shape != self._bound.shape or not (bound >= 0).all():
            raise RuntimeError(f"bound: expected {len(self._bound)} numbers of at least 0")
        own = {name: value for name, value in weights.items() if name != "bound" and not name.startswith(COUNTS)}
        super().load_weights(own)
        self.counts.load_weights({name.removeprefix(COUNTS): weights[name] for name in weights if name.startswith(COUNTS)})
        self._bound = bound

    def _new_net(self) -> nn.ModuleDict:
        inner = (*self.hidden, self.dim)
        widths = (self.counts.dim, *inner)
        head = mlp((self.dim, *inner)) if self.head and self.similarity_weight else nn.Identity()
        return nn.ModuleDict({"encoder": mlp(widths), "decoder": mlp(widths[::-1]), "head": head})

    def _tensor(self, arrays: CellArrays) -> Tensor:
        return self._bounded(self.counts.embed(arrays))

    def _bounded(self, counts: np.ndarray) -> Tensor:
        """Counts [B, ...] as the network reads them: within their bounds, of a variance of 1 on average."""
        scale = FAR / max(float(self._bound.square().mean().sqrt()), 1e-6)
        return (torch.from_numpy(counts).clamp(-self._bound, self._bound) * scale).to(self.device)

    @torch.inference_mode()
    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        a, b = prune(self.space.sample(rng, HELD_OUT_PAIRS)), prune(self.space.sample(rng, HELD_OUT_PAIRS))
        net, counts = self._trained(), self._tensor(a)
        x = net["encoder"](counts)
        figures = kernel_figures(self.similarity(x.cpu().numpy(), self.embed(b)), wl_kernel(a, b, self.h))
        told = net["decoder"](x)
        error, variance = F.mse_loss(told, counts), counts.var(0, correction=0).mean()
        return figures | {"counts reconstructed": 1 - float(error) / max(float(variance), 1e-12)}
