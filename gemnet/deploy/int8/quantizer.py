"""What the module of a runtime gives: a calibrated network that can be written in any mix of int8 and float layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from gemnet.core.progress import tracked
from gemnet.deploy.int8.layers import Layer, relative_error

Feed: TypeAlias = Mapping[str, np.ndarray]
"""What a graph takes, by the names of its inputs."""
Feeds: TypeAlias = Callable[[int], Iterator[Feed]]
"""The calibration images in batches of so many."""


class Quantizer(Protocol):
    """What writes a network for a runtime with any mix of int8 and float layers."""

    @property
    def weight_bits(self) -> int:
        """Of the weights of int8 layers."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which they are computed."""

    def write(self, path: Path, kept_float: Collection[str] = ()) -> None:
        """Write the file with the layers of these names in float."""

    def errors(self, feeds: Iterable[Feed]) -> dict[str, float]:
        """By layer, how much its quantisation alone disturbs what leaves the network, as `errors_alone`."""


def errors_alone(
    layers: Sequence[Layer], expected: Sequence[np.ndarray], outputs: Callable[[Layer], Sequence[np.ndarray]]
) -> dict[str, float]:
    """Quantise one layer after the other, each alone, and compare what leaves the network with float.

    Args:
        layers: Of the network.
        expected: What leaves the float network, all values of a tensor in one array.
        outputs: What leaves the network in which one layer is int8.

    Returns:
        By layer, the `relative_error`.
    """
    return {layer.name: relative_error(outputs(layer), expected) for layer in tracked(layers, "layers, one by one")}
