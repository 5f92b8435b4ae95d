"""The Weisfeiler-Lehman kernel as inner products: each cell by its kernels with landmarks (Nystroem's method)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import CellArrays, Encoder, Progress, SearchError, Space
from search.encoders.settings import Dim, H
from search.encoders.similarity import HELD_OUT_PAIRS, kernel_figures
from search.kernel.wl import wl_gram, wl_kernel
from search.spaces.dag import prune

CHUNK = 2048
"""Cells embedded at a time."""
HIGHEST = "highest R^2"
"""What tables call `highest_r_squared`."""


@takes_settings("encoder")
class LandmarkEncoder(Encoder):
    """Vectors whose inner product is the kernel of their cells; nothing is trained.

    With K the kernels of `landmarks` cells with each other, and k(x) those of a cell x with them, x is embedded as
    U^T k(x) / sqrt(w), w and U the `dim` largest eigenvalues of K and their vectors (Williams and Seeger, NeurIPS 2001).
    Isomorphic cells embed alike.

    No vector is longer than 1. What it lacks is the cell's private share, of labels that no other cell has. Vectors that are
    all of length 1, as those whose cosine is the kernel (NASGEM, Eq. 2), have to keep that share apart for each cell, and there
    is no room for it in few dimensions: see `highest_r_squared`.
    """

    name = "landmarks"
    uses_cosine = False

    def __init__(
        self,
        space: Space,
        dim: Dim = 50,
        landmarks: Annotated[int, Setting("cells whose kernels with a cell make its vector; at least dim", at_least=1)] = 500,
        h: H = 3,
    ) -> None:
        if dim > landmarks:
            raise SearchError(f"encoder: dim: expected at most as many as landmarks ({landmarks}), found {dim}")
        super().__init__(space, dim)
        self.landmarks, self.h = landmarks, h
        self._cells: CellArrays | None = None
        self._projection: np.ndarray = np.zeros((landmarks, dim), np.float32)

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Draw the landmarks by `seed`; returns figures on held-out pairs, of inner products, the mean private share and the
        variance of these pairs' kernels."""
        self._cells = prune(self.space.sample(np.random.default_rng((seed, 0)), self.landmarks))
        values, vectors = np.linalg.eigh(wl_gram(self._cells, h=self.h))
        values, vectors = values[-self.dim :], vectors[:, -self.dim :]
        told = values > 1e-9 * values[-1]  # fewer, where the landmarks have no more to tell
        self._projection = np.where(told, vectors / np.sqrt(np.where(told, values, 1)), 0).astype(np.float32)
        rng = np.random.default_rng((seed, 1))
        a, b = (prune(self.space.sample(rng, HELD_OUT_PAIRS)) for _ in range(2))
        x, y = self.embed(a), self.embed(b)
        private = 1 - float((x.astype(np.float64) ** 2).sum(1).mean())
        kernel = wl_kernel(a, b, self.h)
        known = {"private share": private, "kernel variance": float(kernel.var())}
        self.metrics = kernel_figures(self.similarity(x, y), kernel) | known
        return self.metrics

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]. Raises RuntimeError before the first `fit`."""
        landmarks = self._fitted()
        parts: list[np.ndarray] = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(arrays), CHUNK):
            kernels = wl_gram(arrays[start : start + CHUNK], landmarks, h=self.h)
            parts.append((kernels @ self._projection).astype(np.float32))
        return np.concatenate(parts)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of B pairs of vectors [B, dim], in the place of the cosine: their inner products, float64 [B]."""
        return (a.astype(np.float64) * b).sum(1)

    def weights(self) -> dict[str, torch.Tensor]:
        """The landmarks, and what their kernels are projected by. Raises RuntimeError before the first `fit`."""
        cells = self._fitted()
        arrays = {"adjacency": cells.adjacency, "operators": cells.operators, "projection": self._projection}
        return {name: torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items()}

    def _fitted(self) -> CellArrays:
        """The landmarks."""
        if self._cells is None:
            raise RuntimeError("the encoder has no landmarks yet: call fit first")
        return self._cells

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Raises RuntimeError for those of another encoder."""
        count, n = self.landmarks, self.space.num_nodes
        wanted = {"adjacency": (count, n, n), "operators": (count, n), "projection": (count, self.dim)}
        found = {name: tuple(value.shape) for name, value in weights.items()}
        if found != wanted:
            raise RuntimeError(f"expected {wanted}, found {found}")
        edges, operators = weights["adjacency"].numpy(), weights["operators"].numpy()
        known = np.isin(operators, np.arange(-1, len(self.space.operators) + 1)).all() and (operators[:, 0] == 0).all()
        if not (known and np.isin(edges, (0, 1)).all() and not np.tril(edges).any()):
            raise RuntimeError("adjacency and operators are not those of cells of the space")
        self._cells = prune(CellArrays(edges.astype(bool), operators.astype(np.int8)))
        self._projection = weights["projection"].numpy()


def highest_r_squared(known: Mapping[str, float], dim: int) -> float:
    """No cosines of `dim` numbers a cell follow the kernel of pairs of a space with a higher R^2:
    1 - max(0, p / sqrt(dim) - sqrt(e))^2 / v, with p the mean private share of a cell, e the mean squared error of the inner
    products and v the variance of the kernels of pairs; 1 where all kernels are equal. known: all three, as the `metrics` of a
    LandmarkEncoder estimate them.

    Of N cells, let G be the cosines and L the inner products: neither has negative eigenvalues, and G at most `dim` positive
    ones. So M = G - L has at most so many, and the sum of its squares is at least trace(M)^2 / dim = (N p)^2 / dim. All but N
    of its N^2 elements are of pairs, so that the root mean square of cosine less inner product is at least p / sqrt(dim) for
    many cells; by sqrt(e) at most that of cosine less kernel is smaller. (For L = 0 this is Welch's bound, IEEE Trans. Inf.
    Theory 20, 1974.)
    """
    if not known["kernel variance"]:
        return 1.0
    apart = known["private share"] / math.sqrt(dim) - math.sqrt(known["similarity MSE"])
    return 1 - max(0.0, apart) ** 2 / known["kernel variance"]
