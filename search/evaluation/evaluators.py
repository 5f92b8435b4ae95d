"""How a candidate's accuracy is found, by what a config's `proxy.type` says: trained, looked up, or asked of a function."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import CellStatistics, network_cost
from gemnet.core.settings import Setting, settings_of, shown
from gemnet.cost import Cost
from search.configuration.model import Model
from search.core.checks import check, takes_settings
from search.core.own_modules import imported
from search.core.parts import EVALUATORS
from search.core.types import Evaluation, EvaluationError, Evaluator, Job, SearchError, Space
from search.evaluation.data import ProxyData, build_data
from search.evaluation.proxy import ProxyEvaluator, ProxySettings


def training(
    space: Space, data: Callable[[], ProxyData], model: Mapping[str, Any], **settings: Annotated[Any, ProxySettings]
) -> ProxyEvaluator:
    """Train each candidate on proxy images. Raises SearchError for a space of a table, and for parts that do not fit."""
    if space.table is not None:
        raise SearchError(f"proxy: cells of {space.table.name} are not trained here; expected proxy.type='table'")
    proxy = ProxySettings(**settings)  # a mistake is told before images are read
    return ProxyEvaluator(data(), proxy, model)


class FunctionEvaluator(Evaluator):
    """Asks a Python function for the accuracy of a cell, and counts the MACs of the proxy network that the cell would have.

    The proxy network is that of "training" with `width` and `stem_width`. It is built nowhere, so that any cell does whose
    operators have a cost; where one has none, let `cost.type=function` tell what cells cost.
    """

    epochs = 1
    num_classes: int

    @takes_settings("proxy")
    def __init__(
        self,
        function: Callable[[Cell], float],
        width: Annotated[int, Setting("of each node in the first stage, for the cost", at_least=1, unit="channels")] = 8,
        stem_width: Annotated[int, Setting("of the stem, for the cost", at_least=1, unit="channels")] = 16,
        resolution: Annotated[int, Setting("height and width of images, for the cost", at_least=1, unit="pixels")] = 32,
        num_classes: Annotated[int, Setting("for the cost", at_least=2)] = 10,
    ) -> None:
        """function: of a Cell; gives its accuracy, a share from 0 to 1."""
        self.function = function
        self.width, self.stem_width, self.resolution, self.num_classes = width, stem_width, resolution, num_classes

    def cost(self, cell: Cell, statistics: CellStatistics | None = None) -> Cost:
        """Params, MACs and activations of the proxy network of `cell`; of B cells at once if given their statistics."""
        widths = (self.width, 2 * self.width, 4 * self.width)
        architecture = Architecture(cell, widths, (1, 1, 1), self.stem_width, head_width=0, stem_stride=1)
        size = (self.resolution, self.resolution)
        return network_cost(architecture, size, self.num_classes, statistics=statistics)

    def evaluate(self, job: Job, device: str = "cpu") -> Evaluation:
        """What the function gives for the cell. Raises EvaluationError for what is no share from 0 to 1."""
        started = time.perf_counter()
        given = self.function(job.cell)
        try:
            accuracy = float(given)
        except (TypeError, ValueError):
            raise EvaluationError(f"the evaluator's function gave {shown(given)}; expected a share from 0 to 1") from None
        return Evaluation(accuracy, (accuracy,), False, time.perf_counter() - started)


def asking(
    function: Annotated[str, Setting("of a Cell, package.module:function; gives its accuracy, a share from 0 to 1")],
    **settings: Annotated[Any, FunctionEvaluator],
) -> FunctionEvaluator:
    """The evaluator of a function by its import path. Raises SearchError for one that cannot be had."""
    return FunctionEvaluator(imported(function, "proxy: function"), **settings)


def evaluator_of(settings: Mapping[str, Any], space: Space) -> Evaluator:
    """The evaluator of a search's settings: the part of EVALUATORS that `proxy.type` names, "training" where it names none.

    A part that takes `data` gets a function that reads the images, and one that takes none needs no section data. Raises
    SearchError for an unknown name or setting, and for parts that do not fit together.
    """
    proxy = dict(settings["proxy"])
    kind = proxy.pop("type", EVALUATORS.default)
    takes = EVALUATORS.takes(kind)
    if settings["data"] and "data" not in takes:
        raise SearchError(f"data: expected dict() with proxy.type={kind!r}, which reads no images; found {settings['data']}")
    offers = {
        "space": lambda: space,
        "data": lambda: partial(build_data, **settings["data"]),
        "model": lambda: check(settings_of(Model), settings["model"], "model"),
    }
    return EVALUATORS.build(kind, offers, proxy)
