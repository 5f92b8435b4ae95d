"""NAS-Bench-Macro (Su et al., CVPR 2021): stacks of 8 layers of MobileNetV2 blocks, trained on CIFAR-10, as a search space.

The stages have 2, 3 and 3 layers. A layer is `Identity`, a block with kernel 3 and expansion 3, or one with kernel 5 and
expansion 6; the first layer of a stage halves the image and doubles the channels, where `Identity` is a 1x1 convolution. The
benchmark writes a stack as 8 digits, one a layer. An identity that is not first in its stage computes nothing, so that its
6,561 stacks are 3,969 networks, which were trained three times each: those are the rows of the table, without such identities.

A cell is a chain: the input, the layers, the output. What a block costs and brings hangs on its stage, so that an operator is a
block in a stage.

The benchmark has no validation images. A search is shown the accuracy of the first training, and what it chose is scored by the
mean of the two others. All three are of the test images, after the best of 50 epochs by the same images, as published: they
compare searches and predictors, and are too high as accuracies.
"""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from gemnet.cell import Cell
from gemnet.cost import Cost
from gemnet.operators import INPUT
from search.core.checks import takes_settings
from search.core.types import ABSENT, OUTPUT, CellArrays, SearchError
from search.spaces.benchmark_files import check, check_once, find_file, read_arrays
from search.spaces.tabular import Data, Pool, Table, TabularSpace

FILE = "nasbench_macro.npz"
BLOCKS = ("Identity", "MB3_K3", "MB6_K5")
"""The benchmark's own names, in the order of its digits."""
STAGES = (2, 3, 3)
STAGE = tuple(stage for stage, layers in enumerate(STAGES, 1) for _ in range(layers))
"""Of each layer, from 1."""
FIRST = tuple(place == 0 for layers in STAGES for place in range(layers))
"""Whether a layer is the first of its stage."""
LAYERS = len(STAGE)
NUM_NODES = LAYERS + 2
EPOCHS = (50,)
RUNS = 3
REMEDY = (
    "To make it: download nas-bench-macro_cifar10.json from https://github.com/xiusu/NAS-Bench-Macro, "
    "then gemnet convert-benchmark nasbench_macro nas-bench-macro_cifar10.json " + FILE
)
STEM_CHANNELS, HEAD_CHANNELS, IMAGE_SIZE = 32, 1280, 32
KERNEL_AND_EXPANSION = ((0, 0), (3, 3), (5, 6))
_KINDS = {"arch": ("u", 2), "op_names": ("U", 1), "test_acc": ("f", 2), "params": ("ui", 1)}


def operator_name(block: int, stage: int, first: bool) -> str:
    """What cells call a block, an index into BLOCKS, in a stage, from 1."""
    return f"{BLOCKS[block].lower()}_stage{stage}" + "_stride2" * first


OPERATORS = (
    *(
        operator_name(block, stage, first)
        for stage in range(1, len(STAGES) + 1)
        for first in (True, False)
        for block in range(not first, len(BLOCKS))
    ),
    OUTPUT,
)
_BLOCK_OF = {operator_name(b, s, first): b for s in range(1, len(STAGES) + 1) for first in (True, False) for b in range(3)}


@takes_settings("space")
class NasBenchMacroSpace(TabularSpace):
    """The networks of NAS-Bench-Macro's table, of the compact file that `benchmark_files.find_file` finds."""

    def __init__(self, data: Data = None, pool: Pool = "evaluated") -> None:
        super().__init__(load_table(data), pool)

    def checked(self, cell: Cell) -> Cell:
        """The cell itself. Raises SearchError where it is no chain of a stack's layers."""
        stack_of(cell)
        return cell

    def published_name(self, cell: Cell) -> str:
        return "the stack " + stack_of(cell)

    def count(self, arrays: CellArrays) -> Cost:
        return network_cost(arrays)


def canonical(stack: np.ndarray) -> np.ndarray:
    """Stacks with their idle identities at the end of each stage, int [B, 8]: equal exactly for the same networks."""
    stack, start = np.array(stack), 0
    for layers in STAGES:
        inner = stack[:, start + 1 : start + layers]
        order = np.argsort(inner == 0, axis=1, kind="stable")
        stack[:, start + 1 : start + layers] = np.take_along_axis(inner, order, axis=1)
        start += layers
    return stack


def cells_of(stacks: np.ndarray) -> CellArrays:
    """Cells of B stacks, digits [B, 8]."""
    codes = np.zeros((len(STAGES) + 1, 2, len(BLOCKS)), np.int8)
    for stage, first, block in product(range(1, len(STAGES) + 1), (True, False), range(len(BLOCKS))):
        name = operator_name(block, stage, first)
        codes[stage, int(first), block] = OPERATORS.index(name) + 1 if name in OPERATORS else ABSENT
    operators: np.ndarray = np.full((len(stacks), NUM_NODES), ABSENT, np.int8)
    operators[:, 0] = 0
    operators[:, 1:-1] = codes[np.array(STAGE), np.array(FIRST, int), np.asarray(stacks)]
    operators[:, -1] = len(OPERATORS)
    order = np.argsort(operators == ABSENT, axis=1, kind="stable")
    operators = np.take_along_axis(operators, order, axis=1)
    adjacency = np.zeros((len(stacks), NUM_NODES, NUM_NODES), bool)
    for node in range(1, NUM_NODES):
        adjacency[:, node - 1, node] = operators[:, node] != ABSENT
    return CellArrays(adjacency, operators)


def cell_of(stack: str) -> Cell:
    """The cell of a stack as the benchmark writes it, "01200210". Raises SearchError for another text."""
    if len(stack) != LAYERS or set(stack) - set("012"):
        raise _outside(f"the stack {stack!r}; expected {LAYERS} digits, each of 0, 1 and 2")
    return cells_of(np.array([[int(digit) for digit in stack]])).cell(0, (INPUT, *OPERATORS))


def stack_of(cell: Cell) -> str:
    """A cell as the benchmark writes it, idle identities at the end of each stage.

    Raises SearchError for a cell that is no chain of a stack's layers.
    """
    if cell.edges != tuple((v, v + 1) for v in range(len(cell.nodes) - 1)):
        raise _outside("its edges are no chain from the input to the output")
    digits, place = "", 1
    for stage, first in zip(STAGE, FIRST):
        name = cell.nodes[place] if place < len(cell.nodes) else ""
        block = _BLOCK_OF.get(name, 0)
        if name in OPERATORS and name == operator_name(block, stage, first):
            digits, place = digits + str(block), place + 1
        elif first:
            raise _outside(f"the operator {name!r} at node {place}; expected the first layer of stage {stage}")
        else:
            digits += "0"
    if cell.nodes[place:] != (OUTPUT,):
        raise _outside(f"the operators {', '.join(cell.nodes[place:])} from node {place} on; expected the output alone")
    return digits


def _outside(reason: str) -> SearchError:
    return SearchError(f"a cell is outside NAS-Bench-Macro: {reason}")


def load_table(data: str | os.PathLike[str] | None = None) -> Table:
    """The compact file, with a row for each network in the order of the stacks.

    Raises SearchError where it is not there, is none, lacks a stack or has one twice, or says two things of one network.
    """
    path = find_file(FILE, data, REMEDY)
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load(path: Path, _: int) -> Table:
    rows, arrays = _read(path)
    accuracy, params = arrays["test_acc"][rows], arrays["params"][rows]
    cells = cells_of(arrays["arch"][rows])
    return Table(
        "NAS-Bench-Macro",
        path,
        OPERATORS,
        cells.adjacency,
        cells.operators,
        params.astype(np.int64),
        EPOCHS,
        accuracy[:, :1].astype(np.float64) / 100,
        _test_accuracy,
    )


def _test_accuracy(path: Path) -> np.ndarray:
    rows, arrays = _read(path)
    return arrays["test_acc"][rows, 1:].astype(np.float64).mean(1) / 100


def _read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The rows of the networks, in the order of their stacks, and the arrays of all stacks, checked."""
    arrays = read_arrays(path, _KINDS)
    stacks, accuracy, params = arrays["arch"], arrays["test_acc"], arrays["params"]
    check(path, arrays["op_names"].tolist() == list(BLOCKS), "op_names", ", ".join(BLOCKS))
    check(path, len(stacks) > 0 and stacks.shape[1] == LAYERS, "arch", f"some rows of {LAYERS}")
    check(path, stacks < len(BLOCKS), "arch", f"digits up to {len(BLOCKS) - 1}")
    check(path, accuracy.shape == (len(stacks), RUNS) and len(params) == len(stacks), "test_acc, params", "as many as arch")
    check(path, (accuracy >= 0) & (accuracy <= 100), "test_acc", "percent")
    check(path, params > 0, "params", "positive numbers")

    numbers = stacks.astype(np.int64) @ 3 ** np.arange(LAYERS - 1, -1, -1)
    check_once(path, "arch", numbers, lambda row: "the stack " + "".join(map(str, stacks[row])))
    missing = np.setdiff1d(np.arange(3**LAYERS), numbers)
    if len(missing):
        lacks = np.base_repr(missing[0], 3).zfill(LAYERS)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SearchError(f"{path}: arch: the stack {lacks}{more} is missing; expected all {3**LAYERS:,} stacks")
    order = np.argsort(numbers)
    whole = canonical(stacks).astype(np.int64) @ 3 ** np.arange(LAYERS - 1, -1, -1)
    same = order[whole]  # of each row the one that has its network's own name
    agree = (accuracy == accuracy[same]).all(1) & (params == params[same])
    if not agree.all():
        row = int(np.argmin(agree))
        one, other = ("".join(map(str, stacks[r])) for r in (row, same[row]))
        raise SearchError(f"{path}: the stacks {one} and {other} are one network, but their accuracies or params differ")
    return order[np.unique(whole)], arrays


def network_cost(arrays: CellArrays) -> Cost:
    """Params, MACs and activations, int64 [B], of the networks of B cells on 32 x 32 images with 10 classes.

    3x3 stem, the layers, a 1x1 convolution to 1,280 channels, mean over the image, classifier. A block is a 1x1 convolution to
    `expansion` times as many channels, a depthwise one and a 1x1 one, each with batch normalisation.
    """
    total = Cost(*np.zeros((3, len(arrays)), np.int64)) + _conv_cost(3, STEM_CHANNELS, 3, IMAGE_SIZE)
    for code, name in enumerate(OPERATORS[:-1], 1):
        times = (arrays.operators == code).sum(1)
        one = _layer_cost(_BLOCK_OF[name], int(name.split("stage")[1][0]), name.endswith("_stride2"))
        total += Cost(times * one.params, times * one.macs, times * one.activations)
    side, channels = IMAGE_SIZE >> len(STAGES), STEM_CHANNELS << len(STAGES)
    return total + _conv_cost(channels, HEAD_CHANNELS, 1, side) + Cost((HEAD_CHANNELS + 1) * 10, HEAD_CHANNELS * 10, 10)


def _layer_cost(block: int, stage: int, first: bool) -> Cost:
    out_channels, side = STEM_CHANNELS << stage, IMAGE_SIZE >> stage
    in_channels, in_side = out_channels >> first, side << first
    if block == 0:
        return _conv_cost(in_channels, out_channels, 1, side)
    kernel, expansion = KERNEL_AND_EXPANSION[block]
    hidden = in_channels * expansion
    depthwise = Cost(hidden * (kernel**2 + 2), hidden * kernel**2 * side**2, hidden * side**2)
    return _conv_cost(in_channels, hidden, 1, in_side) + depthwise + _conv_cost(hidden, out_channels, 1, side)


def _conv_cost(in_channels: int, out_channels: int, kernel: int, side: int) -> Cost:
    """Of a convolution with batch normalisation on an output of side x side."""
    weights = in_channels * out_channels * kernel**2
    return Cost(weights + 2 * out_channels, weights * side**2, out_channels * side**2)
