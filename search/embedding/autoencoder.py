"""A fully connected autoencoder of cells, trained to reconstruct them (the paper's baseline "MLP", Table 3)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.base import CellArrays, Progress, SearchError, Space
from search.embedding.common import (
    CHUNK,
    HELD_OUT_PAIRS,
    check_device,
    check_training,
    cosines,
    kernel_figures,
    minimise,
    mlp,
)
from search.embedding.features import features, num_edges, num_features
from search.embedding.order import ORDERS, canonical_order, random_order
from search.embedding.storage import save_encoder
from search.space import prune
from search.threads import torch_threads
from search.wl_kernel import wl_kernel

BATCHES_AT_A_TIME = 16  # sampled together: a call of the sampler costs more than a few cells


class AutoencoderEncoder:
    """Encoder and decoder with ReLU layers; the loss is the reconstruction loss L_r of each cell.

    dim: d, length of the embedding. hidden: widths between features and embedding, mirrored in the decoder.
    iterations, batch: Adam steps, and fresh random cells a step. lr: the peak of a one-cycle schedule. order: of the nodes that
    the matrices have, see `search.embedding.order`; "given" is the paper's, in "canonical" isomorphic cells embed alike.
    device: where to train and embed.
    """

    name = "autoencoder"
    h = 3  # iterations of the kernel in the figures on held-out pairs

    def __init__(
        self,
        space: Space,
        dim: int = 50,
        hidden: Sequence[int] = (256,),
        iterations: int = 2000,
        batch: int = 128,
        lr: float = 5e-3,
        order: str = "given",
        device: str = "cpu",
    ) -> None:
        check_training(dim, hidden, iterations, batch, lr)
        if order not in ORDERS:
            raise SearchError(f"encoder: order: expected one of {', '.join(ORDERS)}, found {order!r}")
        check_device(device)
        self.space, self.dim, self.device = space, dim, device
        self.hidden, self.iterations, self.batch, self.lr = tuple(hidden), iterations, batch, lr
        self.order = order
        self.metrics: dict[str, float] = {}
        self.net: nn.ModuleDict | None = None

    @property
    def settings(self) -> dict[str, object]:
        """What `build_encoder` needs to make this encoder again."""
        return {
            "dim": self.dim,
            "hidden": list(self.hidden),
            "iterations": self.iterations,
            "batch": self.batch,
            "lr": self.lr,
            "order": self.order,
        }

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Train from new weights on pairs drawn by `seed`; returns figures on held-out pairs by name. Deterministic by seed."""
        with torch_threads(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = self._new_net().to(self.device)
            batches = self._batches(np.random.default_rng((seed, 0)))
            losses = (self._loss(cells, self._tensor(cells)) for cells in batches)
            minimise(self.net, losses, self.iterations, self.lr, progress)
        self.metrics = self._held_out(np.random.default_rng((seed, 1)))
        return self.metrics

    @torch.inference_mode()
    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]. Raises RuntimeError before the first `fit`."""
        if self.net is None:
            raise RuntimeError("the encoder is not trained yet: call fit first")
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(arrays), CHUNK):
            parts.append(self.net["encoder"](self._tensor(arrays[start : start + CHUNK])).cpu().numpy())
        return np.concatenate(parts)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `encoder.safetensors` and `encoder.json`."""
        save_encoder(directory, self.name, self.space, self.settings, self.metrics, self.net.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        with torch.device("meta"):  # no memory is taken before all shapes are known to fit
            net = self._new_net()
        net.load_state_dict(weights, assign=True)
        self.net = net.to(self.device)

    def _new_net(self) -> nn.ModuleDict:
        widths = (num_features(self.space), *self.hidden, self.dim)
        return nn.ModuleDict({"encoder": mlp(widths), "decoder": mlp(widths[::-1])})

    def _tensor(self, arrays: CellArrays) -> Tensor:
        ordered = canonical_order(arrays) if self.order == "canonical" else arrays
        return torch.from_numpy(features(self.space, ordered)).to(self.device).float()

    def _batches(self, rng: np.random.Generator) -> Iterator[CellArrays]:
        """Fresh cells for each iteration."""
        for start in range(0, self.iterations, BATCHES_AT_A_TIME):
            batches = min(BATCHES_AT_A_TIME, self.iterations - start)
            cells = prune(self.space.sample(rng, batches * self.batch))
            for i in range(batches):
                yield cells[i * self.batch : (i + 1) * self.batch]

    def _loss(self, cells: CellArrays, x: Tensor) -> Tensor:
        """Of `batch` cells and their features."""
        return self._reconstruction(x, self.net["encoder"](x))

    def _reconstruction(self, x: Tensor, embedded: Tensor) -> Tensor:
        """L_r of Eq. 4: binary cross-entropy of all features, in nats a feature."""
        return F.binary_cross_entropy_with_logits(self.net["decoder"](embedded), x)

    @torch.inference_mode()
    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        a, b = prune(self.space.sample(rng, HELD_OUT_PAIRS)), prune(self.space.sample(rng, HELD_OUT_PAIRS))
        kernel = wl_kernel(a, b, self.h)
        inputs = self._tensor(a)
        right = ((self.net["decoder"](self.net["encoder"](inputs)) > 0) == (inputs > 0.5))[:, : num_edges(self.space)]
        embedded = self.embed(a)
        figures = kernel_figures(cosines(embedded, self.embed(b)), kernel)
        isomorphic = cosines(embedded, self.embed(random_order(a, rng)))
        return figures | {
            "edges reconstructed": float(right.float().mean()),
            "cosine of isomorphic cells": float(isomorphic.mean()),
        }
