"""Counts of what cells are made of: operators, edges, degrees, and the paths from the input to the ends.

That they carry most at small samples is known from path encodings (White et al., BANANAS, AAAI 2021) and from the benchmarks.
"""

from __future__ import annotations

import numpy as np

from search.core.types import CellArrays

MAX_SEQUENCES = 400
MAX_DEGREE = 4


def end_nodes(cells: CellArrays, end: int | None) -> np.ndarray:
    """bool [B, n]: the nodes `end`, or, where that is None, those without a way out."""
    return cells.operators == end if end is not None else (cells.operators >= 0) & ~cells.adjacency.any(2)


def count(cells: CellArrays, num_operators: int, end: int | None, num_nodes: int) -> dict[str, list[np.ndarray]]:
    """The groups of counts of B cells, the parts of each [B, ...]; K operators and the input are kinds of nodes.

    cells: those of the space, of num_nodes places, in arrays of any size, and with any number of edges between two nodes
    (`search.encoders.simplify`). end: of `end_nodes`.

    nodes: of each operator, of all; edges; ends. edges, walks: pairs of kinds that an edge, or two in a row, lead from and
    to. degrees: nodes of each kind with 1, 2, 3, and 4 or more ways in, the same out, and ways into the ends. lengths: of the
    paths from the input to the ends, the longest, the shortest and the mean, in nodes, and in nodes of each operator (without a
    path -1, -1 and 0); and log(1 + paths). sequences: log(1 + paths) for each sequence of operators between input and end, as
    long as there are at most MAX_SEQUENCES and they fit into the places for nodes.
    """
    adjacency, operators = cells.adjacency, cells.operators
    batch, live = len(cells), operators >= 0
    edges = adjacency.astype(np.float32)
    kinds = (operators[:, :, None] == np.arange(num_operators + 1)).astype(np.float32)  # [B, n, 1 + K]
    by_kind = np.swapaxes(kinds, 1, 2)
    ends = end_nodes(cells, end)
    out_of = edges @ kinds
    into = edges.sum(1)
    longest, shortest, mean, paths = _path_lengths(adjacency, operators, num_operators, ends)

    def degrees(found: np.ndarray) -> np.ndarray:
        bins = np.minimum(found, MAX_DEGREE)[:, :, None] == np.arange(1, MAX_DEGREE + 1)
        return (by_kind @ bins.astype(np.float32)).reshape(batch, -1)

    totals = np.stack([live.sum(1), edges.sum((1, 2)), ends.sum(1)], axis=1)
    return {
        "nodes": [kinds.sum(1)[:, 1:], totals],
        "edges": [(by_kind @ out_of).reshape(batch, -1)],
        "walks": [(by_kind @ (edges @ out_of)).reshape(batch, -1)],
        "degrees": [degrees(into), degrees(edges.sum(2)), (ends * into).sum(1)[:, None]],
        "lengths": [longest, shortest, mean, np.log1p(paths)[:, None]],
        "sequences": [np.log1p(_sequences(edges, kinds, ends, num_operators - (end is not None), num_nodes))],
    }


def _path_lengths(
    adjacency: np.ndarray, operators: np.ndarray, num_operators: int, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Longest, shortest, mean [B, 1 + K] and number [B] of the paths from the input to the ends; without, -1, -1, 0, 0."""
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
    # With one operator sequences are as long as cells, and their walks more than 32 bits hold.
    number = np.float64 if num_operators == 1 else np.float32
    along = np.zeros((batch, n, 1), number)  # walks from the input to each node, by sequence
    along[:, 0] = 1
    places = 1
    while True:
        arrived = into @ along  # before the node's own operator
        found.append((arrived * ends[:, :, None]).sum(1))
        if sum(part.shape[1] for part in found) + places * num_operators > MAX_SEQUENCES or len(found) == num_nodes:
            return np.concatenate(found, axis=1)
        along = (arrived[:, :, :, None] * kinds[:, :, None, 1 : num_operators + 1]).reshape(batch, n, -1)
        places *= num_operators
