"""The finalists of a search, each trained for a short time as the small detector itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gemnet.cell import Cell
from gemnet.detection.data import Prepared
from gemnet.detection.own_detector import training
from search.core.types import SearchError

SHARE = 0.1
"""Of the detector's own minutes or epochs, for each finalist."""


@dataclass(frozen=True)
class DetectorTraining:
    """How the detector will be trained: the arguments of `gemnet.detection.own_detector.run.detect` of the same names."""

    config: str
    minutes: float | None
    epochs: int | None
    seed: int
    options: Mapping[str, Any]
    processes: int | None


def validation_aps(
    cells: Sequence[Cell], prepared: Prepared, directory: Path, wanted: DetectorTraining, tell: Callable[[str], None]
) -> list[float]:
    """The best validation AP of the detector of each cell, after SHARE of its training. The test split is not looked at.

    A folder in `directory` holds each training; one that is finished is not trained again, one that was stopped goes on.
    Raises SearchError where a training leaves no validation.
    """
    aps = []
    for number, cell in enumerate(cells, 1):
        place = directory / cell.digest()[:8]
        place.mkdir(parents=True, exist_ok=True)
        file = place / "cell.json"
        cell.save(file)
        seconds = None if wanted.minutes is None else 60 * SHARE * wanted.minutes
        epochs = None if wanted.epochs is None else max(1, round(SHARE * wanted.epochs))
        if not (place / training.BEST).is_file():
            length = f"{seconds / 60:g} minutes" if seconds else f"{epochs} epoch{'s' * (epochs != 1)}"
            tell(f"finalist {number} of {len(cells)}, cell {place.name}: {length} as the detector itself")
            processes = wanted.processes or max(1, torch.cuda.device_count())
            settings = wanted.config, seconds, epochs, wanted.seed, str(file), wanted.options, processes
            plan = training.planned(prepared, place, *settings)
            torch.set_num_threads(plan["threads"])
            training.train(place, processes, seconds)
        _, validations = training.curves(place)
        if not validations:
            raise SearchError(f"{place}: the training left no validation; {place / training.LOG} tells why")
        aps.append(max(row["AP"] for row in validations))
        tell(f"finalist {number} of {len(cells)}, cell {place.name}: validation AP {aps[-1]:.3f}")
    return aps
