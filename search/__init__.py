"""NASGEM: search for a cell with a kernel-guided embedding, an efficiency predictor and bootstrap optimisation.

Importing is cheap: what is named here is imported when it is first asked for. `search.run` is a whole search from Python.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemnet.core.extras import need

if TYPE_CHECKING:
    from search.api import SearchResult, run
    from search.core.parts import COSTS, DATA_SETS, ENCODERS, EVALUATORS, PREDICTORS, SPACES
    from search.core.types import Encoder, Evaluator, Predictor, Space, StopSearch

need("search")  # whoever imports the search without its extra is told so here, in one line

_HOMES = {
    "run": "api",
    "SearchResult": "api",
    **dict.fromkeys(("SPACES", "ENCODERS", "PREDICTORS", "DATA_SETS", "EVALUATORS", "COSTS"), "core.parts"),
    **dict.fromkeys(("Space", "Encoder", "Predictor", "Evaluator", "StopSearch"), "core.types"),
}
__all__ = [
    "COSTS", "DATA_SETS", "ENCODERS", "EVALUATORS", "PREDICTORS", "SPACES", "Encoder", "Evaluator", "Predictor", "SearchResult",
    "Space", "StopSearch", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"search.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
