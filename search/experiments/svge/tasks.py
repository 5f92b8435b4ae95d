"""The search spaces that SVGe is measured on: their graphs, accuracies, split, and the settings of the training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gemnet.cell import Cell
from search.core.types import CellArrays, SearchError, Space
from search.encoders.svge.graph_files import read_enas
from search.encoders.svge.graph_spaces import enas_space, graphs_of_table, nasbench101_space, nasbench201_space
from search.encoders.svge.graphs import GraphSpace, split
from search.spaces.benchmark_files import find_file
from search.spaces.nasbench101 import load_table as load_nasbench101
from search.spaces.nasbench201 import load_table as load_nasbench201
from search.spaces.tabular import Table

ENAS_FILE, ENAS_LAYERS = "enas_final_structures6.txt", 6
ENAS_REMEDY = f"To get it: final_structures{ENAS_LAYERS}.txt of https://github.com/muhanzhang/D-VAE, under that name"
TRAINING: dict[str, Any] = {"state": 128, "batch": 128, "lr": 2e-3, "optimizer": "muon", "schedule": "cosine"}
"""Ours, for CPU cores: the authors' state 250, batches of 32 and 300 epochs of Adam take days there."""


@dataclass(frozen=True, eq=False)
class Task:
    """A space with its graphs.

    accuracies: float64 [B] in [0, 1], on validation images (ENAS: with shared weights); NaN where it is not known. train, test:
    rows of the 90 / 10 split. settings: of `SVGe`. test_accuracy: of all rows on test images, read when it is called, to score
    what was chosen without it; None where there is none.
    """

    name: str
    space: GraphSpace
    graphs: CellArrays
    accuracies: np.ndarray
    train: np.ndarray
    test: np.ndarray
    settings: dict[str, Any]
    test_accuracy: Callable[[], np.ndarray] | None = None

    def known(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows whose accuracy is known."""
        return rows[np.isfinite(self.accuracies[rows])]

    def cell(self, graphs: CellArrays, row: int) -> Cell:
        """One of `graphs` of this space, or of a larger one with the same types, as a Cell."""
        return graphs.cell(row, self.space.types)


class PoolSpace(Space):
    """Graphs as a search space for the other encoders: `sample` draws them with replacement, each equally likely."""

    def __init__(self, space: GraphSpace, graphs: CellArrays) -> None:
        self.num_nodes, self.operators = space.max_nodes, space.types[1:]
        self._names, self._cells = space.types, graphs.padded(space.max_nodes)

    def sample(self, rng: np.random.Generator, count: int) -> CellArrays:
        return self._cells[rng.integers(len(self._cells), size=count)]

    def to_cells(self, arrays: CellArrays) -> list[Cell]:
        return [arrays.cell(row, self._names) for row in range(len(arrays))]

    def from_cells(self, cells: Sequence[Cell]) -> CellArrays:
        return CellArrays.of(cells, self.num_nodes, self._names)


def _enas(data: str | os.PathLike[str] | None) -> tuple[GraphSpace, CellArrays, np.ndarray, None]:
    return enas_space(ENAS_LAYERS), *read_enas(find_file(ENAS_FILE, data, ENAS_REMEDY), ENAS_LAYERS), None


def _tabular(
    load_table: Callable[..., Table], space: Callable[[], GraphSpace], data: str | os.PathLike[str] | None
) -> tuple[GraphSpace, CellArrays, np.ndarray, Callable[[], np.ndarray]]:
    table = load_table(data)
    return space(), graphs_of_table(table), table.validation_accuracy, table.test_accuracy


TASKS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "enas": (_enas, {"epochs": 10, "places": True, "readout": 0.2}),
    "nasbench101": (partial(_tabular, load_nasbench101, nasbench101_space), {"epochs": 2, "exchange": True}),  # 6,000 steps
    "nasbench201": (partial(_tabular, load_nasbench201, nasbench201_space), {"epochs": 10}),
}


def load_task(
    name: str, data: str | os.PathLike[str] | None = None, limit: int | None = None, settings: dict[str, Any] | None = None
) -> Task:
    """A task by name. data: its file or folder (see `files.find_file`). limit: so many of its graphs alone, drawn from those
    with an accuracy, for a quick look. settings: of `SVGe`, in the place of the task's.

    Raises SearchError for an unknown name, a file that is missing or broken, and, naming it, for a graph that is not of the
    space.
    """
    if name not in TASKS:
        raise SearchError(f"unknown space {name!r}; expected one of {', '.join(TASKS)}")
    load, own = TASKS[name]
    space, graphs, accuracies, test_accuracy = load(data)
    graphs = space.check(graphs)
    if not space.valid(graphs).all():
        raise SearchError(f"{name}: the graph in row {int(space.valid(graphs).argmin())} is not of the space {space.name}")
    if limit is not None:
        known = np.flatnonzero(np.isfinite(accuracies))
        rows = np.sort(np.random.default_rng(0).permutation(known)[:limit])
        graphs, accuracies, whole = graphs[rows], accuracies[rows], test_accuracy
        test_accuracy = None if whole is None else lambda: whole()[rows]
    return Task(name, space, graphs, accuracies, *split(len(graphs)), {**TRAINING, **own, **(settings or {})}, test_accuracy)
