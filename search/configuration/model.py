"""The section `model` of a search's settings."""

from __future__ import annotations

from dataclasses import dataclass

from gemnet.complexity import Residual, TargetMacs, TargetParams


@dataclass(frozen=True)
class Model:
    """The budget of the models to come, at 224x224 with 1,000 classes, as `gemnet.fit` takes it: cells are fitted to it."""

    target_macs: TargetMacs
    target_params: TargetParams = None
    residual: Residual = False
