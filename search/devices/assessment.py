"""How well a predictor does that has learned from the cells of a file of times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.core.types import SearchError
from search.devices.layers import layer_features
from search.devices.predictor import FEWEST, LatencyPredictor, Quality
from search.devices.times import DeviceTimes

LEAST_TESTED = 5
"""Cells at least on which a predictor is tested."""


@dataclass(frozen=True)
class Assessment:
    """method: the regression that was chosen. learned: cells that it has learned from. quality: on others."""

    method: str
    learned: int
    quality: Quality


def assessed(times: DeviceTimes, fit: int | None = None) -> Assessment:
    """Learn from the first `fit` cells of the file and test on the others; in five-fold cross-validation over all if None.

    The regression is chosen by what it learns from, so what is told of the others is told of cells that took no part.

    Raises:
        SearchError: for too few cells to learn from, or to test on.
    """
    digests = list(times.cells)
    features = [layer_features(times.architectures[digest], times.resolution) for digest in digests]
    measured = np.array([times.milliseconds[digest] for digest in digests])
    if fit is None:
        predictor = LatencyPredictor(features, measured, times.source)
        return Assessment(predictor.method, len(digests), predictor.held_out)
    if not FEWEST <= fit <= len(digests) - LEAST_TESTED:
        raise SearchError(
            f"--fit {fit}: {times.source} has {len(digests)} cells; expected {FEWEST} to {len(digests) - LEAST_TESTED}"
        )
    predictor = LatencyPredictor(features[:fit], measured[:fit], times.source)
    return Assessment(predictor.method, fit, Quality.of(measured[fit:], predictor.predict(features[fit:])))
