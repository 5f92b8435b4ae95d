"""The default predictor of the benchmarks' tables: the ensemble on counts, and graph networks on the cells themselves.

The numbers carry most at small samples, the networks at large ones: the more cells, the more the networks weigh.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import EncodedCells
from search.predictors.ensemble import EnsemblePredictor, Groups, Subset, Trees
from search.predictors.graph_network import predict, train
from search.predictors.normal_scores import normal_scores
from search.predictors.training_set import checked


@takes_settings("predictor")
class GraphEnsemblePredictor(EnsemblePredictor):
    """EnsemblePredictor on the vectors, and the mean of `networks` graph networks on cells and vectors.

    With n cells in training the networks have the weight sqrt(n) / 10 where the ensemble has those of its members.
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
        super().__init__(trees, subset, groups)
        self.networks, self.settings = networks, {"width": width, "layers": layers, "epochs": epochs}

    def fit(self, x: EncodedCells, scores: np.ndarray, seed: int) -> None:
        """As EnsemblePredictor's."""
        _, scores = checked(x, scores)
        normal = normal_scores(scores)
        self._nets = [train(x, normal, seed + 1000 * i, **self.settings) for i in range(self.networks)]
        share = np.sqrt(len(scores)) / 10
        self._share = share / (share + self.PROCESS + self.TREES)
        super().fit(x, scores, seed)

    def _mean(self, x: EncodedCells) -> np.ndarray:
        of_networks = np.mean([predict(net, x) for net in self._nets], axis=0)
        return self._share * of_networks + (1 - self._share) * super()._mean(x)
