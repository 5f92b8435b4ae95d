"""Predictors of the scores of cells, one interface (`search.core.types.Predictor`), chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search.core.registry import build_named
from search.core.types import Predictor
from search.predictors.bagged import BaggedPredictor
from search.predictors.ensemble import EnsemblePredictor
from search.predictors.graph_ensemble import GraphEnsemblePredictor
from search.predictors.mlp import MLPPredictor

PREDICTORS: dict[str, Callable[..., Predictor]] = {
    "mlp": MLPPredictor,
    "ensemble": EnsemblePredictor,
    "graph_ensemble": GraphEnsemblePredictor,
    "bagged": BaggedPredictor,
}


def build_predictor(type: str = "mlp", **settings: Any) -> Predictor:
    """A predictor by name. Raises SearchError for an unknown name or setting."""
    return build_named("predictor", PREDICTORS, type, **settings)
