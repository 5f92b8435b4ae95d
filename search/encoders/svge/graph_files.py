"""Reader of ENAS's graphs; those of the tabular benchmarks come from their tables, `graphs_of_table`."""

from __future__ import annotations

import json
import os

import numpy as np

from gemnet.core.files import TextError, read_text
from search.core.types import CellArrays, SearchError
from search.encoders.svge.graph_spaces import enas_space


def read_enas(path: str | os.PathLike[str], layers: int = 6, burn_in: int = 1000) -> tuple[CellArrays, np.ndarray]:
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
            rows, accuracy = json.loads(f"[{line}]")
            if len(rows) != layers or type(accuracy) not in (int, float) or not 0 <= accuracy <= 1:
                raise ValueError
            accuracies[b] = accuracy
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
    return CellArrays(adjacency, types), accuracies


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return read_text(path)
    except TextError as error:
        raise SearchError(f"{error}; expected a text file of graphs") from None
