"""Cost: params, MACs and activations, as a value, by a formula, or counted on a module that is built without data."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gemnet.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn


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


def counted(module: nn.Module, *inputs: Any) -> tuple[Any, Cost]:
    """Run a module and count what it costs, for modules whose cost is not known in a formula.

    On the device `meta` the run itself costs nothing. MACs are those of all convolutions and products of matrices; activations
    the output elements of the modules that are convolutions or linear layers.

    Returns:
        the outputs of the forward pass, and its cost.
    """
    import torch
    from torch import nn
    from torch.nn.modules.conv import _ConvNd
    from torch.utils.flop_counter import FlopCounterMode

    activations = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal activations
        activations += output.numel()

    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            outputs = module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    params = sum(parameter.numel() for parameter in module.parameters())
    return outputs, Cost(params, counter.get_total_flops() // 2, activations)


FIRST = (16, 16, ((3, 5), (4, 4)))
"""Channels in and out from which three of each are counted, and two resolutions of consecutive numbers of positions."""
DEGREES = (2, 2, 1)
"""Of the polynomial in input channels, output channels and positions."""
CONFIRMED_AT = (
    (24, 40, (7, 7)), (37, 19, (5, 9)), (3, 130, (14, 14)), (200, 7, (4, 11)), (1000, 333, (56, 56)), (64, 512, (1, 1)),
    (1, 1, (2, 2)), (2049, 2050, (28, 28)),
)  # fmt: skip


class CountedCost:
    """A cost that is counted on modules built without data, on the device `meta`.

    The counts at a few channels and resolutions give a polynomial, of second degree in the channels and affine in the
    positions. Where counts at further ones confirm it, it prices everything, arrays too, at once. Where they do not, as with
    channels that are rounded, each pair of channels is counted by itself, once.
    """

    def __init__(self, name: str, build: Callable[..., nn.Module]) -> None:
        self.name, self.build = name, build
        self._counts: dict[tuple[int, int, tuple[int, int]], Cost] = {}

    @property
    def affine(self) -> bool:
        return self._polynomial is not None and not self._polynomial[:, 2].any()

    def __call__(self, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        """As `OperatorCost`. Raises OperatorError where the module cannot be built or run, or makes another map."""
        if self._polynomial is not None:
            return _evaluated(self._polynomial, in_channels, out_channels, resolution)
        if np.ndim(in_channels) == np.ndim(out_channels) == 0:
            return self.count(int(in_channels), int(out_channels), resolution)
        pairs = np.broadcast_arrays(in_channels, out_channels)
        costs = [self.count(*pair, resolution) for pair in zip(*(channels.ravel().tolist() for channels in pairs))]
        fields = ((c.params for c in costs), (c.macs for c in costs), (c.activations for c in costs))
        return Cost(*(np.fromiter(field, np.int64, len(costs)).reshape(pairs[0].shape) for field in fields))

    def count(self, in_channels: int, out_channels: int, resolution: tuple[int, int]) -> Cost:
        """Build one module and count it, once for each of the arguments. Raises OperatorError as above."""
        key = (in_channels, out_channels, resolution)
        if key not in self._counts:
            self._counts[key] = self._count(*key)
        return self._counts[key]

    def _count(self, in_channels: int, out_channels: int, resolution: tuple[int, int]) -> Cost:
        import torch
        from torch import nn

        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                layers = {"norm_layer": nn.BatchNorm2d, "act_layer": nn.ReLU, "device": "meta", "dtype": None}
                module = self.build(in_channels, out_channels, **layers).eval().to("meta")
                outputs, cost = counted(module, torch.empty(1, in_channels, *resolution))
        except Exception as error:  # a module is somebody's program: whatever it raises is theirs to mend
            raise OperatorError(
                f"operator {self.name!r}: its module of {in_channels} -> {out_channels} channels cannot be counted at"
                f" {resolution[0]} x {resolution[1]} ({type(error).__name__}: {error}); expected"
                " build(in_channels, out_channels, **layers) of a module that runs on the device meta, or a cost of its own:"
                " register_operator(name, cost=...)"
            ) from error
        shape = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if shape != [1, out_channels, *resolution]:
            raise OperatorError(
                f"operator {self.name!r}: its module makes {shape} of {[1, in_channels, *resolution]}; expected"
                f" {[1, out_channels, *resolution]}: an operator keeps height and width"
            )
        return cost

    @cached_property
    def _polynomial(self) -> np.ndarray | None:
        """Forward differences of the counts from FIRST on, [params MACs activations, degree in, degree out, degree positions];
        None where no such polynomial prices the operator."""
        inputs, outputs, resolutions = FIRST
        steps = itertools.product(*(range(degree + 1) for degree in DEGREES))
        try:
            counts = [self.count(inputs + i, outputs + o, resolutions[p]) for i, o, p in steps]
            further = [(at, self.count(*at)) for at in CONFIRMED_AT]
        except OperatorError:
            return None  # the channels that are asked for may do
        differences = np.array([(c.params, c.macs, c.activations) for c in counts]).T.reshape(3, *(d + 1 for d in DEGREES))
        for axis, degree in enumerate(DEGREES, 1):
            orders = [np.diff(differences, order, axis).take([0], axis) for order in range(degree + 1)]
            differences = np.concatenate(orders, axis)
        return differences if all(_evaluated(differences, *at) == cost for at, cost in further) else None


def _evaluated(differences: np.ndarray, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
    """Newton's form of a polynomial, in whole numbers, from its forward differences at FIRST."""
    inputs, outputs, ((height, width), _) = FIRST
    steps = (in_channels - inputs, out_channels - outputs, resolution[0] * resolution[1] - height * width)
    binomials = [(1, step, step * (step - 1) // 2) for step in steps]
    total = Cost()
    for i, o, p in itertools.product(*(range(degree + 1) for degree in DEGREES)):
        difference = Cost(*differences[:, i, o, p].tolist())
        if difference != Cost():
            total += difference * (binomials[0][i] * binomials[1][o] * binomials[2][p])
    return total


def affine_form(
    cost: Callable[[Any, Any, tuple[int, int]], Cost], out_channels: Any, resolution: tuple[int, int]
) -> tuple[Cost, Cost]:
    """Split a cost that is affine in the input channels into that of a node without any, and that of each of them."""
    fixed = cost(0, out_channels, resolution)
    return fixed, cost(1, out_channels, resolution) - fixed
