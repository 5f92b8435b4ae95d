"""What a method tells of a training that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.experiments.detectors.budget import Pace


@dataclass(frozen=True)
class Trained:
    """A training that has ended, before the test.

    Attributes:
        epochs: Passes over the training images.
        images: Images that a step was made with, those of the warm-up not counted.
        cpu_seconds: Of the training with its validations.
        wall_seconds: Likewise.
        pace: From the warm-up.
        curve: (epoch, AP) of the validations as the system itself measured them.
        settings: What tells this recipe from others: batch, learning rate, optimiser, ...
        weights: The checkpoint that validation chose.
    """

    epochs: int
    images: int
    cpu_seconds: float
    wall_seconds: float
    pace: Pace
    curve: list[tuple[float, float]]
    settings: Mapping[str, Any]
    weights: Path
