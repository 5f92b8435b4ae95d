"""Cells that were trained here until their curves were flat, as a table: a record of `gemnet cell-benchmark`.

The record has a line a training. What counts are the trainings by the schedule LONG, of the recipe that came last. A cell's
validation accuracies are those of its first seed. Its test accuracy is the mean final accuracy of its other seeds, trainings
that no search has seen, or that of the first where it is the only one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from gemnet.cell import Cell
from gemnet.cost import Cost
from gemnet.operators import INPUT
from search.core.checks import takes_settings
from search.core.json_lines import Format, Store
from search.core.types import CellArrays, SearchError
from search.spaces.benchmark_files import find_file
from search.spaces.tabular import Data, Pool, Table, TabularSpace

FILE = "cell_benchmark.jsonl"
LONG = "long"
"""The schedule by which cells are trained until their curves are flat."""
REMEDY = "The record is made by gemnet cell-benchmark; one is docs/results/cell_benchmark.jsonl of the repository"
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "nodes": list, "edges": list, "kind": str, "schedule": str, "recipe": str, "data": str, "seed": int, "epochs": int,
    "train_images": int, "val_images": int, "accuracy": (int, float), "curve": list, "params": int, "macs": int,
    "activations": int, "seconds": (int, float), "cpu_seconds": (int, float), "machine": str,
}  # fmt: skip


def parse(row: Any) -> dict[str, Any]:
    """A line of the record. Raises ValueError, TypeError or KeyError for what is none."""
    if not isinstance(row, dict):
        raise TypeError("expected an object")
    for name, kind in _FIELDS.items():
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            raise TypeError(f"{name} is {row[name]!r}")
    if len(row["curve"]) != row["epochs"] or row["epochs"] < 1:
        raise ValueError(f"the curve has {len(row['curve'])} values for {row['epochs']} epochs")
    for value in (*row["curve"], row["accuracy"]):
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ValueError(f"an accuracy is {value!r}, not between 0 and 1")
    cell_of(row)
    return row


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell of a line. Raises ValueError or TypeError for what is none."""
    return Cell(tuple(row["nodes"]), tuple((u, v) for u, v in row["edges"]))


def key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    """By which a training is known: its cell, whatever the order of its nodes, its recipe and its seed."""
    return cell_of(row).pruned().digest(), row["recipe"], row["seed"]


FORMAT: Format[dict[str, Any]] = Format(parse, key, ", line {number}: not a training of a cell: {reason}")


@takes_settings("space")
class CellBenchmarkSpace(TabularSpace):
    """The cells of a record of trainings."""

    def __init__(self, data: Data = None, pool: Pool = "evaluated") -> None:
        path = find_file(FILE, data, REMEDY)
        self._macs, self._activations, table = _load(path, path.stat().st_mtime_ns)
        super().__init__(table, pool)

    def checked(self, cell: Cell) -> Cell:
        """The cell without nodes that the input does not reach."""
        pruned = cell.pruned()
        unknown = set(pruned.nodes[1:]) - set(self.operators)
        if unknown:
            raise self._outside(f"it has the operator {min(unknown)!r}; expected {', '.join(self.operators)}")
        if len(pruned.nodes) > self.num_nodes:
            raise self._outside(f"it has {len(pruned.nodes)} nodes; expected at most {self.num_nodes}")
        return pruned

    def count(self, arrays: CellArrays) -> Cost:
        rows = [self.row(cell) for cell in self.to_cells(arrays)]
        return Cost(self.table.params[rows], self._macs[rows], self._activations[rows])


def trainings(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The trainings that count, by the digest of their cell, the smallest seed first: those by the schedule LONG, with the
    recipe that came last."""
    recipe = next((row["recipe"] for row in reversed(rows) if row["schedule"] == LONG), None)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted((row for row in rows if row["recipe"] == recipe), key=lambda row: row["seed"]):
        found.setdefault(key(row)[0], []).append(row)
    return found


@lru_cache(maxsize=2)
def _load(path: Path, _: int) -> tuple[np.ndarray, np.ndarray, Table]:
    found = list(trainings(list(Store(path, FORMAT).rows.values())).values())
    if not found:
        raise SearchError(f"{path}: no cell is trained yet; {REMEDY}")
    first = [rows[0] for rows in found]
    cells = [cell_of(row).pruned() for row in first]
    names = tuple(sorted({name for cell in cells for name in cell.nodes[1:]}))
    arrays = CellArrays.of(cells, max(len(cell.nodes) for cell in cells), (INPUT, *names))
    test = np.array([fmean(row["accuracy"] for row in rows[1:] or rows) for rows in found])
    table = Table(
        "the benchmark of cells",
        path,
        names,
        arrays.adjacency,
        arrays.operators,
        np.array([row["params"] for row in first], np.int64),
        tuple(range(1, first[0]["epochs"] + 1)),
        np.array([row["curve"] for row in first], np.float64),
        lambda _: test,
    )
    macs, activations = (np.array([row[name] for row in first], np.int64) for name in ("macs", "activations"))
    return macs, activations, table


def open_benchmark(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a record. Raises SearchError, with the line, for a file of something else."""
    return list(Store(path, FORMAT).rows.values())
