"""Operators of mobile networks, by name: blocks of MobileNetV1, V2 and V4, MnasNet and EfficientNet, pooling and identity.

An expansion multiplies the narrower side of a block: where the input has fewer channels than the output, those of the input,
as in these networks; where a node's many inputs are concatenated, those of the output, so that a node's cost does not grow with
the square of its inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from gemnet.cost import Cost, conv_cost, depthwise_cost

if TYPE_CHECKING:
    from torch import nn

SQUEEZE = 4
"""By which squeeze-and-excitation divides the channels of a block's narrower side."""
KERNELS = (3, 5)
MBCONV_EXPANSIONS, EXTRADW_EXPANSIONS, EXPANSIONS = (1, 2, 3, 4, 6), (2, 3, 4, 6), (2, 4)


class Spec(NamedTuple):
    """An operator: its name, its builder and its cost, as `gemnet.operators.register_operator` takes them."""

    name: str
    build: Callable[..., nn.Module]
    cost: Callable[[Any, Any, tuple[int, int]], Cost]
    affine: bool = False


def _least(a: Any, b: Any) -> Any:
    """The lesser of two ints, or of arrays element by element."""
    return a + (b - a) * (b < a)


def _squeezed(channels: Any) -> Any:
    """Channels of the squeeze, one at least."""
    return channels // SQUEEZE + (channels < SQUEEZE)


def _squeeze_cost(channels: Any, squeezed: Any) -> Cost:
    weights = 2 * channels * squeezed
    return Cost(weights + channels + squeezed, weights, channels + squeezed)


def _separable(kernel_size: int) -> Spec:
    def build(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
        from gemnet.mobile_layers import DepthwiseSeparable  # here, so that cells can be read without torch

        return DepthwiseSeparable(in_channels, out_channels, kernel_size, **layers)

    def cost(in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        return depthwise_cost(kernel_size, in_channels, resolution) + conv_cost(1, in_channels, out_channels, resolution)

    return Spec(f"dsconv{kernel_size}x{kernel_size}", build, cost, affine=True)


def _bottleneck(name: str, expansion: int, kernel_size: int = 0, start_size: int = 0, squeeze: bool = False) -> Spec:
    def build(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
        from gemnet.mobile_layers import InvertedBottleneck

        narrower = in_channels if expansion == 1 else min(in_channels, out_channels)
        hidden = None if expansion == 1 else expansion * narrower
        squeezed = _squeezed(narrower) if squeeze else None
        return InvertedBottleneck(in_channels, out_channels, hidden, kernel_size, start_size, squeezed, **layers)

    def cost(in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        narrower = in_channels if expansion == 1 else _least(in_channels, out_channels)
        hidden, total = expansion * narrower, Cost()
        if start_size:
            total += depthwise_cost(start_size, in_channels, resolution)
        if expansion > 1:
            total += conv_cost(1, in_channels, hidden, resolution)
        if kernel_size:
            total += depthwise_cost(kernel_size, hidden, resolution)
        if squeeze:
            total += _squeeze_cost(hidden, _squeezed(narrower))
        return total + conv_cost(1, hidden, out_channels, resolution)

    return Spec(name, build, cost, affine=expansion == 1 and not squeeze)


def _projection_cost(in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
    """Of a 1x1 convolution where the channels differ, else nothing."""
    return conv_cost(1, in_channels, out_channels, resolution) * (in_channels != out_channels)


def _identity(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
    from gemnet.mobile_layers import projection

    return projection(in_channels, out_channels, **layers)


def _pool(kind: str) -> Spec:
    def build(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
        from gemnet.mobile_layers import ProjectedPool

        return ProjectedPool(in_channels, out_channels, kind, **layers)

    return Spec(f"pool_{kind}3x3", build, _projection_cost)


def _squeeze_excite(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
    from gemnet.mobile_layers import ProjectedSqueezeExcite

    return ProjectedSqueezeExcite(in_channels, out_channels, _squeezed(out_channels), **layers)


def _squeeze_excite_cost(in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
    return _projection_cost(in_channels, out_channels, resolution) + _squeeze_cost(out_channels, _squeezed(out_channels))


FAMILIES: dict[str, tuple[Spec, ...]] = {
    "mbconv{3x3,5x5}_e{1,2,3,4,6}[_se]": tuple(
        _bottleneck(f"mbconv{k}x{k}_e{e}{'_se' * squeeze}", e, k, squeeze=squeeze)
        for squeeze, k, e in itertools.product((False, True), KERNELS, MBCONV_EXPANSIONS)
    ),
    "extradw{3x3,5x5}_{3x3,5x5}_e{2,3,4,6}": tuple(
        _bottleneck(f"extradw{s}x{s}_{k}x{k}_e{e}", e, k, s)
        for s, k, e in itertools.product(KERNELS, KERNELS, EXTRADW_EXPANSIONS)
    ),
    "convnext{3x3,5x5}_e{2,4}": tuple(
        _bottleneck(f"convnext{s}x{s}_e{e}", e, start_size=s) for s, e in itertools.product(KERNELS, EXPANSIONS)
    ),
    "ffn_e{2,4}": tuple(_bottleneck(f"ffn_e{e}", e) for e in EXPANSIONS),
}
"""Inverted bottlenecks by kernel size (of extradw, that before the expansion first) and expansion e, `se` with
squeeze-and-excitation: the pattern of their names -> each. mbconv is MobileNetV2's and MnasNet's block; the names of the others
are those of MobileNetV4's universal inverted bottleneck."""
SINGLE = (
    _separable(3), _separable(5), Spec("identity", _identity, _projection_cost), _pool("max"), _pool("avg"),
    Spec("squeeze_excite", _squeeze_excite, _squeeze_excite_cost),
)  # fmt: skip
SPECS: tuple[Spec, ...] = (*SINGLE, *itertools.chain.from_iterable(FAMILIES.values()))
