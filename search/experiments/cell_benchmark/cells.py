"""The cells of the benchmark: a fixed list that covers the space, from one node to 29, from chains to dense graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np

from gemnet.cell import Cell
from search.experiments.trial.baselines import randwire_cell
from search.spaces.dag import DagSpace

SEED = 32
CONV, SEPCONV = "conv1x1", "sepconv3x3"


class Named(NamedTuple):
    """A cell and what it stands for."""

    kind: str
    cell: Cell


def benchmark_cells(fits: Callable[[Cell], bool] = lambda cell: True) -> list[Named]:
    """32 cells, no two of them isomorphic, kinds taking turns, so that the first few cover the space as well.

    Args:
        fits: Whether a network can be made of a cell; another random one takes the place of one that does not fit.
    """
    made: list[list[Named]] = []
    seen: set[str] = set()
    for kind, count, cells in _kinds():
        made.append([])
        for drawn in cells:
            cell = drawn.pruned()
            digest = cell.digest()
            if len(made[-1]) < count and digest not in seen and fits(cell):
                made[-1].append(Named(kind, cell))
                seen.add(digest)
            if len(made[-1]) == count:
                break
    return [cell for cell in chain.from_iterable(zip_longest(*made)) if cell is not None]


def _kinds() -> Iterator[tuple[str, int, Iterator[Cell]]]:
    """Kind, how many of it, and its cells; what is fixed comes before what is random, which gives way."""
    chains = [[SEPCONV], [SEPCONV] * 2, [SEPCONV] * 4, [SEPCONV] * 8, [CONV, SEPCONV], [CONV, SEPCONV] * 3]
    yield "chain", 6, map(_chain, chains)
    yield "side by side", 4, map(_parallel, [[SEPCONV] * 2, [CONV, SEPCONV], [SEPCONV] * 4, [CONV, CONV, SEPCONV, SEPCONV]])
    yield "complete", 1, iter([_complete(5)])
    yield "shipped", 1, iter([Cell.shipped("gemnet_b")])
    yield "Watts-Strogatz", 2, (randwire_cell(nodes) for nodes in (12, 30))
    yield "sparse", 8, _random(DagSpace(density=(0.02, 0.1)), 1)
    yield "dense", 6, _random(DagSpace(density=(0.1, 0.5)), 2)
    yield "12 nodes", 4, _random(DagSpace(num_nodes=12, density=(0.1, 0.5)), 3)


def _chain(operators: Sequence[str]) -> Cell:
    return Cell(("input", *operators), tuple((place, place + 1) for place in range(len(operators))))


def _parallel(operators: Sequence[str]) -> Cell:
    return Cell(("input", *operators), tuple((0, place) for place in range(1, len(operators) + 1)))


def _complete(nodes: int) -> Cell:
    edges = tuple((u, v) for u in range(nodes) for v in range(u + 1, nodes))
    return Cell(("input", *[SEPCONV] * (nodes - 1)), edges)


def _random(space: DagSpace, stream: int) -> Iterator[Cell]:
    return iter(space.to_cells(space.sample(np.random.default_rng((SEED, stream)), 64)))
