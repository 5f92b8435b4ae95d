"""Tables made for the tests, as arrays of compact files, and where the real ones are."""

import os
from pathlib import Path

import numpy as np
import pytest

from search.spaces.nasbench201 import OPERATORS

PUBLISHED = ["input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "output"]
# nodes between input and output, edges; the accuracies grow down the list
MADE_CELLS = [
    ([], [(0, 1)]),
    ([3], [(0, 1), (1, 2)]),
    ([2], [(0, 1), (1, 2)]),
    ([1], [(0, 1), (1, 2)]),
    ([1, 3], [(0, 1), (1, 2), (2, 3)]),
    ([3, 1], [(0, 1), (1, 2), (2, 3)]),
    ([1, 2], [(0, 1), (0, 2), (1, 3), (2, 3)]),
    ([1, 2, 1], [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (0, 4)]),
    ([1, 1, 3, 2, 1], [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5), (5, 6), (1, 6)]),
    ([1, 1, 1, 1, 1], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (0, 6), (1, 4), (2, 6)]),
    ([2, 2, 2, 2, 1], [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 5), (3, 5), (4, 5), (5, 6)]),
    ([1, 1, 1], [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)]),
]


def compact101(known=10, columns=(4, 12, 36, 108), **changes):
    """Arrays of a compact file of NAS-Bench-101 with MADE_CELLS, the first `known` of them with validation accuracies."""
    count = len(MADE_CELLS)
    ops = np.full((count, 7), 255, np.uint8)
    for row, (inner, _) in enumerate(MADE_CELLS):
        ops[row, : len(inner) + 2] = [0, *inner, 4]
    arrays = {
        "adj_bits": np.array([sum(1 << (u + v * (v - 1) // 2) for u, v in edges) for _, edges in MADE_CELLS], np.uint32),
        "n_nodes": np.array([len(inner) + 2 for inner, _ in MADE_CELLS], np.uint8),
        "ops": ops,
        "op_names": np.array(PUBLISHED),
        "params": np.arange(1, count + 1, dtype=np.int32) * 1_000_000,
        "test_acc_num": (29952 - np.arange(count) * 100).astype(np.uint16),  # against the order of the validation accuracies
        "test_acc_den": np.int32(29952),
        "val_subset_n": np.int32(known),
        "val_den": np.int32(9984),
        **{f"val{e}_num": (5000 + 20 * e + 100 * np.arange(known)).astype(np.uint16) for e in columns},
    }
    arrays.update(changes)
    return {name: array for name, array in arrays.items() if array is not None}


def compact201(count=300, **changes):
    """Arrays of a compact file of NAS-Bench-201: random cells, accuracy growing with the number of 3x3 convolutions."""
    rng = np.random.default_rng(0)
    codes = rng.choice(5**6, count, replace=False)
    ops = (codes[:, None] // 5 ** np.arange(6) % 5).astype(np.uint8)
    share = (ops == 3).sum(1)
    arrays = {
        "ops": ops,
        "op_names": np.array(OPERATORS[:-1]),
        "cifar10_val": (10 + 10 * share + rng.random(count)).astype(np.float32),
        "cifar10_test": (90 - 10 * share).astype(np.float32),
        "cifar10_params": (73306 + 243040 * share).astype(np.int32),
    }
    arrays.update(changes)
    return {name: array for name, array in arrays.items() if array is not None}


def real(name):
    """The path of a real table; skips the test where it is not there."""
    folder = os.environ.get("GEMNET_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(folder) / name
    if not path.is_file():
        pytest.skip(f"{name} is neither in GEMNET_DATA nor in shared/data beside the repository")
    return path


def compact_macro(**changes):
    """Arrays of a compact file of NAS-Bench-Macro: all stacks, accuracy growing with the number of blocks, by their kind."""
    stacks = (np.arange(3**8)[:, None] // 3 ** np.arange(7, -1, -1) % 3).astype(np.uint8)
    worth = 40 + 5 * (stacks == 1).sum(1) + 6 * (stacks == 2).sum(1)
    arrays = {
        "arch": stacks,
        "op_names": np.array(["Identity", "MB3_K3", "MB6_K5"]),
        "test_acc": (worth[:, None] + np.array([0, -1, -3])).astype(np.float32),
        "params": (100_000 + 10_000 * stacks.sum(1, dtype=int)).astype(np.int32),
        "flops": (7_000_000 + 1_000_000 * stacks.sum(1, dtype=int)).astype(np.int64),
    }
    arrays.update(changes)
    return {name: array for name, array in arrays.items() if array is not None}
