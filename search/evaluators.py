"""Evaluators by name: what a config's `proxy.type` says how a candidate's accuracy is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.base import Evaluator, SearchError, Space
from search.benchmarks import TabularEvaluator, TabularSpace
from search.data import build_data
from search.named import build_named
from search.proxy import build_evaluator
from search.settings import is_positive


def evaluator_of(settings: Mapping[str, Any], space: Space) -> Evaluator:
    """The evaluator of a search's settings.

    "training", the default: train on `settings["data"]`. "table": look up in the table of `space`; there is no data then.
    Raises SearchError for an unknown name or setting, and for parts that do not fit together.
    """

    def training(**proxy: Any) -> Evaluator:
        if isinstance(space, TabularSpace):
            raise SearchError(f"proxy: cells of {space.table.name} are not trained here; expected proxy.type='table'")
        _check_model(settings["model"])
        return build_evaluator(build_data(**settings["data"]), settings["model"], **proxy)

    def table(**proxy: Any) -> Evaluator:
        if not isinstance(space, TabularSpace):
            raise SearchError("proxy: 'table' is for the space of a benchmark (space.type='nasbench101' or 'nasbench201')")
        if settings["data"]:
            raise SearchError(f"data: expected dict() with proxy.type='table', which reads no images; found {settings['data']}")
        return TabularEvaluator(space, **proxy)

    proxy = dict(settings["proxy"])
    return build_named("proxy", {"training": training, "table": table}, proxy.pop("type", "training"), **proxy)


def _check_model(model: Mapping[str, Any]) -> None:
    """Raises SearchError unless these are a budget as models by name take it: cells are fitted to it much later."""
    unknown = sorted(model.keys() - {"target_macs", "target_params", "residual"})
    if unknown:
        raise SearchError(f"model: unknown setting {unknown[0]!r}; expected target_macs, target_params, residual")
    if "target_macs" not in model:
        raise SearchError("model: target_macs is missing, the MACs of the models to come, as 463e6")
    for name in ("target_macs", "target_params"):
        value = model.get(name)
        if value is None and name == "target_params":
            continue
        if not is_positive(value):
            raise SearchError(f"model: {name}: expected a positive number, found {value!r}")
    if not isinstance(model.get("residual", False), bool):
        raise SearchError(f"model: residual: expected True or False, found {model['residual']!r}")
