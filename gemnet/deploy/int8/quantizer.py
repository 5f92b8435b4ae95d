"""What the module of a runtime gives: a calibrated network that can be written in any mix of int8 and float layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from gemnet.deploy.int8.layers import Layer

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
        """By layer, how much its quantisation alone disturbs what leaves the network."""


@dataclass(frozen=True)
class Made:
    """What a classifier became: its quantiser, calibrated; its float file, and how far that is from the model, relative."""

    quantizer: Quantizer
    plain: Path
    difference: float
