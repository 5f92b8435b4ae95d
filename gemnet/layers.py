"""The modules that operators build: a convolution, batch normalisation and ReLU, in that order (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class ConvNormAct(nn.Module):
    """k x k convolution, BN, ReLU. linear: without the ReLU. groups: of the convolution; as many as channels: depthwise."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
        act_layer: Callable[..., nn.Module] = nn.ReLU,
        groups: int = 1,
        linear: bool = False,
        **dd: Any,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False, **dd)
        self.bn = norm_layer(out_channels, **dd)
        self.act: nn.Module = nn.Identity() if linear else act_layer(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        return self.act(self.bn(self.conv(x)))


class SepConvNormAct(nn.Module):
    """k x k depthwise convolution, 1x1 convolution, BN, ReLU: one triplet, nothing between the two convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
        act_layer: Callable[..., nn.Module] = nn.ReLU,
        **dd: Any,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.depthwise = nn.Conv2d(in_channels, in_channels, kernel_size, padding=padding, groups=in_channels, bias=False, **dd)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False, **dd)
        self.bn = norm_layer(out_channels, **dd)
        self.act = act_layer(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        return self.act(self.bn(self.conv(self.depthwise(x))))
