"""Layers that train faster: their results are PyTorch's own."""

import copy
import math

import pytest
import torch
from torch import nn

from gemnet.quick_layers import PointwiseConv2d, QuickReLU, quicken


class Branches(nn.Module):
    """Two branches that are concatenated, so that each one's gradient is a part of a wider tensor."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace)) for _ in range(2)
        )

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


@pytest.mark.parametrize("inplace", [True, False])
def test_gradients_of_a_quick_relu_are_those_of_torch_bit_by_bit(inplace):
    torch.manual_seed(0)
    plain = Branches(inplace).to(memory_format=torch.channels_last)
    quick = copy.deepcopy(plain)
    for branch in quick.branches:
        branch[2].__class__ = QuickReLU
    images = torch.randn(4, 8, 6, 6).to(memory_format=torch.channels_last)
    weights = torch.randn(4, 16, 6, 6)
    found = []
    for network in (plain, quick):
        x = images.clone().requires_grad_()
        out = network(x)
        (out * weights).sum().backward()
        found.append([out, x.grad, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_a_quick_relu_passes_what_torchs_passes_at_zero_and_at_infinity():
    for dtype in (torch.float32, torch.bfloat16):
        grads = []
        for layer in (nn.ReLU(), QuickReLU()):
            x = torch.tensor([-math.inf, -1.0, -0.0, 0.0, 1e-30, 3e38, math.nan], dtype=dtype, requires_grad=True)
            out = layer(x)
            out.backward(torch.arange(1.0, 8, dtype=dtype))
            grads.append((out.detach(), x.grad))
        for mine, theirs in zip(*grads):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_a_quick_relu_without_gradients_is_torchs_own():
    layer = QuickReLU(inplace=True)
    with torch.inference_mode():
        x = torch.tensor([-1.0, 2.0])
        assert layer(x) is x
        assert x.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "half"),
    [(3, 1, 8, True), (3, 2, 8, False), (3, 1, 2, False), (5, 1, 8, False), (7, 1, 8, False)],
)
def test_a_depthwise_convolution_computes_in_bfloat16_where_its_gradient_is_fast_so(kernel, stride, size, half):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, kernel, stride, padding=kernel // 2, groups=8, bias=False)
    images = torch.randn(2, 8, size, size)
    exact = layer(images)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(images.bfloat16())
    quicken(wrapped := nn.Sequential(layer))
    torch.testing.assert_close(wrapped(images), exact)  # without autocast nothing changes
    with torch.autocast("cpu", torch.bfloat16):
        found = wrapped(images.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, plain) is half
    if not half:
        torch.testing.assert_close(found, layer(images.bfloat16().float()).bfloat16(), rtol=0, atol=0)


def test_a_quickened_network_has_the_same_weights_and_nearly_the_same_results():
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), nn.Conv2d(16, 8, 1, bias=False), nn.ReLU(),
        nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, stride=2, bias=False), nn.ReLU6(),
    )  # fmt: skip
    quick, same = copy.deepcopy(plain), copy.deepcopy(plain)
    quicken(quick, products=True)
    quicken(same)
    assert [type(layer) for layer in quick] == [
        nn.Conv2d, nn.BatchNorm2d, QuickReLU, PointwiseConv2d, QuickReLU, nn.Conv2d, nn.Conv2d, nn.ReLU6,
    ]  # fmt: skip
    assert list(quick.state_dict()) == list(plain.state_dict())
    images = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(quick(images), plain(images))
    assert torch.equal(same(images), plain(images))
