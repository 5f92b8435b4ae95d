"""Evaluators by name: what a config's `proxy.type` says how a candidate's accuracy is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gemnet.complexity import Residual, TargetMacs, TargetParams
from gemnet.core.settings import settings_of
from search.core.checks import check
from search.core.registry import named_part
from search.core.types import Evaluator, SearchError, Space
from search.evaluation.data import build_data
from search.evaluation.proxy import ProxyEvaluator, ProxySettings
from search.spaces.benchmarks import TabularEvaluator, TabularSpace

PROXIES: dict[str, Callable[..., Any]] = {"training": ProxySettings, "table": TabularEvaluator}


@dataclass(frozen=True)
class Model:
    """The budget of the models to come, at 224x224 with 1,000 classes, as `gemnet.fit` takes it: cells are fitted to it."""

    target_macs: TargetMacs
    target_params: TargetParams = None
    residual: Residual = False


def evaluator_of(settings: Mapping[str, Any], space: Space) -> Evaluator:
    """The evaluator of a search's settings.

    "training", the default: train on `settings["data"]`. "table": look up in the table of `space`; there is no data then.
    Raises SearchError for an unknown name or setting, and for parts that do not fit together.
    """
    proxy = dict(settings["proxy"])
    kind = proxy.pop("type", "training")
    found = check(settings_of(named_part("proxy", PROXIES, kind)), proxy, "proxy")
    if kind == "table":
        if not isinstance(space, TabularSpace):
            raise SearchError("proxy: 'table' is for the space of a benchmark (space.type='nasbench101' or 'nasbench201')")
        if settings["data"]:
            raise SearchError(f"data: expected dict() with proxy.type='table', which reads no images; found {settings['data']}")
        return TabularEvaluator(space)
    if isinstance(space, TabularSpace):
        raise SearchError(f"proxy: cells of {space.table.name} are not trained here; expected proxy.type='table'")
    model = check(settings_of(Model), settings["model"], "model")
    proxy = ProxySettings(**found)  # a mistake is told before images are read
    return ProxyEvaluator(build_data(**settings["data"]), proxy, model)
