"""NAS-Bench-101 (Ying et al., ICML 2019): 423,624 cells of at most 7 nodes and 9 edges, trained on CIFAR-10, as a search space.

Operators sit on nodes, as in NASGEM: `conv3x3`, `conv1x1`, `maxpool3x3`; the first node is the input, the last the output. A
cell's nodes lie on paths from the input to the output; what does not is pruned, as the benchmark itself does. Edges mean sums
at the nodes and a concatenation at the output (see `nasbench101_network.py`), not NASGEM's concatenations everywhere: that is
what the node `output` says of a cell, and why gemnet itself builds no network of it.
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

FILE = "nasbench101.npz"
OPERATORS = ("conv3x3", "conv1x1", "maxpool3x3", "output")
PUBLISHED_OPERATORS = ("input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "output")
"""The benchmark's own names, in the order of the ids in the compact file."""
OUTPUT = 4
NO_NODE = 255
MAX_NODES, MAX_EDGES = 7, 9
EPOCHS = (4, 12, 36, 108)
REMEDY = (
    "To make it: download https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord (499 MB; nasbench_full.tfrecord "
    "has the shorter trainings, too), then gemnet convert-benchmark nasbench101 nasbench_only108.tfrecord FOLDER/" + FILE
)
_KINDS = {
    "adj_bits": ("u", 1),
    "n_nodes": ("u", 1),
    "ops": ("u", 2),
    "op_names": ("U", 1),
    "params": ("ui", 1),
    "test_acc_num": ("ui", 1),
    "test_acc_den": ("ui", 0),
    "val_subset_n": ("ui", 0),
    "val_den": ("ui", 0),
    **{f"val{epochs}_num": ("ui", 1) for epochs in EPOCHS},
}


@takes_settings("space")
class NasBench101Space(TabularSpace):
    """The cells of NAS-Bench-101's table, of the compact file that `benchmark_files.find_file` finds."""

    def __init__(self, data: Data = None, pool: Pool = "evaluated") -> None:
        super().__init__(load_table(data), pool)

    def checked(self, cell: Cell) -> Cell:
        """The cell without nodes that are not on a path from the input to the output, which is then its last node."""
        kept = pruned_both_ways(cell)
        if kept is None:
            raise self._outside("no path leads from the input to the node 'output'")
        unknown = set(kept.nodes[1:-1]) - set(OPERATORS[:-1])
        if unknown:
            raise self._outside(f"it has the operator {min(unknown)!r}; expected {', '.join(OPERATORS[:-1])}, one output")
        if len(kept.nodes) > MAX_NODES or len(kept.edges) > MAX_EDGES:
            size = f"{len(kept.nodes)} nodes, {len(kept.edges)} edges"
            raise self._outside(f"it has {size}; expected at most {MAX_NODES} and {MAX_EDGES}")
        return kept

    def count(self, arrays: CellArrays) -> Cost:
        from search.spaces.nasbench101_network import network_cost  # imports torch

        return network_cost(arrays)


def pruned_both_ways(cell: Cell) -> Cell | None:
    """The cell with the nodes alone that lie on a path from the input to the first node `output`; None where there is none."""
    if "output" not in cell.nodes:
        return None
    output = cell.nodes.index("output")
    useful = {output}
    for u, v in reversed(cell.edges):  # sorted by u, and u < v: whether v is useful is known when its edges come
        if v in useful:
            useful.add(u)
    kept = sorted(useful & set(cell.live_nodes))
    if 0 not in kept or output not in kept:
        return None
    index = {v: i for i, v in enumerate(kept)}
    edges = tuple((index[u], index[v]) for u, v in cell.edges if u in index and v in index)
    return Cell(tuple(cell.nodes[v] for v in kept), edges, cell.provenance)


def load_table(data: str | os.PathLike[str] | None = None) -> Table:
    """The compact file. Raises SearchError where it is not there, or is not one."""
    path = find_file(FILE, data, REMEDY)
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load(path: Path, _: int) -> Table:
    optional = [f"val{epochs}_num" for epochs in EPOCHS[:-1]]
    arrays = read_arrays(path, {k: v for k, v in _KINDS.items() if not k.startswith("test")}, optional)
    check(path, arrays["op_names"].tolist() == list(PUBLISHED_OPERATORS), "op_names", ", ".join(PUBLISHED_OPERATORS))
    bits, nodes, ops = arrays["adj_bits"].astype(np.uint32), arrays["n_nodes"].astype(np.int64), arrays["ops"]
    count = len(bits)
    check(path, count > 0 and len(nodes) == len(arrays["params"]) == count, "adj_bits, n_nodes, params", "equally many, some")
    check(path, ops.shape == (count, MAX_NODES), "ops", f"{count} rows of {MAX_NODES}")
    check(path, (nodes >= 2) & (nodes <= MAX_NODES), "n_nodes", f"2 to {MAX_NODES}")
    places = np.arange(MAX_NODES)
    last = nodes[:, None] - 1
    check(path, (ops == NO_NODE) == (places > last), "ops", f"{NO_NODE} beyond the output, and only there")
    check(path, (ops == OUTPUT) == (places == last), "ops", f"{OUTPUT} at the last node, and only there")
    check(path, (ops == 0) == (places == 0), "ops", "0 at the first node, and only there")
    check(path, (ops <= OUTPUT) | (ops == NO_NODE), "ops", f"ids up to {OUTPUT}")
    check(path, arrays["params"] > 0, "params", "positive numbers")

    adjacency = np.zeros((count, MAX_NODES, MAX_NODES), bool)
    for v in range(1, MAX_NODES):
        for u in range(v):
            adjacency[:, u, v] = bits >> np.uint32(u + v * (v - 1) // 2) & np.uint32(1)
    check(path, bits >> (nodes * (nodes - 1) // 2).astype(np.uint32) == 0, "adj_bits", "edges between nodes alone")
    on_paths = adjacency[:, :, 1:].any(1) | (places[1:] > last)
    fed = adjacency[:, :-1].any(2) | (places[:-1] >= last)
    check(path, on_paths & fed, "adj_bits", "nodes on paths from the input to the output alone")

    known, den = int(arrays["val_subset_n"]), int(arrays["val_den"])
    check(path, 0 < known <= count and den > 0, "val_subset_n, val_den", f"1 to {count}, and above 0")
    epochs = tuple(e for e in EPOCHS if f"val{e}_num" in arrays)
    curves = np.full((count, len(epochs)), np.nan)
    for i, e in enumerate(epochs):
        numerators = arrays[f"val{e}_num"]
        check(path, len(numerators) == known, f"val{e}_num", f"{known} numbers")
        check(path, (numerators >= 0) & (numerators <= den), f"val{e}_num", f"a number from 0 to {den}")
        curves[:known, i] = numerators / den
    return Table(
        "NAS-Bench-101",
        path,
        OPERATORS,
        adjacency,
        ops.astype(np.uint8).view(np.int8),
        arrays["params"].astype(np.int64),
        epochs,
        curves,
        _test_accuracy,
    )


def _test_accuracy(path: Path) -> np.ndarray:
    arrays = read_arrays(path, {name: _KINDS[name] for name in ("test_acc_num", "test_acc_den", "n_nodes")})
    accuracy = arrays["test_acc_num"] / int(arrays["test_acc_den"])
    check(path, len(accuracy) == len(arrays["n_nodes"]), "test_acc_num", "a number for each cell")
    check(path, (accuracy >= 0) & (accuracy <= 1), "test_acc_num", "a number from 0 to test_acc_den")
    return accuracy
