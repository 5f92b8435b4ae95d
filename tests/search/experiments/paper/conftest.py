"""Files of made tables, as those of the tests of spaces."""

import numpy as np
import pytest
from made_tables import compact101, compact201

from search.experiments.paper.base import Context, Measured, Result, Unit


@pytest.fixture
def folder(tmp_path):
    """Where both tables are."""
    place = tmp_path / "data"
    place.mkdir()
    np.savez_compressed(place / "nasbench101.npz", **compact101())
    np.savez_compressed(place / "nasbench201.npz", **compact201())
    return place


@pytest.fixture
def context(folder, tmp_path):
    return Context(str(folder), tmp_path / "work")


@pytest.fixture
def result():
    """(row, setting, seed, **figures) -> a result."""
    return lambda row, setting, seed, **figures: Result(Unit("made", row, setting, seed, {"x": 1}), Measured(figures), 0.5)
