"""A fully connected autoencoder of cells, trained to reconstruct them (the paper's baseline "MLP", Table 3)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from search.base import CellArrays, Progress, SearchError, Space
from search.embedding.features import features, num_edges, num_features
from search.embedding.storage import save_encoder
from search.space import prune
from search.threads import torch_threads
from search.wl_kernel import wl_kernel

CHUNK = 8192
"""Cells embedded at a time."""
HELD_OUT_PAIRS = 2000
BATCHES_AT_A_TIME = 16  # sampled together: a call of the sampler costs more than a few cells


class AutoencoderEncoder:
    """Encoder and decoder with ReLU layers; the loss is the reconstruction loss L_r of both cells of each pair.

    dim: d, length of the embedding. hidden: widths between features and embedding, mirrored in the decoder.
    iterations, batch: Adam steps, and pairs of fresh random cells a step. lr: the peak of a cosine schedule.
    device: where to train and embed.
    """

    name = "autoencoder"

    def __init__(
        self,
        space: Space,
        dim: int = 50,
        hidden: Sequence[int] = (256,),
        iterations: int = 2000,
        batch: int = 128,
        lr: float = 2e-3,
        device: str = "cpu",
    ) -> None:
        counts = {"dim": [dim], "iterations": [iterations], "batch": [batch], "hidden": list(hidden)}
        for label, values in counts.items():
            if any(type(value) is not int or value < 1 for value in values):
                raise SearchError(f"encoder: {label}: expected whole numbers from 1, found {values}")
        if not lr > 0:
            raise SearchError(f"encoder: lr: expected a number above 0, found {lr!r}")
        self.space, self.dim, self.device = space, dim, device
        self.hidden, self.iterations, self.batch, self.lr = tuple(hidden), iterations, batch, lr
        self.metrics: dict[str, float] = {}
        self._build(seed=0)

    @property
    def settings(self) -> dict[str, object]:
        """What `build_encoder` needs to make this encoder again."""
        return {
            "dim": self.dim,
            "hidden": list(self.hidden),
            "iterations": self.iterations,
            "batch": self.batch,
            "lr": self.lr,
        }

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Train from new weights on pairs drawn by `seed`; returns figures on held-out pairs by name. Deterministic by seed."""
        with torch_threads(1):
            self._train(seed, progress)
        self.metrics = self._held_out(np.random.default_rng((seed, 1)))
        return self.metrics

    def _train(self, seed: int, progress: Progress | None) -> None:
        self._build(seed)
        self.net.train()
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.iterations)
        for done, (a, b, kernel) in enumerate(self._batches(np.random.default_rng((seed, 0))), 1):
            loss = self._loss(a, b, kernel)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress and (done % 20 == 0 or done == self.iterations):
                progress(done, self.iterations, f"loss {loss.item():.4f}")
        self.net.eval()

    @torch.inference_mode()
    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(arrays), CHUNK):
            parts.append(self.net["encoder"](self._tensor(arrays[start : start + CHUNK])).cpu().numpy())
        return np.concatenate(parts)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `encoder.safetensors` and `encoder.json`."""
        save_encoder(directory, self.name, self.space, self.settings, self.metrics, self.net.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        self.net.load_state_dict(weights)
        self.net.to(self.device).eval()

    def _build(self, seed: int) -> None:
        widths = (num_features(self.space), *self.hidden, self.dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.ModuleDict({"encoder": _mlp(widths), "decoder": _mlp(widths[::-1])}).to(self.device)

    def _tensor(self, arrays: CellArrays) -> Tensor:
        return torch.from_numpy(features(self.space, arrays)).to(self.device).float()

    def _batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Features of both cells of fresh pairs, and their kernels."""
        for start in range(0, self.iterations, BATCHES_AT_A_TIME):
            steps = min(BATCHES_AT_A_TIME, self.iterations - start)
            a, b, kernel = self._pairs(rng, steps * self.batch)
            yield from zip(self._tensor(a).split(self.batch), self._tensor(b).split(self.batch), kernel.split(self.batch))

    def _pairs(self, rng: np.random.Generator, count: int) -> tuple[CellArrays, CellArrays, Tensor]:
        a, b = prune(self.space.sample(rng, count)), prune(self.space.sample(rng, count))
        return a, b, self._kernel(a, b)

    def _kernel(self, a: CellArrays, b: CellArrays) -> Tensor:
        """What the loss wants to know of the pairs: nothing here."""
        return torch.zeros(len(a), device=self.device)

    def _loss(self, a: Tensor, b: Tensor, kernel: Tensor) -> Tensor:
        return self._reconstruction(a, self.net["encoder"](a)) + self._reconstruction(b, self.net["encoder"](b))

    def _reconstruction(self, x: Tensor, embedded: Tensor) -> Tensor:
        """L_r of Eq. 4: binary cross-entropy of all features, in nats a feature."""
        return F.binary_cross_entropy_with_logits(self.net["decoder"](embedded), x)

    @torch.inference_mode()
    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        a, b = prune(self.space.sample(rng, HELD_OUT_PAIRS)), prune(self.space.sample(rng, HELD_OUT_PAIRS))
        kernel = wl_kernel(a, b, getattr(self, "h", 3))
        x, y = torch.from_numpy(self.embed(a)), torch.from_numpy(self.embed(b))
        cosine = F.cosine_similarity(x, y).double().numpy()
        inputs = self._tensor(a)
        right = ((self.net["decoder"](self.net["encoder"](inputs)) > 0) == (inputs > 0.5))[:, : num_edges(self.space)]
        error = float(((cosine - kernel) ** 2).mean())
        return {
            "R^2": 1 - error / max(float(kernel.var()), 1e-12),
            "Spearman": float(np.nan_to_num(spearmanr(cosine, kernel).statistic)),
            "similarity MSE": error,
            "edges reconstructed": float(right.float().mean()),
        }


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)
