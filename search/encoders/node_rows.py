"""Cells node by node: what the encoders read that are recurrent or graph networks, and what such networks reconstruct."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from search.core.cosines import cosines
from search.core.types import CellArrays, SearchError, Space
from search.encoders.network_encoder import NetworkEncoder
from search.encoders.similarity import HELD_OUT_PAIRS, kernel_figures
from search.kernel.wl import wl_kernel
from search.spaces.dag import prune


def num_kinds(space: Space) -> int:
    """How many kinds of nodes there are: the input and the operators."""
    return 1 + len(space.operators)


def node_rows(space: Space, arrays: CellArrays) -> np.ndarray:
    """Pruned cells -> float32 [B, n, n + num_kinds], a row a node, n the nodes that a cell of `space` has at most.

    A row tells which nodes a node reads, then its kind, one-hot, the input's first. Nodes come first, in their order; places
    without a node have zeros alone. Raises SearchError for cells with more nodes or other operators than `space` has.
    """
    found = arrays.compact().padded(space.num_nodes)
    highest = int(found.operators.max(initial=0))
    if highest > len(space.operators):
        raise SearchError(f"encoder: a cell has operator {highest}; the encoder's space has {len(space.operators)}")
    kinds = found.operators[:, :, None] == np.arange(num_kinds(space))
    return np.concatenate([np.swapaxes(found.adjacency, 1, 2), kinds], axis=2).astype(np.float32)


class NodeRowsEncoder(NetworkEncoder):
    """A NetworkEncoder that reads `node_rows`."""

    def __init__(self, space: Space, dim: int, *, iterations: int, batch: int, lr: float, device: str) -> None:
        """Raises SearchError for a space whose cells have no edges or no operators."""
        if space.num_nodes < 2 or not space.operators:
            has = f"{space.num_nodes} and {len(space.operators)}"
            raise SearchError(f"encoder: {self.name} reads cells of 2 or more nodes with operators; the space has {has}")
        super().__init__(space, dim, iterations=iterations, batch=batch, lr=lr, device=device)

    def _tensor(self, arrays: CellArrays) -> Tensor:
        return torch.from_numpy(node_rows(self.space, arrays)).to(self.device)


class ReconstructingEncoder(NodeRowsEncoder):
    """A NodeRowsEncoder that is trained on fresh random cells to tell their edges and operators again.

    The network's part "decoder" says what it tells of `node_rows` [B, n, n + num_kinds], as logits of the same shape. A kind
    that is the input's stands for no node.
    """

    h = 3  # iterations of the kernel in the figures on held-out pairs

    def _logits(self, rows: Tensor) -> Tensor:
        """node_rows [B, n, n + num_kinds] -> what the decoder tells of them, of the same shape."""
        raise NotImplementedError

    def _losses(self, rng: np.random.Generator) -> Iterator[Tensor]:
        for cells in self._batches(rng):
            rows = self._tensor(cells)
            yield reconstruction(self._logits(rows), rows)

    @torch.inference_mode()
    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        a, b = prune(self.space.sample(rng, HELD_OUT_PAIRS)), prune(self.space.sample(rng, HELD_OUT_PAIRS))
        rows, n = self._tensor(a), self.space.num_nodes
        right = (self._logits(rows)[:, :, :n] > 0) == (rows[:, :, :n] > 0)
        figures = kernel_figures(cosines(self.embed(a), self.embed(b)), wl_kernel(a, b, self.h))
        return figures | {"edges reconstructed": float(right[possible_edges(rows)].float().mean())}


def present(rows: Tensor) -> Tensor:
    """node_rows [B, n, n + num_kinds] -> bool [B, n]: where a node is."""
    n = rows.shape[1]
    return rows[:, :, n:].sum(2) > 0


def possible_edges(rows: Tensor) -> Tensor:
    """node_rows [B, n, n + num_kinds] -> bool [B, n, n]: [b, v, u] is where v may read u, both nodes of the cell and u < v."""
    nodes = present(rows)
    return (nodes[:, :, None] & nodes[:, None]).tril(-1)


def reconstruction(logits: Tensor, rows: Tensor) -> Tensor:
    """The mean cross-entropy of all possible edges and of the kinds of all places but the input's, in nats a thing told.

    logits, rows: [B, n, n + num_kinds].
    """
    n, edges = rows.shape[1], possible_edges(rows)
    wrong_edges = F.binary_cross_entropy_with_logits(logits[:, :, :n][edges], rows[:, :, :n][edges], reduction="sum")
    kinds = rows[:, 1:, n:].argmax(2)  # 0, the input's, where there is no node
    wrong_kinds = F.cross_entropy(logits[:, 1:, n:].flatten(0, 1), kinds.flatten(), reduction="sum")
    return (wrong_edges + wrong_kinds) / (edges.sum() + kinds.numel())
