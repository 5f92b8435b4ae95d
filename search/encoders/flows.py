"""Cells as flows: what share of what comes out went through each node and edge, and along which paths.

A node takes its input in equal parts from its in-neighbours. Followed back from the ends, every node and edge has a share of
the output, and the ways back are a random walk; followed forward, the input is handed on in equal parts. Shares tell what
counts of paths do not: of two convolutions one may make the output alone, the other one of five inputs of a node beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.core.types import CellArrays
from search.encoders.counts import end_nodes

MOST = 5
"""Operators on a way are told apart up to so many: "0" to "4 or fewer"."""
SHORTER = float(np.exp(-1.0))
"""Factor of the weight of a path for each node on it, where short paths weigh more."""


@dataclass(frozen=True)
class Shares:
    """Of the nodes of B cells, float32 [B, n] each.

    output: of what comes out, how much went through the node. input: of what goes in. width: as NAS-Bench-101 gives channels to
    nodes: those whose outputs are concatenated at the end share it equally, others have the greatest width among those that
    they feed. depth, height: edges of the longest path to the node, and from it.
    """

    output: np.ndarray
    input: np.ndarray
    width: np.ndarray
    depth: np.ndarray
    height: np.ndarray


def shares(cells: CellArrays, end: int | None) -> Shares:
    """cells, end: as in `counts.count`. Where there is a node `end`, it concatenates; where ends are nodes like others, they
    themselves are concatenated."""
    edges, ends = cells.adjacency.astype(np.float32), end_nodes(cells, end)
    (batch, n), there = ends.shape, edges > 0
    into, out = np.maximum(edges.sum(1), 1), np.maximum(edges.sum(2), 1)
    given, depth, height = np.zeros((3, batch, n), np.float32)
    given[:, 0] = 1
    for v in range(1, n):
        given[:, v] = (edges[:, :v, v] * given[:, :v] / out[:, :v]).sum(1)
        depth[:, v] = np.where(there[:, :v, v], depth[:, :v] + 1, 0).max(1)
    joined = ends.copy() if end is None else (there & ends[:, None]).any(2)
    joined[:, 0] = False  # the input is no operator's
    width = joined / np.maximum(joined.sum(1, keepdims=True), 1).astype(np.float32)
    output = ends.astype(np.float32)
    for v in range(n - 1, 0, -1):
        output[:, :v] += edges[:, :v, v] * (output[:, v] / into[:, v])[:, None]
    for v in range(n - 2, -1, -1):
        fed = there[:, v, v + 1 :]
        height[:, v] = np.where(fed, height[:, v + 1 :] + 1, 0).max(1)
        if v:
            width[:, v] = np.where(joined[:, v], width[:, v], np.where(fed, width[:, v + 1 :], 0).max(1))
    return Shares(output / np.maximum(ends.sum(1, keepdims=True), 1), given, width, depth, height)


def flow(cells: CellArrays, num_operators: int, end: int | None) -> dict[str, list[np.ndarray]]:
    """Groups of numbers of B cells, the parts of each [B, ...]; K operators; cells, end: as in `counts.count`.

    shares: for each operator, of its nodes' shares of the output: their sum, their highest, the sum of their squares; the sum
    of their shares of the input, of the products of both, and of the lower of both. widths: for each operator the sum, the sum
    of squares and the highest of its nodes' widths. flows: shares of the output, and of the input, that edges from each kind of
    node to each have. fan: inputs of the nodes that a way back comes by, and the logarithms of their numbers: how many paths
    there are for a way to be one of. ways: of the operators on a way through the cell, mean, deviation and covariances of their
    numbers; ways are drawn back from the ends, forward from the input, from all paths equally, and from all paths with SHORTER.
    steps: the share of ways, back and forward, with at most 0, 1, ... MOST - 1 nodes of each operator.
    """
    edges, ends = cells.adjacency.astype(np.float32), end_nodes(cells, end)
    found = shares(cells, end)
    into, out = np.maximum(edges.sum(1), 1), np.maximum(edges.sum(2), 1)
    back, forward = edges / into[:, None], edges / out[:, :, None]
    kinds = (cells.operators[:, :, None] == np.arange(num_operators + 1)).astype(np.float32)
    own = kinds[:, :, 1:]

    def of_operators(values: np.ndarray) -> np.ndarray:
        return (np.swapaxes(own, 1, 2) @ values[:, :, None])[:, :, 0]

    def highest(values: np.ndarray) -> np.ndarray:
        return (own * values[:, :, None]).max(1)

    def by_kinds(weights: np.ndarray) -> np.ndarray:
        return (np.swapaxes(kinds, 1, 2) @ (weights @ kinds)).reshape(len(kinds), -1)

    both = found.output * found.input, np.minimum(found.output, found.input)
    drawn = [_arrivals(weights, ends) for weights in (back, forward, edges, edges * SHORTER)]
    return {
        "shares": [of_operators(found.output), highest(found.output), of_operators(found.output**2)]
        + [of_operators(values) for values in (found.input, *both)],
        "widths": [of_operators(found.width), of_operators(found.width**2), highest(found.width)],
        "flows": [by_kinds(back * found.output[:, None]), by_kinds(forward * found.input[:, :, None])],
        "fan": [(values * found.output).sum(1, keepdims=True) for values in (into, np.log(into))],
        "ways": [part for way in drawn for part in _ways(*way, own)],
        "steps": [_steps(*way, own) for way in drawn[:2]],
    }


def _arrivals(weights: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where ways from the input come by, a way's weight being the product of those of its edges: by [B, n, n], of the ways to v
    the share that comes from u; last [B, n], of the ways to an end the share that ends in v. 0 where no way leads."""
    batch, n = ends.shape
    with np.errstate(divide="ignore"):
        steps = np.log(weights.astype(np.float64))
    mass = np.full((batch, n), -np.inf)  # logarithms: the paths of large cells are too many for a float
    mass[:, 0] = 0
    by = np.zeros((batch, n, n))
    for v in range(1, n):
        by[:, :v, v], mass[:, v] = _portions(steps[:, :v, v] + mass[:, :v])
    return by, _portions(np.where(ends, mass, -np.inf))[0]


def _portions(logarithms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[B, m] -> their exponentials divided by the sum of these, 0 where there are none, and the logarithm of the sum [B]."""
    highest = logarithms.max(1, initial=-np.inf)
    shifted = np.exp(logarithms - np.where(np.isfinite(highest), highest, 0)[:, None])
    total = shifted.sum(1)
    with np.errstate(divide="ignore"):
        return shifted / np.maximum(total, 1e-300)[:, None], highest + np.log(total)


def _ways(by: np.ndarray, last: np.ndarray, own: np.ndarray) -> list[np.ndarray]:
    """Mean [B, K], deviation [B, K] and covariances [B, K (K - 1) / 2] of the numbers of each operator on a way from the input
    to an end; by, last: of `_arrivals`; own: [B, n, K], whose node is whose."""
    batch, n, operators = own.shape
    first, second = np.zeros((batch, n, operators)), np.zeros((batch, n, operators, operators))
    for v in range(1, n):
        kind = own[:, v] * by[:, :v, v].sum(1, keepdims=True)  # nothing where no way leads
        before = (by[:, None, :v, v] @ first[:, :v])[:, 0]
        mixed = before[:, :, None] * kind[:, None]
        squares = (by[:, None, :v, v] @ second[:, :v].reshape(batch, v, -1)).reshape(batch, operators, operators)
        second[:, v] = squares + mixed + np.swapaxes(mixed, 1, 2) + kind[:, :, None] * kind[:, None]
        first[:, v] = before + kind
    mean = (last[:, None] @ first)[:, 0]
    second = (last[:, None] @ second.reshape(batch, n, -1)).reshape(batch, operators, operators)
    covariance = second - mean[:, :, None] * mean[:, None]
    rows, columns = np.triu_indices(operators, 1)
    return [mean, np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0)), covariance[:, rows, columns]]


def _steps(by: np.ndarray, last: np.ndarray, own: np.ndarray) -> np.ndarray:
    """[B, K MOST]: the share of ways with at most 0, 1, ... nodes of each operator; as in `_ways`."""
    batch, n, operators = own.shape
    with_so_many = np.zeros((batch, n, operators, MOST))
    with_so_many[:, 0, :, 0] = 1
    for v in range(1, n):
        before = (by[:, None, :v, v] @ with_so_many[:, :v].reshape(batch, v, -1)).reshape(batch, operators, MOST)
        one_more = np.concatenate([np.zeros_like(before[:, :, :1]), before[:, :, :-1]], axis=2)
        with_so_many[:, v] = np.where(own[:, v, :, None] > 0, one_more, before)
    found = (last[:, None] @ with_so_many.reshape(batch, n, -1)).reshape(batch, operators, MOST)
    return found.cumsum(2).reshape(batch, -1)
