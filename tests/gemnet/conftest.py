import random
from collections.abc import Callable, Sequence

import pytest

from gemnet.cell import Cell
from gemnet.operators import OPERATORS


def draw_cell(
    rng: random.Random, nodes: int, density: float, operators: Sequence[str] = tuple(OPERATORS), most: int = 10**9
) -> Cell:
    """A random cell: each edge there with probability `density`, at most `most` into a node, at least one from the input."""
    edges = []
    for v in range(1, nodes):
        before = [u for u in range(v) if rng.random() < density]
        edges += [(u, v) for u in rng.sample(before, min(most, len(before)))]
    if not any(u == 0 for u, _ in edges):
        edges.append((0, rng.randrange(1, nodes)))
    return Cell(("input", *rng.choices(operators, k=nodes - 1)), tuple(edges))


@pytest.fixture(scope="session")
def random_cell() -> Callable[..., Cell]:
    return draw_cell
