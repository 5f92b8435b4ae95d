"""A fully connected autoencoder of cells, trained to reconstruct them (the paper's baseline "MLP", Table 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.cosines import cosines
from search.core.layers import mlp
from search.core.types import CellArrays, Space
from search.encoders.flat import features, num_edges, num_features
from search.encoders.fully_connected import FullyConnectedEncoder
from search.encoders.settings import Batch, Device, Dim, Hidden, Iterations, LearningRate
from search.encoders.similarity import HELD_OUT_PAIRS, kernel_figures
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune
from search.spaces.node_order import ORDERS, canonical_order, random_order


@takes_settings("encoder")
class AutoencoderEncoder(FullyConnectedEncoder):
    """Encoder and decoder with ReLU layers; the loss is the reconstruction loss L_r of each cell. A batch is of fresh random
    cells. Orders of nodes: see `search.spaces.node_order`."""

    name = "autoencoder"
    h = 3  # iterations of the kernel in the figures on held-out pairs

    def __init__(
        self,
        space: Space,
        *,
        dim: Dim = 50,
        hidden: Hidden = (256,),
        iterations: Iterations = 2000,
        batch: Batch = 128,
        lr: LearningRate = 5e-3,
        order: Annotated[
            str, Setting("of the nodes in a matrix: the cell's, or one in which isomorphic cells embed alike", choices=ORDERS)
        ] = "given",
        device: Device = "cpu",
    ) -> None:
        super().__init__(space, dim, hidden=hidden, iterations=iterations, batch=batch, lr=lr, device=device)
        self.order = order

    def _new_net(self) -> nn.ModuleDict:
        widths = (num_features(self.space), *self.hidden, self.dim)
        return nn.ModuleDict({"encoder": mlp(widths), "decoder": mlp(widths[::-1])})

    def _tensor(self, arrays: CellArrays) -> Tensor:
        ordered = canonical_order(arrays) if self.order == "canonical" else arrays
        return torch.from_numpy(features(self.space, ordered)).to(self.device).float()

    def _losses(self, rng: np.random.Generator) -> Iterator[Tensor]:
        return (self._loss(cells, self._tensor(cells)) for cells in self._batches(rng))

    def _loss(self, cells: CellArrays, x: Tensor) -> Tensor:
        """Of `batch` cells and their features."""
        return self._reconstruction(x, self._trained()["encoder"](x))

    def _reconstruction(self, x: Tensor, embedded: Tensor) -> Tensor:
        """L_r of Eq. 4: binary cross-entropy of all features, in nats a feature."""
        return F.binary_cross_entropy_with_logits(self._trained()["decoder"](embedded), x)

    @torch.inference_mode()
    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        a, b = prune(self.space.sample(rng, HELD_OUT_PAIRS)), prune(self.space.sample(rng, HELD_OUT_PAIRS))
        kernel = wl_kernel(a, b, self.h)
        net, inputs = self._trained(), self._tensor(a)
        right = ((net["decoder"](net["encoder"](inputs)) > 0) == (inputs > 0.5))[:, : num_edges(self.space)]
        embedded = self.embed(a)
        figures = kernel_figures(cosines(embedded, self.embed(b)), kernel)
        isomorphic = cosines(embedded, self.embed(random_order(a, rng)))
        return figures | {
            "edges reconstructed": float(right.float().mean()),
            "cosine of isomorphic cells": float(isomorphic.mean()),
        }
