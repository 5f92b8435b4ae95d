"""The modules that operators of mobile networks build: inverted bottlenecks, squeeze-and-excitation, pooling, identity.

Where a block has a residual connection, it is there if as many channels come in as go out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gemnet.layers import ConvNormAct


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al., arXiv:1709.01507): the means of all channels weigh each of them, by a sigmoid."""

    def __init__(
        self, channels: int, reduced: int, act_layer: Callable[..., nn.Module] = nn.ReLU, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1, device=device, dtype=dtype)
        self.act = act_layer(inplace=True)
        self.expand = nn.Conv2d(reduced, channels, 1, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        return x * torch.sigmoid(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))

    def zero_biases(self) -> None:
        """Start without a preference: every weight near a half."""
        for conv in (self.reduce, self.expand):
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


class DepthwiseSeparable(nn.Module):
    """k x k depthwise convolution, BN, ReLU, 1x1 convolution, BN, ReLU: the block of MobileNetV1 (arXiv:1704.04861)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **layers: Any) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(in_channels, in_channels, kernel_size, groups=in_channels, **layers)
        self.pointwise = ConvNormAct(in_channels, out_channels, 1, **layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        return self.pointwise(self.depthwise(x))


class InvertedBottleneck(nn.Module):
    """Inverted residual (MobileNetV2, arXiv:1801.04381) and universal inverted bottleneck (MobileNetV4, arXiv:2404.10518).

    A depthwise convolution of `start_size` with BN; a 1x1 convolution to `hidden_channels`, BN, ReLU; a depthwise one of
    `kernel_size`, BN, ReLU; squeeze-and-excitation; a 1x1 convolution, BN; the input is added. What has the size 0, or the
    number None, is left out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int | None,
        kernel_size: int,
        start_size: int = 0,
        squeezed: int | None = None,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
        act_layer: Callable[..., nn.Module] = nn.ReLU,
        **dd: Any,
    ) -> None:
        """hidden_channels: None for as many as come in, without a convolution to them. squeezed: channels of the squeeze."""
        super().__init__()
        layers = {"norm_layer": norm_layer, "act_layer": act_layer, **dd}
        hidden = in_channels if hidden_channels is None else hidden_channels
        self.start: nn.Module = nn.Identity()
        if start_size:
            self.start = ConvNormAct(in_channels, in_channels, start_size, groups=in_channels, linear=True, **layers)
        self.expand: nn.Module = nn.Identity()
        if hidden_channels is not None:
            self.expand = ConvNormAct(in_channels, hidden, 1, **layers)
        self.depthwise: nn.Module = nn.Identity()
        if kernel_size:
            self.depthwise = ConvNormAct(hidden, hidden, kernel_size, groups=hidden, **layers)
        self.squeeze: nn.Module = nn.Identity()
        if squeezed is not None:
            self.squeeze = SqueezeExcite(hidden, squeezed, act_layer, **dd)
        self.project = ConvNormAct(hidden, out_channels, 1, linear=True, **layers)
        self.residual = in_channels == out_channels

    def init_weights(self) -> None:
        """Of what the network's initialisation leaves as it is: biases of the squeeze start at 0."""
        if isinstance(self.squeeze, SqueezeExcite):
            self.squeeze.zero_biases()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        out = self.project(self.squeeze(self.depthwise(self.expand(self.start(x)))))
        return out + x if self.residual else out


def projection(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
    """Nothing where as many channels come in as go out, else a 1x1 convolution with BN."""
    if in_channels == out_channels:
        return nn.Identity()
    return ConvNormAct(in_channels, out_channels, 1, linear=True, **layers)


class ProjectedPool(nn.Module):
    """`projection`, then 3x3 max or average pooling at stride 1; the average is of what lies within the map."""

    def __init__(self, in_channels: int, out_channels: int, kind: str, **layers: Any) -> None:
        """kind: max or avg."""
        super().__init__()
        self.project = projection(in_channels, out_channels, **layers)
        self.pool = nn.MaxPool2d(3, 1, 1) if kind == "max" else nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        return self.pool(self.project(x))


class ProjectedSqueezeExcite(nn.Module):
    """`projection`, then squeeze-and-excitation."""

    def __init__(self, in_channels: int, out_channels: int, squeezed: int, **layers: Any) -> None:
        super().__init__()
        self.project = projection(in_channels, out_channels, **layers)
        self.squeeze = SqueezeExcite(out_channels, squeezed, **{k: v for k, v in layers.items() if k != "norm_layer"})

    def init_weights(self) -> None:
        """Of what the network's initialisation leaves as it is: biases start at 0."""
        self.squeeze.zero_biases()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        return self.squeeze(self.project(x))
