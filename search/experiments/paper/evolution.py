"""Regularized evolution (Real et al., AAAI 2019) on the pool of NAS-Bench-101's cells with validation accuracy.

A child is its parent with each possible edge flipped and each operator drawn anew with a small probability, as in the
benchmark's own example (Ying et al., ICML 2019). Only one cell in twenty has a validation accuracy: children are made until one
is in the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from search.core.types import CellArrays
from search.spaces.isomorphism import isomorphism_hash
from search.spaces.nasbench101 import MAX_EDGES, MAX_NODES
from search.spaces.tabular import TabularSpace

OUTPUT = 4
LITTER = 500
"""Children made at a time."""
LITTERS = 20


def evolve(
    space: TabularSpace,
    rng: np.random.Generator,
    queries: int,
    reward: Callable[[int], float],
    population: int,
    tournament: int,
) -> list[int]:
    """Distinct rows of the pool in the order in which `reward` was asked for them."""
    known = {int(value): int(row) for value, row in zip(isomorphism_hash(space.table.cells[space.pool]), space.pool)}
    asked = [int(row) for row in rng.choice(space.pool, min(population, queries), replace=False)]
    living = deque(((row, reward(row)) for row in asked), maxlen=population)
    seen = set(asked)
    while len(asked) < queries:
        rivals = rng.choice(len(living), min(tournament, len(living)), replace=False)
        parent = max((living[i] for i in rivals), key=lambda member: member[1])[0]
        row = _child(space, rng, parent, known, seen)
        asked.append(row)
        seen.add(row)
        living.append((row, reward(row)))  # the oldest one goes
    return asked


def _child(space: TabularSpace, rng: np.random.Generator, parent: int, known: dict[int, int], seen: set[int]) -> int:
    """A row of the pool that was not seen: a child of `parent`, or, where none is found, a random one."""
    for _ in range(LITTERS):
        children = mutated(space.table.cells[parent : parent + 1], rng, LITTER)
        for value in isomorphism_hash(children):
            row = known.get(int(value))
            if row is not None and row not in seen:
                return row
    return int(rng.choice(np.setdiff1d(space.pool, list(seen))))


def mutated(cell: CellArrays, rng: np.random.Generator, count: int) -> CellArrays:
    """Those of `count` random children of one cell that are in NAS-Bench-101's space, pruned: their output is the last node.

    The cell is first given 7 nodes, the new ones without edges and with random operators.
    """
    nodes = int((cell.operators[0] >= 0).sum())
    place = np.array([*range(nodes - 1), MAX_NODES - 1])
    adjacency = np.zeros((count, MAX_NODES, MAX_NODES), bool)
    adjacency[:, place[:, None], place] = cell.adjacency[0, :nodes, :nodes]
    operators = rng.integers(1, OUTPUT, (count, MAX_NODES)).astype(np.int8)
    operators[:, place] = cell.operators[0, :nodes]
    upper = np.triu(np.ones((MAX_NODES, MAX_NODES), bool), 1)
    adjacency ^= (rng.random(adjacency.shape) < 1 / upper.sum()) & upper
    renewed = rng.random((count, MAX_NODES - 2)) < 1 / (MAX_NODES - 2)
    operators[:, 1:-1] = np.where(renewed, rng.integers(1, OUTPUT, renewed.shape), operators[:, 1:-1])
    from_input, to_output = np.zeros((2, count, MAX_NODES), bool)
    from_input[:, 0] = to_output[:, -1] = True
    for v in range(1, MAX_NODES):
        from_input[:, v] = (adjacency[:, :v, v] & from_input[:, :v]).any(1)
    for v in reversed(range(MAX_NODES - 1)):
        to_output[:, v] = (adjacency[:, v, v + 1 :] & to_output[:, v + 1 :]).any(1)
    useful = from_input & to_output
    adjacency &= useful[:, :, None] & useful[:, None, :]
    within = useful[:, 0] & (adjacency.sum((1, 2)) <= MAX_EDGES)
    return CellArrays(adjacency[within], np.where(useful, operators, np.int8(-1)).astype(np.int8)[within])
