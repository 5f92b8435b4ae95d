"""Readers of the benchmarks' graphs: path -> graphs and the accuracy of each."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.base import SearchError
from search.embedding.graphs import ABSENT, Graphs, enas_space, nasbench201_wiring


def read_enas(path: str | os.PathLike[str], layers: int = 6, burn_in: int = 1000) -> tuple[Graphs, np.ndarray]:
    """The graphs of `enas_space(layers)` in D-VAE's `final_structures6.txt`, and their accuracies with shared weights in [0,
    1], float64 [B].

    A line is `[[operator], [operator, connection], ...], accuracy`: row i is layer i + 1, with a 0 or 1 for an edge from each
    of the nodes 0 to i - 1; the edge from the node just before goes without saying. burn_in: lines left out at the beginning,
    of a controller that had hardly begun to learn; D-VAE and SVGe leave out 1,000. Raises SearchError that names the file and
    the line.
    """
    lines = _text(path).splitlines()
    if len(lines) <= burn_in:
        raise SearchError(f"{path}: expected more than {burn_in} lines (burn_in), found {len(lines)}")
    operators = len(enas_space(layers).operators)
    count, n = len(lines) - burn_in, layers + 2
    types = np.full((count, n), operators + 1, np.int8)
    adjacency = np.zeros((count, n, n), bool)
    accuracies = np.empty(count)
    types[:, 0] = 0
    adjacency[:, np.arange(n - 1), np.arange(1, n)] = True
    for b, line in enumerate(lines[burn_in:]):
        try:
            rows, accuracies[b] = json.loads(f"[{line}]")
            if len(rows) != layers or not 0 <= accuracies[b] <= 1:
                raise ValueError
            for i, (operator, *connections) in enumerate(rows):
                whole = all(type(value) is int for value in (operator, *connections))
                if not whole or len(connections) != i or not 0 <= operator < operators or not set(connections) <= {0, 1}:
                    raise ValueError
                types[b, i + 1] = operator + 1
                adjacency[b, :i, i + 1] |= np.array(connections, bool)
        except (ValueError, TypeError, RecursionError):
            raise SearchError(
                f"{path}, line {burn_in + b + 1}: expected [[operator, connections...] x {layers}], accuracy: operators 0 to "
                f"{operators - 1}, connections 0 or 1, an accuracy in [0, 1]; found {line[:80]!r}"
            ) from None
    return Graphs(types, adjacency), accuracies


def read_nasbench101(
    path: str | os.PathLike[str], rows: slice | Sequence[int] | np.ndarray = slice(None)
) -> tuple[Graphs, np.ndarray]:
    """Graphs of `nasbench101_space()` in `nasbench101.npz`, and their mean test accuracies in [0, 1], float64 [B].

    rows: which, in the file's order. Bit x + y (y - 1) / 2 of `adj_bits` is the edge x -> y. Raises SearchError for another
    file.
    """
    data = _arrays(path, ("adj_bits", "ops", "test_acc_num", "test_acc_den"))
    bits, operators = data["adj_bits"][rows], data["ops"][rows]
    if operators.shape[1:] != (7,) or ((operators > 4) & (operators != 255)).any():
        raise SearchError(f"{path}: expected ops [N, 7] from 0 to 4, or 255 for no node")
    y, x = np.tril_indices(7, -1)
    adjacency = np.zeros((len(bits), 7, 7), bool)
    adjacency[:, x, y] = bits[:, None] >> (x + y * (y - 1) // 2).astype(bits.dtype) & 1
    types = np.where(operators == 255, ABSENT, operators.astype(np.int16)).astype(np.int8)
    return Graphs(types, adjacency), data["test_acc_num"][rows] / float(data["test_acc_den"])


def read_nasbench201(path: str | os.PathLike[str], column: str = "cifar10_val") -> tuple[Graphs, np.ndarray]:
    """All graphs of `nasbench201_space()` in `nasbench201.npz`, and their accuracies in `column`, as a share in [0, 1], float64
    [15,625]. Raises SearchError for another file or column."""
    data = _arrays(path, ("ops", column))
    operators = data["ops"]
    if operators.shape[1:] != (6,) or operators.max(initial=0) > 4:
        raise SearchError(f"{path}: expected ops [N, 6] from 0 to 4")
    types = np.zeros((len(operators), 8), np.int8)
    types[:, 1:7] = operators.astype(np.int8) + 1
    types[:, 7] = 6
    wiring = np.broadcast_to(nasbench201_wiring(), (len(operators), 8, 8)).copy()
    return Graphs(types, wiring), data[column].astype(np.float64) / 100


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SearchError(f"{path}: cannot be read: {error}") from None


def _arrays(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = [name for name in names if name not in data]
            if missing:
                raise SearchError(f"{path}: there is no {missing[0]!r}; it has {', '.join(data)}")
            return {name: data[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise SearchError(f"{path}: cannot be read as an npz file: {error}") from None
