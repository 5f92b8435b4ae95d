"""NAS-Bench-201 (Dong and Yang, ICLR 2020): 15,625 cells with an operator on each of 6 edges, trained on CIFAR-10.

The benchmark's cell has 4 nodes that sum what comes in, and on each of the edges 0>1, 0>2, 1>2, 0>3, 1>3, 2>3 one of 5
operators. Here operators sit on nodes: a cell has 8 of them, the input, one for each of the benchmark's edges in that order,
and the output, and an edge where one edge ends in the node in which the other begins. `none`, which gives zeros, is an operator
like the others, so that all 15,625 strings stay different cells: the benchmark trained them all. No permutation of the 8
nodes keeps their edges, so that cells are isomorphic only if they are equal.

Beside CIFAR-10 a file may hold accuracies on other data sets, one's own among them: `column` names which are looked up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np

from gemnet.cell import Cell
from gemnet.core.settings import Setting
from gemnet.cost import Cost
from search.core.checks import takes_settings
from search.core.types import CellArrays, SearchError
from search.spaces.benchmark_files import array_names, check, check_once, find_file, read_arrays
from search.spaces.tabular import Data, Pool, Table, TabularSpace

FILE = "nasbench201.npz"
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The benchmark's edges, in the order of the columns of the compact file and of nodes 1 to 6 of a cell."""
OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "output")
NUM_NODES = len(EDGES) + 2
EPOCHS = (200,)
REMEDY = (
    "To make it: download NAS-Bench-201-v1_1-096897.pth, or better the folder NAS-Bench-201-v1_1-archive, from "
    "https://github.com/D-X-Y/NAS-Bench-201, then gemnet convert-benchmark nasbench201 SOURCE nasbench201.npz"
)
CHANNELS, CELLS_IN_STAGE = (16, 32, 64), 5
KERNELS = np.array([0, 0, 0, 1, 3, 0, 0])  # of (input, *OPERATORS)
_CELLS = {"ops": ("u", 2), "op_names": ("U", 1)}
DEFAULT_COLUMN = "cifar10"
CLASSES_AND_SIDE = {"cifar10": (10, 32), "cifar100": (100, 32), "ImageNet16-120": (120, 16)}
"""Classes, and pixels of a side of the images, of the benchmark's own data sets."""
Column = Annotated[
    str,
    Setting(
        "data set whose accuracies are looked up, in percent: the file's arrays COLUMN_val, COLUMN_test and COLUMN_params, or "
        "one array of validation accuracies that is called so itself"
    ),
]


def _adjacency() -> np.ndarray:
    """bool [8, 8]: the graph that all cells share."""
    ends = [(None, 0), *EDGES, (3, None)]  # the input ends in the benchmark's node 0, the output begins in its node 3
    return np.array([[before[1] is not None and before[1] == after[0] for after in ends] for before in ends])


ADJACENCY = _adjacency()
CELL_EDGES: tuple[tuple[int, int], ...] = tuple(map(tuple, np.argwhere(ADJACENCY).tolist()))


@takes_settings("space")
class NasBench201Space(TabularSpace):
    """The cells of NAS-Bench-201's table, of the compact file that `benchmark_files.find_file` finds."""

    def __init__(self, data: Data = None, pool: Pool = "evaluated", column: Column = DEFAULT_COLUMN) -> None:
        super().__init__(load_table(data, column), pool)
        self.column = column

    def checked(self, cell: Cell) -> Cell:
        """The cell with its nodes in the order of the benchmark's edges."""
        nodes = cell.nodes if cell.edges == CELL_EDGES and len(cell.nodes) == NUM_NODES else self._in_order(cell)
        if nodes[-1] != "output" or not set(nodes[1:-1]) <= set(OPERATORS[:-1]):
            raise self._outside(f"operators {', '.join(nodes[1:])}; expected 6 of {', '.join(OPERATORS[:-1])}, then output")
        return Cell(nodes, CELL_EDGES, cell.provenance)

    def _in_order(self, cell: Cell) -> tuple[str, ...]:
        from networkx import DiGraph
        from networkx.algorithms.isomorphism import DiGraphMatcher

        matcher = DiGraphMatcher(DiGraph(CELL_EDGES), cell.to_networkx())
        if not matcher.is_isomorphic():
            raise self._outside("its edges are not those that all cells of the benchmark have")
        return tuple(cell.nodes[matcher.mapping[v]] for v in range(NUM_NODES))

    def published_name(self, cell: Cell) -> str:
        return "the cell " + written(self.checked(cell).nodes[1:-1])

    def count(self, arrays: CellArrays) -> Cost:
        return network_cost(arrays, *CLASSES_AND_SIDE.get(self.column, CLASSES_AND_SIDE[DEFAULT_COLUMN]))


def written(operators: Sequence[str]) -> str:
    """A cell as the benchmark writes it, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, of the operators on its six edges."""
    ends: dict[int, list[str]] = {end: [] for _, end in EDGES}
    for name, (begin, end) in zip(operators, EDGES, strict=True):
        ends[end].append(f"{name}~{begin}")
    return "+".join(f"|{'|'.join(parts)}|" for parts in ends.values())


def load_table(data: str | os.PathLike[str] | None = None, column: str = DEFAULT_COLUMN) -> Table:
    """The compact file, with the accuracies of one data set; cells without one have NaN there.

    Raises SearchError where the file is not there, or is none, has no such column, or has a cell twice.
    """
    path = find_file(FILE, data, REMEDY)
    return _load(path, path.stat().st_mtime_ns, column)


@lru_cache(maxsize=4)
def _load(path: Path, _: int, column: str) -> Table:
    validation, params_name = _arrays_of(path, column)
    needed = {**_CELLS, validation: ("f", 1), **({params_name: ("ui", 1)} if params_name else {})}
    arrays = read_arrays(path, needed)
    ops, accuracy = arrays["ops"], arrays[validation].astype(np.float64) / 100
    check(path, arrays["op_names"].tolist() == list(OPERATORS[:-1]), "op_names", ", ".join(OPERATORS[:-1]))
    check(path, len(ops) > 0 and ops.shape[1] == len(EDGES), "ops", f"some rows of {len(EDGES)}")
    check(path, ops < len(OPERATORS) - 1, "ops", f"ids up to {len(OPERATORS) - 2}")
    columns = [name for name in needed if name not in _CELLS]
    check(path, all(len(arrays[name]) == len(ops) for name in columns), ", ".join(columns), "as many as ops")
    check(path, np.isnan(accuracy) | ((accuracy >= 0) & (accuracy <= 1)), validation, "percent")
    known = accuracy[np.isfinite(accuracy)]
    check(path, not len(known) or known.max() > 0.01, validation, "percent; found none above 1, as shares would be")
    codes = ops.astype(np.int64) @ 5 ** np.arange(len(EDGES))
    check_once(path, "ops", codes, lambda row: "the cell " + written([OPERATORS[i] for i in ops[row]]))
    operators = np.zeros((len(ops), NUM_NODES), np.int8)
    operators[:, 1:-1] = ops + 1
    operators[:, -1] = len(OPERATORS)
    adjacency = np.broadcast_to(ADJACENCY, (len(ops), *ADJACENCY.shape))
    if params_name:
        params = arrays[params_name].astype(np.int64)
        check(path, params > 0, params_name, "positive numbers")
    else:
        params = network_cost(CellArrays(adjacency, operators)).params
    return Table(
        "NAS-Bench-201",
        path,
        OPERATORS,
        adjacency,
        operators,
        params,
        EPOCHS,
        accuracy[:, None],
        partial(_test_accuracy, column),
    )


def _arrays_of(path: Path, column: str) -> tuple[str, str | None]:
    """The arrays of a column's validation accuracies and params; None where params are to be counted.

    Raises SearchError, with the columns that are there, for one that is not.
    """
    params = f"{column}_params"
    if column == DEFAULT_COLUMN:  # whatever is missing of it is told by its array's name
        return f"{column}_val", params
    names = array_names(path)
    single = [name for name in names if name not in (*_CELLS, "version") and not name.endswith(("_val", "_test", "_params"))]
    if column in single:
        return column, params if params in names else None
    if f"{column}_val" in names:
        return f"{column}_val", params if params in names else None
    there = [*(name.removesuffix("_val") for name in names if name.endswith("_val")), *single]
    raise SearchError(
        f"{path}: space.column: expected one of {', '.join(there) or '(none is there)'}, found {column!r}; a column's "
        f"validation accuracies are the array {column}_val or {column}, in percent, in the order of ops"
    )


def _test_accuracy(column: str, path: Path) -> np.ndarray:
    name = f"{column}_test"
    arrays = read_arrays(path, {name: ("f", 1), "ops": _CELLS["ops"]})
    accuracy = arrays[name].astype(np.float64) / 100
    check(path, len(accuracy) == len(arrays["ops"]), name, "as many as ops")
    check(path, (accuracy >= 0) & (accuracy <= 1), name, "percent")
    return accuracy


def network_cost(arrays: CellArrays, classes: int = 10, image_side: int = 32) -> Cost:
    """Params, MACs and activations, int64 [B], of the networks of B cells; image_side: of the images, in pixels.

    3x3 stem, three stages of 5 cells with 16, 32 and 64 channels, a residual block of stride 2 between them (two 3x3
    convolutions, and a 1x1 convolution beside them), batch normalisation, classifier (Dong and Yang, section 2.1).
    """
    kernels = KERNELS[np.maximum(arrays.operators, 0)]
    total = Cost(*np.zeros((3, len(arrays)), np.int64)) + _conv_cost(3, CHANNELS[0], 3, image_side)
    for stage, width in enumerate(CHANNELS):
        side = image_side >> stage
        if stage:
            total += _conv_cost(width // 2, width, 3, side) + _conv_cost(width, width, 3, side)
            total += _conv_cost(width // 2, width, 1, side, normalised=False)
        for kernel in (1, 3):
            one, nodes = _conv_cost(width, width, kernel, side), CELLS_IN_STAGE * (kernels == kernel).sum(1)
            total += Cost(nodes * one.params, nodes * one.macs, nodes * one.activations)
    last = CHANNELS[-1]
    return total + Cost(2 * last + (last + 1) * classes, last * classes, classes)


def _conv_cost(in_channels: int, out_channels: int, kernel: int, side: int, normalised: bool = True) -> Cost:
    weights = in_channels * out_channels * kernel**2
    return Cost(weights + 2 * out_channels * normalised, weights * side**2, out_channels * side**2)
