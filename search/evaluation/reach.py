"""Whether a budget can be met in a space at all: asked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gemnet.cell import Cell
from gemnet.complexity import BudgetError, fit
from gemnet.operators import INPUT
from search.core.types import SearchError, Space

DRAWN = 2
"""Cells of the space that are tried."""


def check_model_budget(space: Space, model: Mapping[str, Any], seed: int) -> None:
    """Raises SearchError, with the MACs that are reached, where no model within the budget `model` (as `gemnet.fit` takes it)
    can be made of any of the smallest cells, those of one operator, and some that are drawn."""
    smallest = [Cell((INPUT, name), ((0, 1),)) for name in space.operators]
    drawn = space.to_cells(space.sample(np.random.default_rng(seed), DRAWN))
    reached, told = [], ""
    for cell in [*drawn[:1], *smallest, *drawn[1:]]:
        try:
            fit(cell, **model)
            return
        except BudgetError as error:
            reached += [error.reached] if error.reached else []
            told = str(error)
    if not reached:
        raise SearchError(f"model: {told}; so it is with each of {len(smallest) + DRAWN} cells of the space that were tried")
    low, high = min(low for low, _ in reached), max(high for _, high in reached)
    params = model.get("target_params")
    raise SearchError(
        f"model: target_macs={model['target_macs']:g} is out of reach for each of {len(smallest) + DRAWN} cells of the space"
        f" that were tried: they reach {low / 1e6:.4g} to {high / 1e6:.4g} M MACs"
        + (f" with at most {params / 1e6:g} M params" if params else "")
    )
