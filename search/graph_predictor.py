"""The default predictor of the benchmarks' tables: the ensemble on counts, and graph networks on the cells themselves.

The counts carry most at small samples, the networks at large ones: the more cells, the more the networks weigh.
"""

from __future__ import annotations

import numpy as np

from search.base import CellArrays
from search.embedding.packing import unpack
from search.ensemble import EnsemblePredictor, check_whole, checked
from search.graph_network import predict, train


class GraphEnsemblePredictor(EnsemblePredictor):
    """EnsemblePredictor and the mean of `networks` graph networks; its vectors end with cells (`embedding.packing`).

    With n cells in training the networks have the weight sqrt(n) / 10 where each member of the ensemble has 1. trees, subset:
    see EnsemblePredictor. width, layers, epochs: see `search.graph_network.train`.
    """

    def __init__(
        self, trees: int = 300, subset: int = 600, networks: int = 2, width: int = 64, layers: int = 3, epochs: int = 60
    ) -> None:
        super().__init__(trees, subset)
        check_whole(1, networks=networks, width=width, layers=layers, epochs=epochs)
        self.networks, self.settings = networks, {"width": width, "layers": layers, "epochs": epochs}

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """As EnsemblePredictor's. Raises ValueError for vectors without cells too."""
        vectors, scores = checked(vectors, scores)
        counts, cells = unpack(vectors)
        super().fit(counts, scores, seed)
        normal = self._trained().normal
        self._nets = [train(cells, normal, seed + 1000 * i, **self.settings) for i in range(self.networks)]
        share = np.sqrt(len(normal)) / 10
        self._share = share / (share + len(self.MEMBERS))

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        counts, cells = unpack(vectors)
        return self._joined(super()._mean(counts), cells)

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts, cells = unpack(vectors)
        return self._joined(super()._mean(counts), cells), self._spread(counts)

    def _joined(self, others: np.ndarray, cells: CellArrays) -> np.ndarray:
        """The networks' predictions and those of the other members, weighted."""
        return self._share * np.mean([predict(net, cells) for net in self._nets], axis=0) + (1 - self._share) * others
