"""Write a network in int8 and keep as few layers float as a limit of the loss allows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from gemnet.core.files import made_apart
from gemnet.deploy.int8.mixed_precision import Trial, fewest_float
from gemnet.deploy.int8.quantizer import Feed, Quantizer
from gemnet.deploy.int8.report import LayerReport, layer_reports


class Measured(Protocol):
    """A measurement of a file beside the float file."""

    @property
    def lost(self) -> float:
        """Points."""


Measurement = TypeVar("Measurement", bound=Measured)


@dataclass(frozen=True)
class Choice(Generic[Measurement]):
    """What was written: its measurement, its layers, and what was tried for it."""

    measured: Measurement
    layers: tuple[LayerReport, ...]
    trials: tuple[Trial, ...]


def write_within(
    quantizer: Quantizer, path: Path, feeds: Iterable[Feed], measure: Callable[[Any], Measurement], max_loss: float
) -> Choice[Measurement]:
    """Write a network in int8 to `path` so that at most `max_loss` points are lost, whole or not at all.

    The layers are quantised one at a time, and what leaves the network is compared with float: this ranks them without labels.
    Files are then measured with the most sensitive ones kept float, see `fewest_float`.

    Args:
        quantizer: The calibrated network.
        path: The file.
        feeds: Some calibration images, as the network takes them, for the ranking.
        measure: Path of a file -> its measurement on labelled images.
        max_loss: In points.

    Raises:
        DataError: As `measure` does.
    """
    errors = quantizer.errors(feeds)
    found: dict[int, Measurement] = {}
    with made_apart(path) as temporary:  # a file may have others beside it
        written = -1

        def lost(kept: Collection[str]) -> float:
            nonlocal written
            quantizer.write(temporary, kept)
            written, found[len(kept)] = len(kept), measure(temporary)
            told = f"{len(errors) - len(kept)} of {len(errors)} layers in int8"
            print(f"{told}: {found[len(kept)].lost:.2f} points lost", file=sys.stderr)
            return found[len(kept)].lost

        kept, trials = fewest_float(errors, lost, max_loss)
        if written != len(kept):
            quantizer.write(temporary, kept)
        if len(kept) not in found:
            found[len(kept)] = measure(temporary)
    return Choice(found[len(kept)], layer_reports(quantizer.layers, errors, kept), tuple(trials))
