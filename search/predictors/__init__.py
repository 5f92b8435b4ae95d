"""Predictors of the scores of cells, one interface (`search.core.types.Predictor`), chosen by name."""

from __future__ import annotations

from typing import Any

from search.core.parts import PREDICTORS
from search.core.types import Predictor


def build_predictor(type: str = "mlp", **settings: Any) -> Predictor:
    """A predictor by name. Raises SearchError for an unknown name or setting."""
    return PREDICTORS.build(type, {}, settings)
