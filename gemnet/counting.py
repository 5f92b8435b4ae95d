"""Costs without a formula, counted on modules that are built without data, on the device `meta`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gemnet.cost import Cost, OperatorError

if TYPE_CHECKING:
    from torch import nn


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


DEGREES = (2, 2, 1)
"""Of the polynomial in input channels, output channels and positions."""
LEAST = 16
"""Channels from which on a polynomial is taken from counts."""
RESOLUTIONS = ((3, 5), (4, 4))
"""Where these counts are taken: two consecutive numbers of positions."""
CONFIRMED_AT = (
    (24, 40, (7, 7)), (37, 19, (5, 9)), (3, 130, (14, 14)), (200, 7, (4, 11)), (1000, 333, (56, 56)), (64, 512, (1, 1)),
    (1, 1, (2, 2)), (2049, 2050, (28, 28)),
)  # fmt: skip
"""Channels in and out, and resolutions, where further counts must agree."""
ROUNDED = 8
"""Channels are often rounded to multiples of this; then those with the same remainder have a polynomial of their own."""


class CountedCost:
    """The cost of one node, counted.

    Counts at a few channels and resolutions give a polynomial, of second degree in the channels and affine in the positions.
    Where further counts confirm it, it prices everything, arrays too, at once. Where they do not, as with channels that are
    rounded, the same is tried with the channels that leave one remainder; what has no polynomial then is counted by itself,
    once for each pair of channels.
    """

    def __init__(self, name: str, build: Callable[..., nn.Module]) -> None:
        """
        Args:
            name: of the operator, for messages.
            build: `(in_channels, out_channels, **layers)` -> a module.
        """
        self.name, self.build = name, build
        self._counts: dict[tuple[int, int, tuple[int, int]], Cost] = {}
        self._polynomials: dict[tuple[int, int, int], _Polynomial | None] = {}

    @property
    def affine(self) -> bool:
        polynomial = self._polynomial(1, 0, 0)
        return polynomial is not None and not polynomial.differences[:, 2].any()

    def __call__(self, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        """As `OperatorCost`. Raises OperatorError where the module cannot be built or run, or makes another map."""
        polynomial = self._polynomial(1, 0, 0)
        if polynomial is not None:
            return polynomial(in_channels, out_channels, resolution)
        if np.ndim(in_channels) == np.ndim(out_channels) == 0:
            return self._one(int(in_channels), int(out_channels), resolution)
        inputs, outputs = np.broadcast_arrays(in_channels, out_channels)
        pairs, places = np.unique(np.stack([inputs.ravel(), outputs.ravel()]), axis=1, return_inverse=True)
        costs = [self._one(channels, width, resolution) for channels, width in pairs.T.tolist()]
        fields = np.array([(cost.params, cost.macs, cost.activations) for cost in costs]).T
        return Cost(*(field[places.ravel()].reshape(inputs.shape) for field in fields))

    def _one(self, in_channels: int, out_channels: int, resolution: tuple[int, int]) -> Cost:
        """One cost without a polynomial for all channels."""
        if min(in_channels, out_channels) >= LEAST:
            polynomial = self._polynomial(ROUNDED, in_channels % ROUNDED, out_channels % ROUNDED)
            if polynomial is not None:
                return polynomial(in_channels, out_channels, resolution)
        return self.count(in_channels, out_channels, resolution)

    def count(self, in_channels: int, out_channels: int, resolution: tuple[int, int]) -> Cost:
        """Build one module and count it, once for the same arguments. Raises OperatorError as a call does."""
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

    def _polynomial(self, step: int, in_rest: int, out_rest: int) -> _Polynomial | None:
        """That of all channels which, divided by `step`, leave these rests; None where they have none."""
        key = (step, in_rest, out_rest)
        if key not in self._polynomials:
            try:
                self._polynomials[key] = self._confirmed(*key)
            except OperatorError:  # the channels that are asked for may do
                self._polynomials[key] = None
        return self._polynomials[key]

    def _confirmed(self, step: int, in_rest: int, out_rest: int) -> _Polynomial | None:
        inputs, outputs = LEAST + (in_rest - LEAST) % step, LEAST + (out_rest - LEAST) % step
        places = itertools.product(*(range(degree + 1) for degree in DEGREES))
        counts = [self.count(inputs + step * i, outputs + step * o, RESOLUTIONS[p]) for i, o, p in places]
        values = np.array([(cost.params, cost.macs, cost.activations) for cost in counts]).T
        differences = values.reshape(3, *(degree + 1 for degree in DEGREES))
        for axis, degree in enumerate(DEGREES, 1):
            orders = [np.diff(differences, order, axis).take([0], axis) for order in range(degree + 1)]
            differences = np.concatenate(orders, axis)
        polynomial = _Polynomial(inputs, outputs, step, differences)
        for in_channels, out_channels, resolution in CONFIRMED_AT:
            if step > 1:  # the next ones from LEAST on with the same rests
                in_channels, out_channels = max(in_channels, LEAST), max(out_channels, LEAST)
                in_channels += (in_rest - in_channels) % step
                out_channels += (out_rest - out_channels) % step
            at = (in_channels, out_channels, resolution)
            if polynomial(*at) != self.count(*at):
                return None
        return polynomial


@dataclass(frozen=True, eq=False)
class _Polynomial:
    """A cost in Newton's form, in whole numbers.

    inputs, outputs, step: the first channels, and the step to the next ones. differences: forward differences of the counts,
    [params MACs activations, degree in input channels, degree in output channels, degree in positions].
    """

    inputs: int
    outputs: int
    step: int
    differences: np.ndarray

    def __call__(self, in_channels: Any, out_channels: Any, resolution: tuple[int, int]) -> Cost:
        """As `OperatorCost`; channels are whole steps from the first ones."""
        height, width = RESOLUTIONS[0]
        steps = (
            (in_channels - self.inputs) // self.step,
            (out_channels - self.outputs) // self.step,
            resolution[0] * resolution[1] - height * width,
        )
        binomials = [(1, step, step * (step - 1) // 2) for step in steps]
        total = Cost()
        for i, o, p in itertools.product(*(range(degree + 1) for degree in DEGREES)):
            difference = Cost(*self.differences[:, i, o, p].tolist())
            if difference != Cost():
                total += difference * (binomials[0][i] * binomials[1][o] * binomials[2][p])
        return total
