"""SVGe as an encoder of a search's cells: `encoder.type=svge`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.cosines import cosines
from search.core.types import CellArrays, Encoder, Progress, Space
from search.encoders.settings import Batch, Epochs, LearningRate
from search.encoders.similarity import kernel_figures
from search.encoders.svge.graph_spaces import cell_space, cells_of_graphs, graphs_of_cells
from search.encoders.svge.model import State, SVGe
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune

HELD_OUT_CELLS = 500


@takes_settings("encoder")
class SVGeEncoder(Encoder):
    """`SVGe` on cells sampled from the space; a cell's embedding is the mean of its latent vector.

    The defaults of `SVGe`, meant for graphs of 8 nodes, are replaced here by ones that train in about two minutes on one CPU
    core for 30 nodes. That is too little to reconstruct 30 nodes and hundreds of possible edges; it embeds.
    """

    name = "svge"
    h = 3  # iterations of the kernel in the figures on held-out pairs

    def __init__(
        self,
        space: Space,
        *,
        cells: Annotated[int, Setting("that are drawn to train on", at_least=1)] = 2048,
        state: State = 64,
        epochs: Epochs = 4,
        batch: Batch = 64,
        lr: LearningRate = 2e-3,
        **settings: Annotated[Any, SVGe],
    ) -> None:
        self.model = SVGe(cell_space(space), state=state, epochs=epochs, batch=batch, lr=lr, **settings)
        super().__init__(space, self.model.dim)
        self.cells = cells

    @property
    def settings(self) -> dict[str, object]:
        """How many cells it trains on, and what the model has."""
        return {"cells": self.cells, **self.model.settings}

    def fit(
        self, seed: int, progress: Progress | None = None, directory: str | os.PathLike[str] | None = None
    ) -> dict[str, float]:
        """Train from new weights on cells drawn by `seed`; returns figures on held-out cells by name. Deterministic by seed.

        directory: where a checkpoint is kept after each epoch, and gone on from: see `train`.
        """
        cells = prune(self.space.sample(np.random.default_rng((seed, 0)), self.cells))
        self.model.fit(graphs_of_cells(self.space, cells), seed, progress, directory)
        self.metrics = self._held_out(np.random.default_rng((seed, 1)))
        return self.metrics

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]. Raises SearchError for cells larger than the space's; RuntimeError before `fit`."""
        return self.model.embed(graphs_of_cells(self.space, arrays))

    def decode(
        self, latent: np.ndarray, seed: int | None = None, two_sided: bool = True, constrained: bool = False
    ) -> CellArrays:
        """Latent vectors [B, dim] -> graphs of `self.model.space`, valid or not, or with `constrained` valid ones alone, as
        `SVGe.decode`; `cells_of` makes cells of them."""
        return self.model.decode(latent, seed, two_sided, constrained=constrained)

    def cells_of(self, graphs: CellArrays) -> CellArrays:
        """The cells that the valid ones of B graphs stand for; at most B."""
        return cells_of_graphs(self.space, graphs[self.model.space.valid(graphs)])

    def weights(self) -> dict[str, Tensor]:
        """Of the model. Raises RuntimeError before the first `fit`."""
        return self.model.weights()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        self.model.load_weights(weights)

    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        """How the cosine of embedded pairs follows the kernel, for comparison with the other encoders, and what is decoded
        rightly with all before it given."""
        a, b = (prune(self.space.sample(rng, HELD_OUT_CELLS)) for _ in range(2))
        kernel = wl_kernel(a, b, self.h)
        shares = self.model.evaluate(graphs_of_cells(self.space, a))
        figures = kernel_figures(cosines(self.embed(a), self.embed(b)), kernel)
        return figures | {name: shares[name] for name in ("types right", "edges right")}
