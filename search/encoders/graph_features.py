"""Cells as numbers: counts of what they are made of, and shares of what flows through their networks.

Nothing is learned but the mean and the deviation of each number over the space. The numbers do not depend on the order of
nodes, so that isomorphic cells embed alike. Their groups' weights were chosen on validation accuracies of NAS-Bench-101 and
NAS-Bench-201, for one predictor on both; one that knows the groups finds weights of its own (`predictors.gaussian_process`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.types import OUTPUT, CellArrays, EncodedCells, Encoder, Progress, SearchError, Space
from search.encoders.counts import count
from search.encoders.flows import flow
from search.encoders.simplify import simplify
from search.spaces.dag import prune

GROUP_WEIGHTS = {
    "nodes": 0.2,
    "edges": 0.7,
    "walks": 0.15,
    "degrees": 0.15,
    "lengths": 0.6,
    "sequences": 0.1,
    "shares": 1.0,
    "widths": 0.5,
    "flows": 0.7,
    "fan": 0.3,
    "ways": 0.9,
    "steps": 0.3,
}
"""Share of each group of `count` and `flow` in the distance of two cells, relative to the others, as a factor of its values."""
_CHUNK = 512
"""Cells at a time, of about the same size: the arrays stay in the processor's cache, and small cells cost little."""

Dropped = Annotated[Sequence[str], Setting("operators that give zeros, like NAS-Bench-201's none: no part of the cell")]
Identities = Annotated[
    Sequence[str], Setting("operators that do nothing, like NAS-Bench-201's skip_connect: edges take their place")
]


@takes_settings("encoder")
class GraphFeatureEncoder(Encoder):
    """Embeds a cell as standardised counts of its nodes, edges and paths, and shares of what flows through them.

    Numbers stand group by group, in the order of GROUP_WEIGHTS. What dropped operators and identities mean: see `simplify`.
    Predictors are handed the simplified cells.

    groups: sizes of the parts of the groups, for predictors that weigh them.
    """

    name = "statistics"

    def __init__(
        self,
        space: Space,
        *,
        dropped: Dropped = (),
        identities: Identities = (),
        sample: Annotated[int, Setting("cells that means and deviations are taken from", at_least=2)] = 4096,
        cells: Annotated[
            bool, Setting("of older configs, without effect: predictors that read graphs are handed the cells themselves")
        ] = False,
    ) -> None:
        for label, names in {"dropped": dropped, "identities": identities}.items():
            unknown = set(names) - set(space.operators)
            if unknown:
                raise SearchError(
                    f"encoder: {label}: unknown operator {min(unknown)!r}; the space has {', '.join(space.operators)}"
                )
        if set(dropped) & set(identities):
            raise SearchError(f"encoder: {min(set(dropped) & set(identities))!r} is both dropped and an identity")
        if OUTPUT in {*dropped, *identities}:
            raise SearchError(f"encoder: {OUTPUT!r} ends paths; it is neither dropped nor an identity")
        if identities and OUTPUT not in space.operators:
            raise SearchError(f"encoder: identities: expected none in a space without {OUTPUT!r}, whose last nodes may be some")
        super().__init__(space, 0)
        self.dropped, self.identities, self.sample, self.cells = tuple(dropped), tuple(identities), sample, cells
        groups = self._groups(self._simplified(_one_node(space)))
        self.groups = tuple(part.shape[1] for parts in groups.values() for part in parts)
        self.dim = sum(self.groups)
        self._mean, self._scale = np.zeros(self.dim, np.float32), np.ones(self.dim, np.float32)

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Take means and deviations from `sample` cells; returns no figures. Numbers that never differ become zeros."""
        groups = self._groups(self._simplified(prune(self.space.sample(np.random.default_rng(seed), self.sample))))
        values = _joined(groups)
        mean, spread = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
        differs = spread > 1e-6 * np.maximum(1, np.abs(mean))
        scale = np.zeros_like(spread)
        scale[differs] = 1 / spread[differs]
        start = 0
        for name, parts in groups.items():
            columns = slice(start, start + sum(part.shape[1] for part in parts))
            scale[columns] *= GROUP_WEIGHTS[name] / np.sqrt(max(1, differs[columns].sum()))
            start = columns.stop
        self._mean, self._scale = mean.astype(np.float32), scale.astype(np.float32)
        return {}

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""
        return self.encode(arrays).vectors

    def encode(self, arrays: CellArrays) -> EncodedCells:
        """Pruned cells -> what they compute, and their numbers."""
        cells = self._simplified(arrays)
        vectors = np.empty((len(cells), self.dim), np.float32)
        by_size = np.argsort(arrays.sizes, kind="stable")
        for start in range(0, len(cells), _CHUNK):
            rows = by_size[start : start + _CHUNK]
            vectors[rows] = (_joined(self._groups(cells[rows])) - self._mean) * self._scale
        return EncodedCells(cells, vectors, self.groups, self.output)

    def weights(self) -> dict[str, torch.Tensor]:
        """What `fit` found, by name: mean and scale of the numbers."""
        return {"mean": torch.from_numpy(self._mean), "scale": torch.from_numpy(self._scale)}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Raises RuntimeError for those of another encoder."""
        found = {name: tuple(value.shape) for name, value in weights.items()}
        if found != {"mean": (self.dim,), "scale": (self.dim,)}:
            raise RuntimeError(f"expected mean and scale of {self.dim} values, found {found}")
        self._mean, self._scale = weights["mean"].numpy(), weights["scale"].numpy()

    def _codes(self, names: tuple[str, ...]) -> list[int]:
        """Operators as CellArrays have them."""
        return [self.space.operators.index(name) + 1 for name in names]

    def _simplified(self, arrays: CellArrays) -> CellArrays:
        if not (self.dropped or self.identities):
            return arrays
        return simplify(arrays, self._codes(self.dropped), self._codes(self.identities), self.output)

    def _groups(self, cells: CellArrays) -> dict[str, list[np.ndarray]]:
        """Of simplified cells: groups by name, in parts of [B, ...]."""
        operators, num_nodes, cells = len(self.space.operators), cells.operators.shape[1], cells.compact()
        groups = count(cells, operators, self.output, num_nodes) | flow(cells, operators, self.output)
        return {name: groups[name] for name in GROUP_WEIGHTS}


def _joined(groups: dict[str, list[np.ndarray]]) -> np.ndarray:
    """float32 [B, ...]."""
    return np.concatenate([part for parts in groups.values() for part in parts], axis=1, dtype=np.float32)


def _one_node(space: Space) -> CellArrays:
    """A cell of the input alone."""
    operators = np.full((1, space.num_nodes), -1, np.int8)
    operators[0, 0] = 0
    return CellArrays(np.zeros((1, space.num_nodes, space.num_nodes), bool), operators)
