"""Cells as counts of what their networks do: operators, edges, degrees, and the paths from the input to the ends.

Nothing is learned but the mean and the deviation of each count over the space. The counts do not depend on the order of nodes,
so that isomorphic cells embed alike. That such counts carry most at small samples is known from path encodings (White et al.,
BANANAS, AAAI 2021) and from the benchmarks; which groups of them, and with what weights, was chosen on validation accuracies
of NAS-Bench-101.
"""

from __future__ import annotations

import os

import numpy as np
import torch

from search.base import CellArrays, Progress, SearchError, Space
from search.embedding.packing import pack, packed_size
from search.embedding.storage import save_encoder
from search.space import prune

GROUP_WEIGHTS = {"nodes": 0.3, "edges": 1.0, "walks": 0.5, "degrees": 0.3, "lengths": 1.0, "sequences": 0.3}
"""Share of each group in the distance of two cells, relative to the others, as a factor of its values."""
END = "output"
"""The operator that only ends paths, where a space has it (NAS-Bench-101 and 201)."""
MAX_SEQUENCES = 400
MAX_DEGREE = 4
_CHUNK = 512
"""Cells at a time, of about the same size: the arrays stay in the processor's cache, and small cells cost little."""


class StatisticsEncoder:
    """Embeds a cell as its standardised counts, group by group (see `count`).

    dropped: operators that give zeros, like NAS-Bench-201's `none`; their nodes are no part of the cell. sample: cells of the
    space that the means and deviations are taken from. cells: whether the cell itself, packed (`packing`), follows the counts,
    for predictors that read graphs.
    """

    name = "statistics"

    def __init__(self, space: Space, dropped: tuple[str, ...] = (), sample: int = 4096, cells: bool = False) -> None:
        unknown = set(dropped) - set(space.operators)
        if unknown:
            raise SearchError(
                f"encoder: dropped: unknown operator {min(unknown)!r}; the space has {', '.join(space.operators)}"
            )
        if type(sample) is not int or sample < 2:
            raise SearchError(f"encoder: sample: expected a whole number from 2, found {sample!r}")
        self.space, self.dropped, self.sample, self.cells = space, tuple(dropped), sample, bool(cells)
        self.counts = sum(group.shape[1] for group in self._counts(_one_node(space)).values())
        self.dim = self.counts + (packed_size(space.num_nodes) if cells else 0)
        self.metrics: dict[str, float] = {}
        self._mean, self._scale = np.zeros(self.counts, np.float32), np.ones(self.counts, np.float32)

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Take means and deviations from `sample` cells; returns no figures. Counts that never differ become zeros."""
        groups = self._counts(self._kept(prune(self.space.sample(np.random.default_rng(seed), self.sample))))
        values = np.concatenate(list(groups.values()), axis=1)
        spread = values.std(0)
        differs = spread > 1e-6
        scale = np.zeros_like(spread)
        scale[differs] = 1 / spread[differs]
        start = 0
        for name, group in groups.items():
            columns = slice(start, start + group.shape[1])
            scale[columns] *= GROUP_WEIGHTS[name] / np.sqrt(max(1, differs[columns].sum()))
            start = columns.stop
        self._mean, self._scale = values.mean(0).astype(np.float32), scale.astype(np.float32)
        return {}

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""
        out = np.empty((len(arrays), self.dim), np.float32)
        by_size = np.argsort((arrays.operators >= 0).sum(1), kind="stable")
        for start in range(0, len(arrays), _CHUNK):
            rows = by_size[start : start + _CHUNK]
            kept = self._kept(arrays[rows])
            counts = (np.concatenate(list(self._counts(kept).values()), axis=1) - self._mean) * self._scale
            out[rows] = np.concatenate([counts, pack(kept)], axis=1) if self.cells else counts
        return out

    def save(self, directory: str | os.PathLike[str]) -> None:
        weights = {"mean": torch.from_numpy(self._mean), "scale": torch.from_numpy(self._scale)}
        settings = {"dropped": list(self.dropped), "sample": self.sample, "cells": self.cells}
        save_encoder(directory, self.name, self.space, settings, self.metrics, weights)

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Raises RuntimeError for those of another encoder."""
        found = {name: tuple(value.shape) for name, value in weights.items()}
        if found != {"mean": (self.counts,), "scale": (self.counts,)}:
            raise RuntimeError(f"expected mean and scale of {self.counts} values, found {found}")
        self._mean, self._scale = weights["mean"].numpy(), weights["scale"].numpy()

    def _kept(self, arrays: CellArrays) -> CellArrays:
        """Without the nodes of dropped operators."""
        if not self.dropped:
            return arrays
        gone = np.isin(arrays.operators, [self.space.operators.index(name) + 1 for name in self.dropped])
        kept = ~gone[:, :, None] & ~gone[:, None]
        return CellArrays(arrays.adjacency & kept, np.where(gone, np.int8(-1), arrays.operators).astype(np.int8))

    def _counts(self, kept: CellArrays) -> dict[str, np.ndarray]:
        operators = self.space.operators
        return count(kept, len(operators), operators.index(END) + 1 if END in operators else None)


def count(cells: CellArrays, num_operators: int, end: int | None = None) -> dict[str, np.ndarray]:
    """The groups of counts of B cells, each float32 [B, ...], K operators and the input being kinds of nodes.

    nodes: of each operator, of all; edges; ends, which are the nodes `end`, or those without a way out where `end` is None.
    edges, walks: pairs of kinds that an edge, or two edges in a row, lead from and to. degrees: nodes of each kind with 1, 2, 3
    or more ways in, the same out, and ways into the ends. lengths: of the paths from the input to the ends, the longest, the
    shortest and the mean, in nodes, and in nodes of each operator (-1 without a path); and log(1 + paths).
    sequences: log(1 + paths) for each sequence of operators between input and end, as long as there are at most MAX_SEQUENCES
    and they fit into the places for nodes that the arrays have.
    """
    num_nodes, cells = cells.operators.shape[1], cells.compact()
    adjacency, operators = cells.adjacency, cells.operators
    batch, live = len(cells), operators >= 0
    edges = adjacency.astype(np.float32)
    kinds = (operators[:, :, None] == np.arange(num_operators + 1)).astype(np.float32)  # [B, n, 1 + K]
    by_kind = np.swapaxes(kinds, 1, 2)
    ends = operators == end if end is not None else live & ~adjacency.any(2)
    out_of = edges @ kinds
    into = edges.sum(1)
    longest, shortest, mean, paths = _path_lengths(adjacency, operators, num_operators, ends)

    def degrees(found: np.ndarray) -> np.ndarray:
        bins = np.minimum(found, MAX_DEGREE)[:, :, None] == np.arange(1, MAX_DEGREE + 1)
        return (by_kind @ bins.astype(np.float32)).reshape(batch, -1)

    totals = np.stack([live.sum(1), edges.sum((1, 2)), ends.sum(1)], axis=1)
    groups = {
        "nodes": [kinds.sum(1)[:, 1:], totals],
        "edges": [(by_kind @ out_of).reshape(batch, -1)],
        "walks": [(by_kind @ (edges @ out_of)).reshape(batch, -1)],
        "degrees": [degrees(into), degrees(edges.sum(2)), (ends * into).sum(1)[:, None]],
        "lengths": [longest, shortest, mean, np.log1p(paths)[:, None]],
        "sequences": [np.log1p(_sequences(edges, kinds, ends, num_operators - (end is not None), num_nodes))],
    }
    return {name: np.concatenate(parts, axis=1).astype(np.float32) for name, parts in groups.items()}


def _path_lengths(
    adjacency: np.ndarray, operators: np.ndarray, num_operators: int, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Longest, shortest, mean [B, 1 + K] and number [B] of the paths from the input to the ends; -1 and 0 without one."""
    batch, n = operators.shape
    lengths = np.concatenate([np.ones((num_operators, 1)), np.eye(num_operators)], axis=1)  # of a node: in all, by operator
    weight = np.concatenate([np.zeros((1, num_operators + 1)), lengths])[np.maximum(operators, 0)]  # [B, n, 1 + K]
    longest, shortest = np.full_like(weight, -np.inf), np.full_like(weight, np.inf)
    paths, total = np.zeros((batch, n)), np.zeros_like(weight)
    longest[:, 0] = shortest[:, 0] = 0
    paths[:, 0] = 1
    for v in range(1, n):
        here = adjacency[:, :v, v, None]
        longest[:, v] = np.where(here, longest[:, :v], -np.inf).max(1) + weight[:, v]
        shortest[:, v] = np.where(here, shortest[:, :v], np.inf).min(1) + weight[:, v]
        paths[:, v] = (paths[:, :v] * here[..., 0]).sum(1)
        total[:, v] = (total[:, :v] * here).sum(1) + paths[:, v, None] * weight[:, v]
    at_ends = ends[:, :, None]
    longest, shortest = np.where(at_ends, longest, -np.inf).max(1), np.where(at_ends, shortest, np.inf).min(1)
    number = (paths * ends).sum(1)
    mean = (total * at_ends).sum(1) / np.maximum(number, 1)[:, None]
    return np.where(np.isfinite(longest), longest, -1), np.where(np.isfinite(shortest), shortest, -1), mean, number


def _sequences(edges: np.ndarray, kinds: np.ndarray, ends: np.ndarray, num_operators: int, num_nodes: int) -> np.ndarray:
    """Number of paths from the input to an end along each sequence of the first K operators, shorter ones first."""
    batch, n = ends.shape
    found, into = [], np.swapaxes(edges, 1, 2)
    along = np.zeros((batch, n, 1), np.float32)  # walks from the input to each node, by sequence
    along[:, 0] = 1
    places = 1
    while True:
        arrived = into @ along  # before the node's own operator
        found.append((arrived * ends[:, :, None]).sum(1))
        if sum(part.shape[1] for part in found) + places * num_operators > MAX_SEQUENCES or len(found) == num_nodes:
            return np.concatenate(found, axis=1)
        along = (arrived[:, :, :, None] * kinds[:, :, None, 1 : num_operators + 1]).reshape(batch, n, -1)
        places *= num_operators


def _one_node(space: Space) -> CellArrays:
    """A cell of the input alone."""
    operators = np.full((1, space.num_nodes), -1, np.int8)
    operators[0, 0] = 0
    return CellArrays(np.zeros((1, space.num_nodes, space.num_nodes), bool), operators)
