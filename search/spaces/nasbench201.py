"""NAS-Bench-201 (Dong and Yang, ICLR 2020): 15,625 cells with an operator on each of 6 edges, trained on CIFAR-10.

The benchmark's cell has 4 nodes that sum what comes in, and on each of the edges 0>1, 0>2, 1>2, 0>3, 1>3, 2>3 one of 5
operators. Here operators sit on nodes: a cell has 8 of them, the input, one for each of the benchmark's edges in that order,
and the output, and an edge where one edge ends in the node in which the other begins. `none`, which gives zeros, is an operator
like the others, so that all 15,625 strings stay different cells: the benchmark trained them all. No permutation of the 8
nodes keeps their edges, so that cells are isomorphic only if they are equal.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from gemnet.cell import Cell
from gemnet.cost import Cost
from search.core.checks import takes_settings
from search.core.types import CellArrays
from search.spaces.benchmark_files import check, find_file, read_arrays
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
CHANNELS, CELLS_IN_STAGE, IMAGE_SIZE = (16, 32, 64), 5, 32
KERNELS = np.array([0, 0, 0, 1, 3, 0, 0])  # of (input, *OPERATORS)
_KINDS = {
    "ops": ("u", 2),
    "op_names": ("U", 1),
    "cifar10_val": ("f", 1),
    "cifar10_test": ("f", 1),
    "cifar10_params": ("ui", 1),
}


def _adjacency() -> np.ndarray:
    """bool [8, 8]: the graph that all cells share."""
    ends = [(None, 0), *EDGES, (3, None)]  # the input ends in the benchmark's node 0, the output begins in its node 3
    return np.array([[before[1] is not None and before[1] == after[0] for after in ends] for before in ends])


ADJACENCY = _adjacency()
CELL_EDGES: tuple[tuple[int, int], ...] = tuple(map(tuple, np.argwhere(ADJACENCY).tolist()))


@takes_settings("space")
class NasBench201Space(TabularSpace):
    """The cells of NAS-Bench-201's table, of the compact file that `benchmark_files.find_file` finds."""

    def __init__(self, data: Data = None, pool: Pool = "evaluated") -> None:
        super().__init__(load_table(data), pool)

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

    def count(self, arrays: CellArrays) -> Cost:
        return network_cost(arrays)


def load_table(data: str | os.PathLike[str] | None = None) -> Table:
    """The compact file. Raises SearchError where it is not there, or is not one."""
    path = find_file(FILE, data, REMEDY)
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load(path: Path, _: int) -> Table:
    arrays = read_arrays(path, {name: kind for name, kind in _KINDS.items() if name != "cifar10_test"})
    ops, accuracy, params = arrays["ops"], arrays["cifar10_val"].astype(np.float64) / 100, arrays["cifar10_params"]
    check(path, arrays["op_names"].tolist() == list(OPERATORS[:-1]), "op_names", ", ".join(OPERATORS[:-1]))
    check(path, len(ops) > 0 and ops.shape[1] == len(EDGES), "ops", f"some rows of {len(EDGES)}")
    check(path, ops < len(OPERATORS) - 1, "ops", f"ids up to {len(OPERATORS) - 2}")
    check(path, len(accuracy) == len(params) == len(ops), "cifar10_val, cifar10_params", "as many as ops")
    check(path, np.isnan(accuracy) | ((accuracy >= 0) & (accuracy <= 1)), "cifar10_val", "percent")
    check(path, params > 0, "cifar10_params", "positive numbers")
    operators = np.zeros((len(ops), NUM_NODES), np.int8)
    operators[:, 1:-1] = ops + 1
    operators[:, -1] = len(OPERATORS)
    return Table(
        "NAS-Bench-201",
        path,
        OPERATORS,
        np.broadcast_to(ADJACENCY, (len(ops), *ADJACENCY.shape)),
        operators,
        params.astype(np.int64),
        EPOCHS,
        accuracy[:, None],
        _test_accuracy,
    )


def _test_accuracy(path: Path) -> np.ndarray:
    arrays = read_arrays(path, {name: _KINDS[name] for name in ("cifar10_test", "ops")})
    accuracy = arrays["cifar10_test"].astype(np.float64) / 100
    check(path, len(accuracy) == len(arrays["ops"]), "cifar10_test", "as many as ops")
    check(path, (accuracy >= 0) & (accuracy <= 1), "cifar10_test", "percent")
    return accuracy


def network_cost(arrays: CellArrays) -> Cost:
    """Params, MACs and activations, int64 [B], of the networks of B cells on 32 x 32 images with 10 classes.

    3x3 stem, three stages of 5 cells with 16, 32 and 64 channels, a residual block of stride 2 between them (two 3x3
    convolutions, and a 1x1 convolution beside them), batch normalisation, classifier (Dong and Yang, section 2.1).
    """
    kernels = KERNELS[np.maximum(arrays.operators, 0)]
    total = Cost(*np.zeros((3, len(arrays)), np.int64)) + _conv_cost(3, CHANNELS[0], 3, IMAGE_SIZE)
    for stage, width in enumerate(CHANNELS):
        side = IMAGE_SIZE >> stage
        if stage:
            total += _conv_cost(width // 2, width, 3, side) + _conv_cost(width, width, 3, side)
            total += _conv_cost(width // 2, width, 1, side, normalised=False)
        for kernel in (1, 3):
            one, nodes = _conv_cost(width, width, kernel, side), CELLS_IN_STAGE * (kernels == kernel).sum(1)
            total += Cost(nodes * one.params, nodes * one.macs, nodes * one.activations)
    last = CHANNELS[-1]
    return total + Cost(2 * last + (last + 1) * 10, last * 10, 10)


def _conv_cost(in_channels: int, out_channels: int, kernel: int, side: int, normalised: bool = True) -> Cost:
    weights = in_channels * out_channels * kernel**2
    return Cost(weights + 2 * out_channels * normalised, weights * side**2, out_channels * side**2)
