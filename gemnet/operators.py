"""The operator table: what a node of a cell may compute, and what that costs.

Every operator is a convolution, batch normalisation and ReLU, in that order (paper, section 4). The cost of an operator
is affine in its input channels, so several nodes of one operator are priced together from the sum of their input channels;
that also prices whole arrays of cells at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

INPUT = "input"


@dataclass(frozen=True)
class Cost:
    """Params (weights), MACs (multiply-accumulates of convolutions and linear layers) and activations (their output elements).

    Fields are ints, or integer arrays of one shape where many cells are priced at once. Biases, normalisation, pooling and
    element-wise work are no MACs, as in the papers' tables.
    """

    params: Any = 0
    macs: Any = 0
    activations: Any = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.activations + other.activations)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.params * times, self.macs * times, self.activations * times)

    __rmul__ = __mul__

    def __getitem__(self, index: Any) -> Cost:
        """Of many that are priced at once, some."""
        return Cost(self.params[index], self.macs[index], self.activations[index])


@dataclass(frozen=True)
class Operator:
    """A named operator: a k x k convolution, plain or depthwise separable, with BN and ReLU, at stride 1."""

    name: str
    kernel_size: int
    separable: bool

    def build(self, in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
        """The module [B, in_channels, H, W] -> [B, out_channels, H, W]; `layers` are norm_layer, act_layer, device, dtype."""
        from gemnet.layers import ConvNormAct, SepConvNormAct

        module = SepConvNormAct if self.separable else ConvNormAct
        return module(in_channels, out_channels, self.kernel_size, **layers)

    def cost(self, in_channels: Any, out_channels: int, positions: int, nodes: Any = 1) -> Cost:
        """Cost of `nodes` nodes with this operator whose input channels sum to `in_channels`.

        `positions` is height x width of the feature map. `in_channels` and `nodes` may be integer arrays of one shape.
        """
        pointwise = Cost(in_channels * out_channels, in_channels * out_channels * positions, nodes * out_channels * positions)
        normalisation = Cost(params=2 * nodes * out_channels)
        area = self.kernel_size**2
        if self.separable:
            depthwise = Cost(area * in_channels, area * in_channels * positions, in_channels * positions)
            return depthwise + pointwise + normalisation
        spatial = Cost(area * pointwise.params, area * pointwise.macs, pointwise.activations)
        return spatial + normalisation


OPERATORS: dict[str, Operator] = {
    op.name: op
    for op in (
        Operator("conv1x1", 1, separable=False),
        Operator("conv3x3", 3, separable=False),
        Operator("sepconv3x3", 3, separable=True),
        Operator("sepconv5x5", 5, separable=True),
    )
}

LABELS: dict[str, str] = {
    "maxpool3x3": "NAS-Bench-101 and ENAS",
    "output": "NAS-Bench-101, NAS-Bench-201 and ENAS",
    "none": "NAS-Bench-201",
    "skip_connect": "NAS-Bench-201",
    "nor_conv_1x1": "NAS-Bench-201",
    "nor_conv_3x3": "NAS-Bench-201",
    "avg_pool_3x3": "NAS-Bench-201",
    "conv5x5": "ENAS",
    "avgpool3x3": "ENAS",
}
"""Operators of published benchmarks, with their names. A cell may hold them: it is drawn, compared, stored and searched for
like any other. But no network of stages is built of it, for its edges mean something else: sums, not concatenation."""
