"""Cost: params, MACs and activations, as a value and by a formula. What has no formula is counted: see `gemnet.counting`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gemnet.core.errors import UserError


class OperatorError(UserError):
    """An operator that is not registered, or not as it must be; the message names it and the remedy."""


@dataclass(frozen=True)
class Cost:
    """Params (weights), MACs (multiply-accumulates of convolutions and linear layers) and activations (their output elements).

    Fields are ints, or integer arrays of one shape where many cells are priced at once. Biases, normalisation, pooling and
    element-wise work are no MACs, as in the papers' tables.
    """

    params: Any = 0
    macs: Any = 0
    activations: Any = 0
    __array_ufunc__ = None  # an array times a cost is a cost, not an array of them

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.activations + other.activations)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.params - other.params, self.macs - other.macs, self.activations - other.activations)

    def __mul__(self, times: Any) -> Cost:
        return Cost(self.params * times, self.macs * times, self.activations * times)

    __rmul__ = __mul__

    def __getitem__(self, index: Any) -> Cost:
        """Of many that are priced at once, some."""
        return Cost(self.params[index], self.macs[index], self.activations[index])


class OperatorCost(Protocol):
    """The cost of one node with an operator, by its channels and the resolution of its map."""

    @property
    def affine(self) -> bool:
        """Whether the cost is affine in the input channels, so that the sum of their channels prices many nodes together."""

    def __call__(self, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        """Price one node.

        Args:
            in_channels: int, or integer array.
            out_channels: int, or integer array that broadcasts with `in_channels`.
            resolution: height and width of the feature map.
        """


@dataclass(frozen=True)
class FormulaCost:
    """A cost that its author gives.

    formula: `(in_channels, out_channels, resolution) -> Cost`, for ints and for integer arrays. affine: in the input channels.
    """

    formula: Callable[[Any, Any, tuple[int, int]], Cost]
    affine: bool = False

    def __call__(self, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        return self.formula(in_channels, out_channels, resolution)


def affine_form(
    cost: Callable[[Any, Any, tuple[int, int]], Cost], out_channels: Any, resolution: tuple[int, int]
) -> tuple[Cost, Cost]:
    """Split a cost that is affine in the input channels into that of a node without any, and that of each of them."""
    fixed = cost(0, out_channels, resolution)
    return fixed, cost(1, out_channels, resolution) - fixed


def conv_cost(kernel_size: int, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
    """Price a k x k convolution without bias, with batch normalisation; arguments as `OperatorCost`'s."""
    positions = resolution[0] * resolution[1]
    weights = kernel_size**2 * in_channels * out_channels
    return Cost(weights + 2 * out_channels, weights * positions, out_channels * positions)


def sepconv_cost(kernel_size: int, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
    """Price a k x k depthwise and a 1x1 convolution without bias, with one batch normalisation; arguments as above."""
    positions = resolution[0] * resolution[1]
    weights = kernel_size**2 * in_channels
    return Cost(weights, weights * positions, in_channels * positions) + conv_cost(1, in_channels, out_channels, resolution)


def depthwise_cost(kernel_size: int, channels: Any, resolution: tuple[int, int]) -> Cost:
    """Price a k x k depthwise convolution without bias, with batch normalisation."""
    positions = resolution[0] * resolution[1]
    weights = kernel_size**2 * channels
    return Cost(weights + 2 * channels, weights * positions, channels * positions)
