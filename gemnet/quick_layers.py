"""Layers of PyTorch's in forms that train faster on a CPU, with the same results."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST, SMALLEST = 3, 16
"""The kernel up to which, and the pixels of a map from which on, a depthwise convolution of stride 1 has a fast gradient in
bfloat16."""


def quicken(network: nn.Module, products: bool = False) -> None:
    """Let the layers of a network compute in those forms. Weights and names stay; other layers too.

    Without autocast results and gradients are PyTorch's bit for bit, unless 1x1 convolutions become matrix `products`.
    """
    for module in network.modules():
        if type(module) is nn.ReLU:
            module.__class__ = QuickReLU
        elif products and type(module) is nn.Conv2d and PointwiseConv2d.is_one(module):
            module.__class__ = PointwiseConv2d
        elif type(module) is nn.Conv2d and DepthwiseConv2d.is_one(module):
            module.__class__ = DepthwiseConv2d


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution as the matrix product that it is: on small maps faster than as a convolution."""

    @staticmethod
    def is_one(module: nn.Conv2d) -> bool:
        """Whether this convolution is such a product."""
        return (module.kernel_size, module.stride, module.groups, module.bias) == ((1, 1), (1, 1), 1, None)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that leaves bfloat16 to those cases in which its gradient is not slower than that of float32."""

    @staticmethod
    def is_one(module: nn.Conv2d) -> bool:
        """Whether each channel is convolved by itself."""
        return module.groups == module.in_channels == module.out_channels > 1

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H', W']."""
        fast = max(self.stride) == 1 and max(self.kernel_size) <= LARGEST and x[0, 0].numel() >= SMALLEST
        if fast or not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


class QuickReLU(nn.ReLU):
    """ReLU with a faster gradient. PyTorch's own is slow, most of all where branches are concatenated behind it."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return super().forward(x)
        result: Tensor = _ReLU.apply(x, self.inplace)
        return result


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        result = x.clamp_min_(0) if inplace else x.clamp_min(0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (result,) = ctx.saved_tensors
        # Written as the result lies in memory, which is how the normalisation before it reads it fastest.
        out = torch.empty_like(result)
        return torch.ops.aten.hardtanh_backward.grad_input(gradient, result, 0, math.inf, grad_input=out), None
