"""The form for inference computes what the network computes, with fewer operations."""

import random

import pytest
import timm
import torch
from torch import nn

import gemnet
from gemnet.export import Features
from gemnet.fusion import fold_batch_norm, fused
from gemnet.operators import OPERATORS


@pytest.fixture
def network_of(settled):
    def build(operators, edges, **settings):
        cell = gemnet.Cell(("input", *operators), edges)
        return settled(timm.create_model("gemnet", cell=cell, target_macs=60e6, num_classes=10, **settings)).double()

    return build


def counts(model):
    """Convolutions and concatenations of one pass."""
    graph = torch.fx.symbolic_trace(model).graph
    modules = dict(model.named_modules())
    convolutions = sum(n.op == "call_module" and isinstance(modules[n.target], nn.Conv2d) for n in graph.nodes)
    return convolutions, sum(n.target is torch.cat for n in graph.nodes)


@pytest.mark.parametrize("seed", range(6))
def test_the_fused_form_changes_no_output_of_random_cells_in_double_precision(seed, random_cell, settled):
    cell = random_cell(random.Random(seed), 9, 0.4, tuple(OPERATORS))
    network = settled(timm.create_model("gemnet", cell=cell, target_macs=100e6, num_classes=10)).double()
    found, x = fused(network), torch.randn(2, 3, 50, 70, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-11, atol=1e-11)
        for ours, theirs in zip(Features(found)(x), Features(network)(x)):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


SIBLINGS = {
    "all leaves": (("conv1x1",) * 4, ((0, 1), (0, 2), (0, 3), (0, 4)), 1, 0),
    "read again together": (("conv3x3", "conv3x3", "sepconv3x3"), ((0, 1), (0, 2), (1, 3), (2, 3)), 3, 0),
    "read again apart": (("conv1x1", "conv1x1", "conv3x3"), ((0, 1), (0, 2), (1, 3)), 2, 1),
    "of two kernels": (("conv1x1", "conv3x3", "conv1x1"), ((0, 1), (0, 2), (0, 3)), 2, 1),
    "separable: left alone": (("sepconv3x3", "sepconv3x3"), ((0, 1), (0, 2)), 4, 1),
}


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", SIBLINGS)
def test_plain_siblings_become_one_convolution_without_copies(shape, residual, network_of):
    operators, edges, convolutions, concatenations = SIBLINGS[shape]
    network = network_of(operators, edges, residual=residual)
    found, x = fused(network), torch.randn(2, 3, 64, 50, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(torch.jit.script(found)(x), network(x), rtol=1e-11, atol=1e-11)
    cells = sum(network.architecture.depths)
    beside = 1 + bool(network.architecture.head_width)  # the stem and the head
    assert counts(found) == (cells * convolutions + beside, cells * concatenations)
    assert counts(fold_batch_norm(network))[0] >= counts(found)[0]


def test_a_network_with_another_normalisation_stays_as_it_is(network_of):
    network = network_of(("conv1x1", "conv1x1"), ((0, 1), (0, 2)), norm_layer=lambda c, **dd: nn.GroupNorm(1, c, **dd))
    found, x = fused(network), torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(found(x), network(x))
    assert counts(found) == counts(network)
