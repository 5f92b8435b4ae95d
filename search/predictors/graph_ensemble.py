"""The default predictor of the benchmarks' tables: the ensemble on counts, and graph networks on the cells themselves.

The numbers carry most at small samples, the networks at large ones: the more cells, the more the networks weigh.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.encoders.packing import PackedCells, unpack
from search.predictors.ensemble import EnsemblePredictor, Groups, NormalScale, Subset, Trees, checked
from search.predictors.graph_network import predict, train


@takes_settings("predictor")
class GraphEnsemblePredictor(EnsemblePredictor):
    """EnsemblePredictor and the mean of `networks` graph networks; its vectors end with cells (`embedding.packing`).

    With n cells in training the networks have the weight sqrt(n) / 10 where the ensemble has those of its members. The last of
    the groups is the cells.
    """

    def __init__(
        self,
        trees: Trees = 300,
        subset: Subset = 1000,
        networks: Annotated[int, Setting("graph networks whose mean is taken", at_least=1)] = 2,
        width: Annotated[int, Setting("of a graph network's layers", at_least=1)] = 64,
        layers: Annotated[int, Setting("of a graph network", at_least=1)] = 3,
        epochs: Annotated[int, Setting("passes over the cells in a graph network's training", at_least=1)] = 30,
        groups: Groups = None,
    ) -> None:
        super().__init__(trees, subset, None if groups is None else groups[:-1])
        self.networks, self.settings = networks, {"width": width, "layers": layers, "epochs": epochs}

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """As EnsemblePredictor's. Raises ValueError for vectors without cells too."""
        vectors, scores = checked(vectors, scores)
        numbers, cells = unpack(vectors)
        scale = NormalScale(scores)
        self._nets = [train(numbers, cells, scale.normal, seed + 1000 * i, **self.settings) for i in range(self.networks)]
        share = np.sqrt(len(scores)) / 10
        self._share = share / (share + self.PROCESS + self.TREES)
        self._fit(numbers, scale, seed)

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        numbers, cells = unpack(vectors)
        return self._joined(super()._mean(numbers), numbers, cells)

    def _mean_and_spread(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers, cells = unpack(vectors)
        return self._joined(super()._mean(numbers), numbers, cells), self._spread(numbers)

    def _joined(self, others: np.ndarray, numbers: np.ndarray, cells: PackedCells) -> np.ndarray:
        """The networks' predictions and those of the other members, weighted."""
        told = np.mean([predict(net, numbers, cells) for net in self._nets], axis=0)
        return self._share * told + (1 - self._share) * others
