import random
from collections.abc import Callable, Sequence

import pytest
import read_once  # noqa: F401
import torch
from mmengine.registry import DefaultScope
from torch import nn

from gemnet.cell import Cell

CONVOLUTIONS = ("conv1x1", "conv3x3", "sepconv3x3", "sepconv5x5")
"""Operators that are one convolution, normalisation and activation; blocks of mobile networks have a file of their own."""


def draw_cell(
    rng: random.Random, nodes: int, density: float, operators: Sequence[str] = CONVOLUTIONS, most: int = 10**9
) -> Cell:
    """A random cell: each edge there with probability `density`, at most `most` into a node, at least one from the input."""
    edges = []
    for v in range(1, nodes):
        before = [u for u in range(v) if rng.random() < density]
        edges += [(u, v) for u in rng.sample(before, min(most, len(before)))]
    if not any(u == 0 for u, _ in edges):
        edges.append((0, rng.randrange(1, nodes)))
    return Cell(("input", *rng.choices(operators, k=nodes - 1)), tuple(edges))


@pytest.fixture(autouse=True, scope="module")
def the_scope_of_openmmlab_is_left_as_it_was():
    """Its registries look into the scope that ran last in the process."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(scope="session")
def random_cell() -> Callable[..., Cell]:
    return draw_cell


def settle(model: nn.Module) -> nn.Module:
    """With statistics and scales as of a trained network, so that folding has something to do."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


@pytest.fixture(scope="session")
def settled() -> Callable[[nn.Module], nn.Module]:
    return settle
