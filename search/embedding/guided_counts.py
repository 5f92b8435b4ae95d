"""NASGEM's guided encoder done anew: it reads counts instead of a matrix, and the kernel guides it from behind a head."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.base import CellArrays, Progress, SearchError, Space
from search.checks import check_whole
from search.embedding.common import (
    CHUNK,
    HELD_OUT_PAIRS,
    check_device,
    check_training,
    cosines,
    kernel_figures,
    minimise,
    mlp,
    similarity_loss,
)
from search.embedding.statistics import StatisticsEncoder
from search.embedding.storage import save_encoder
from search.space import prune
from search.threads import torch_threads
from search.wl_kernel import wl_kernel

COUNTS = "counts."
"""Prefix of the counts' own weights in a file."""
FAR = 4.0
"""Counts count as at most so many deviations from their mean: one rare thing would be most of the vector."""


class GuidedCountsEncoder:
    """An autoencoder of a cell's counts (`StatisticsEncoder`), guided by the Weisfeiler-Lehman kernel through a head.

    Counts do not depend on the order of nodes, so that isomorphic cells embed alike. The similarity loss of Eq. 3 is that of
    the vectors' cosines behind a network of their own, the head, as in contrastive learning (SimCLR, Chen et al., ICML 2020):
    on vectors whose own cosines have to be the kernel, predictors rank worse (`tools/reproduce.py table3`). What follows the
    kernel is `similarity`.

    dim: d, length of the embedding, and of what the head makes of it. hidden: widths between counts and embedding, mirrored in
    the decoder; the head has them between d and d. iterations, batch: Adam steps, and cells a step. lr: the peak of a one-cycle
    schedule. h: iterations of the kernel. similarity_weight: factor of the similarity loss beside twice the reconstruction
    loss, the mean squared error in variances of the counts; 0 leaves an autoencoder, without a head. head: whether there is
    one; without, the cosines are the vectors' own, as in Eq. 2. sample: cells that are drawn once to train on. dropped,
    identities: see StatisticsEncoder. device: where to train and embed.
    """

    name = "guided_counts"

    def __init__(
        self,
        space: Space,
        dim: int = 50,
        hidden: Sequence[int] = (256,),
        iterations: int = 2000,
        batch: int = 128,
        lr: float = 2e-3,
        h: int = 3,
        similarity_weight: float = 50.0,
        head: bool = True,
        sample: int = 16_384,
        dropped: tuple[str, ...] = (),
        identities: tuple[str, ...] = (),
        device: str = "cpu",
    ) -> None:
        check_training(dim, hidden, iterations, batch, lr)
        check_whole("encoder", 0, sys.maxsize, h=h)
        check_whole("encoder", 2, sys.maxsize, sample=sample)
        if not 0 <= similarity_weight < math.inf:
            raise SearchError(
                f"encoder: similarity_weight: expected a finite number of at least 0, found {similarity_weight!r}"
            )
        if type(head) is not bool:
            raise SearchError(f"encoder: head: expected True or False, found {head!r}")
        check_device(device)
        self.space, self.dim, self.device, self.sample = space, dim, device, sample
        self.hidden, self.iterations, self.batch, self.lr = tuple(hidden), iterations, batch, lr
        self.h, self.similarity_weight, self.head = h, similarity_weight, head
        self.counts = StatisticsEncoder(space, dropped, identities)
        self.metrics: dict[str, float] = {}
        self.net: nn.ModuleDict | None = None
        self._bound = torch.ones(self.counts.dim)

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Train from new weights on cells drawn by `seed`; returns figures on held-out pairs by name. Deterministic by seed."""
        self.counts.fit(seed)
        rng = np.random.default_rng((seed, 0))
        cells = prune(self.space.sample(rng, self.sample))
        counts = self.counts.embed(cells)
        self._bound = torch.from_numpy(FAR * counts.std(0))
        with torch_threads(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = self._new_net().to(self.device)
            minimise(self.net, self._losses(cells, self._tensor(counts), rng), self.iterations, self.lr, progress)
        self.metrics = self._held_out(np.random.default_rng((seed, 1)))
        return self.metrics

    def _losses(self, cells: CellArrays, inputs: Tensor, rng: np.random.Generator) -> Iterator[Tensor]:
        """Of batches of `cells`, whose counts are `inputs`."""
        for _ in range(self.iterations):
            rows = rng.integers(len(cells), size=self.batch)
            x = inputs[torch.from_numpy(rows)]
            embedded = self.net["encoder"](x)
            loss = 2 * F.mse_loss(self.net["decoder"](embedded), x)
            if self.similarity_weight:
                loss = loss + self.similarity_weight * similarity_loss(self.net["head"](embedded), cells[rows], self.h)
            yield loss

    @torch.inference_mode()
    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]. Raises RuntimeError before the first `fit`."""
        net, parts = self._trained(), [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(arrays), CHUNK):
            parts.append(net["encoder"](self._tensor(self.counts.embed(arrays[start : start + CHUNK]))).cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of B pairs of vectors [B, dim]: the cosines of what the head, if any, makes of them, float64 [B].

        Raises RuntimeError before the first `fit`.
        """
        head = self._trained()["head"]
        return cosines(*(head(torch.from_numpy(x).float().to(self.device)).cpu().numpy() for x in (a, b)))

    @property
    def settings(self) -> dict[str, object]:
        """What `build_encoder` needs to make this encoder again."""
        return {
            "dim": self.dim,
            "hidden": list(self.hidden),
            "iterations": self.iterations,
            "batch": self.batch,
            "lr": self.lr,
            "h": self.h,
            "similarity_weight": self.similarity_weight,
            "head": self.head,
            "sample": self.sample,
            "dropped": list(self.counts.dropped),
            "identities": list(self.counts.identities),
        }

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `encoder.safetensors` and `encoder.json`. Raises RuntimeError before the first `fit`."""
        counts = {f"{COUNTS}{name}": value for name, value in self.counts.weights.items()}
        weights = {**self._trained().state_dict(), **counts, "bound": self._bound}
        save_encoder(directory, self.name, self.space, self.settings, self.metrics, weights)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        bound = weights.get("bound", torch.empty(0))
        if bound.shape != self._bound.shape or not (bound >= 0).all():
            raise RuntimeError(f"bound: expected {len(self._bound)} numbers of at least 0")
        with torch.device("meta"):  # no memory is taken before all shapes are known to fit
            net = self._new_net()
        own = {name: value for name, value in weights.items() if name != "bound" and not name.startswith(COUNTS)}
        net.load_state_dict(own, assign=True)
        self.counts.load_weights({name.removeprefix(COUNTS): weights[name] for name in weights if name.startswith(COUNTS)})
        self.net, self._bound = net.to(self.device), bound

    def _trained(self) -> nn.ModuleDict:
        if self.net is None:
            raise RuntimeError("the encoder is not trained yet: call fit first")
        return self.net

    def _new_net(self) -> nn.ModuleDict:
        inner = (*self.hidden, self.dim)
        widths = (self.counts.dim, *inner)
        head = mlp((self.dim, *inner)) if self.head and self.similarity_weight else nn.Identity()
        return nn.ModuleDict({"encoder": mlp(widths), "decoder": mlp(widths[::-1]), "head": head})

    def _tensor(self, counts: np.ndarray) -> Tensor:
        """Counts [B, ...] as the network reads them: within their bounds, of a variance of 1 on average."""
        scale = FAR / max(float(self._bound.square().mean().sqrt()), 1e-6)
        return (torch.from_numpy(counts).clamp(-self._bound, self._bound) * scale).to(self.device)

    @torch.inference_mode()
    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        a, b = prune(self.space.sample(rng, HELD_OUT_PAIRS)), prune(self.space.sample(rng, HELD_OUT_PAIRS))
        counts = self._tensor(self.counts.embed(a))
        x = self.net["encoder"](counts)
        figures = kernel_figures(self.similarity(x.cpu().numpy(), self.embed(b)), wl_kernel(a, b, self.h))
        told = self.net["decoder"](x)
        error, variance = F.mse_loss(told, counts), counts.var(0, correction=0).mean()
        return figures | {"counts reconstructed": 1 - float(error) / max(float(variance), 1e-12)}
