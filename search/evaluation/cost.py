"""What a candidate costs: the second term of the efficiency score (Eq. 5), counted or measured before it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, Protocol

import torch
from torch import nn

from gemnet.architecture import Architecture
from gemnet.bench.benchmark import Timing, folded, measure, measure_together
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.core.errors import UserError
from gemnet.core.settings import Setting, settings_of, shown
from gemnet.cost import Cost as Counts
from gemnet.library import create_library_model
from gemnet.network import GEMNet
from search.core.checks import as_search_errors, check, takes_settings
from search.core.own_modules import imported
from search.core.parts import COSTS
from search.core.threads import torch_threads
from search.core.types import SearchError, Space
from search.evaluation.table_cost import TableCost

POSITIVE = Setting("what a cell costs", float, above=0)
Max = Annotated[float | None, Setting("cells that cost more are not evaluated; None for no bound", above=0)]
Batch = Annotated[int, Setting("of a pass", at_least=1, unit="images")]
Repeats = Annotated[int, Setting("timed passes of a model", at_least=1)]
Fused = Annotated[bool, Setting("whether normalisation is folded into the convolutions, by TorchScript's freezing")]


class CellCost(Protocol):
    """name: what is counted, with its unit. max: cells that cost more are not evaluated; None for no bound."""

    name: str

    @property
    def max(self) -> float | None: ...

    def __call__(self, cell: Cell) -> float:
        """A positive number. Raises BudgetError for a cell of which no model can be built."""


class AnalyticCost:
    """Millions of what is counted of the network that is evaluated."""

    field: str
    """Of `gemnet.operators.Cost`."""
    word: str

    @takes_settings("cost")
    def __init__(self, count: Callable[[Cell], Counts], max: Max = None) -> None:
        """count: of the network that is evaluated for a cell."""
        self.name, self.max, self._count = f"{self.word} of the proxy network, millions", max, count

    def __call__(self, cell: Cell) -> float:
        """Raises SearchError for counts that are no numbers above 0."""
        count = getattr(self._count(cell), self.field)
        with as_search_errors():
            return float(POSITIVE.check(f"cost: {self.field} of the cell {cell.digest()[:8]}", count)) / 1e6


class Macs(AnalyticCost):
    """Multiply-accumulates: the paper's Eq. 5."""

    field, word = "macs", "MACs"


class Params(AnalyticCost):
    """Weights."""

    field, word = "params", "params"


class Activations(AnalyticCost):
    """Output elements of convolutions and linear layers."""

    field, word = "activations", "activations"


class LatencyTimer:
    """Models that are timed on the CPU or GPU at hand: of each cell the one that `gemnet.fit` makes of it for `model`.

    A pass is one of random images, channels last, in evaluation mode, while nothing else of the search runs.
    """

    def __init__(
        self,
        section: str,
        model: Mapping[str, Any],
        batch: Batch,
        repeats: Repeats,
        fused: Fused,
        resolution: Annotated[int, Setting("height and width of images", at_least=1, unit="pixels")] = 224,
        threads: Annotated[int, Setting("CPU threads", at_least=1)] = 1,
        device: Annotated[str, Setting("'cpu', or a CUDA device of this machine such as 'cuda:0'")] = "cpu",
    ) -> None:
        """section: of the settings, for messages."""
        given = {"batch": batch, "repeats": repeats, "fused": fused}
        check(settings_of(LatencyTimer), {**given, "resolution": resolution, "threads": threads, "device": device}, section)
        if not _is_there(device):
            raise SearchError(f"{section}: device {device!r} is not there; expected 'cpu' or a CUDA device of this machine")
        self.model, self.repeats, self.threads, self.device, self.fused = dict(model), repeats, threads, device, fused
        with torch.random.fork_rng():
            self.images = torch.randn(batch, 3, resolution, resolution).to(device, memory_format=torch.channels_last)
        self.wait = partial(torch.cuda.synchronize, device) if device != "cpu" else None

    def call(self, network: nn.Module) -> Callable[[], object]:
        """One pass of `network`, to be called with as many threads as `timing` sets."""
        network = network.eval().to(self.device).to(memory_format=torch.channels_last)
        return folded(network, self.images) if self.fused else lambda: network(self.images)

    def call_of(self, architecture: Architecture) -> Callable[[], object]:
        """One pass of the network of `architecture`, which leaves torch's random state alone."""
        with torch.random.fork_rng():
            return self.call(GEMNet(architecture))

    def timing(self) -> ExitStack:
        """The context in which passes are timed."""
        contexts = ExitStack()
        contexts.enter_context(torch_threads(self.threads))
        contexts.enter_context(torch.inference_mode())
        return contexts


class Latency(LatencyTimer):
    """The time of the model that the cell is searched for, in that of a well-known model, on the CPU or GPU at hand.

    The model runs by turns with the reference as LatencyTimer tells. What disturbs the machine meanwhile can only slow one
    down: the fastest of `repeats` passes of each counts. A network that in its first pass takes HOPELESS times the time that
    it may is not timed again.
    """

    HOPELESS = 1.5

    @takes_settings("cost")
    def __init__(
        self,
        model: Mapping[str, Any],
        max: Max = None,
        reference: Annotated[str, Setting("the well-known model, timm/NAME or torchvision/NAME")] = "torchvision/mnasnet1_3",
        batch: Batch = 4,
        repeats: Repeats = 4,
        fused: Fused = False,
        **timed: Annotated[Any, LatencyTimer],
    ) -> None:
        """Raises SearchError for values out of range and an unknown reference."""
        super().__init__("cost", model, batch, repeats, fused, **timed)
        self.name, self.max = f"time, {reference} = 1", max
        with torch.random.fork_rng():
            try:
                self._reference = self.call(create_library_model(reference))
            except UserError as error:
                raise SearchError(f"cost: reference: {error}") from None

    def __call__(self, cell: Cell) -> float:
        return self.of(fit(cell, **self.model).architecture)

    def of(self, architecture: Architecture) -> float:
        """The time of this network."""
        calls = {"": self.call_of(architecture), "reference": self._reference}
        with self.timing():
            times = [measure_together(calls, 1, 2 if self.fused else 1, self.wait)]  # TorchScript compiles in its second pass
            if self.repeats > 1 and (self.max is None or _ratio(times) <= self.HOPELESS * self.max):
                times.append(measure_together(calls, self.repeats - 1, 0, self.wait))
        return _ratio(times)


class Milliseconds(LatencyTimer):
    """The time of the model that the cell is searched for, in milliseconds.

    The median of the passes as LatencyTimer tells, after two to warm up; with the defaults, of one image, fused, on one core.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        max: float,
        batch: Batch = 1,
        repeats: Repeats = 10,
        fused: Fused = True,
        **timed: Annotated[Any, LatencyTimer],
    ) -> None:
        """Raises SearchError for values out of range."""
        super().__init__(LATENCY, model, batch, repeats, fused, **timed)
        self.name, self.max = "milliseconds" + (f" for {batch} images" if batch != 1 else ""), max

    def __call__(self, cell: Cell) -> float:
        call = self.call_of(fit(cell, **self.model).architecture)
        with self.timing():
            return 1000 * measure(call, self.repeats, 2, self.wait).median


def _is_there(device: object) -> bool:
    """Whether this machine has the device, "cpu" or one of CUDA."""
    try:
        place = torch.device(device) if isinstance(device, str) else None
    except RuntimeError:
        return False
    if place is None or place.type != "cuda":
        return device == "cpu"
    return torch.cuda.is_available() and (place.index or 0) < torch.cuda.device_count()


def _ratio(times: Sequence[Mapping[str, Timing]]) -> float:
    """The fastest pass of the network in the fastest of the reference."""
    network, reference = (min(found[name].fastest for found in times) for name in ("", "reference"))
    return network / reference


class CustomCost:
    """A function of the user's own, called with a Cell; returns a positive number."""

    @takes_settings("cost")
    def __init__(
        self,
        function: Annotated[str, Setting("the function, package.module:function, of a Cell")],
        max: Max = None,
        name: Annotated[str | None, Setting("what it tells, with its unit; None for the function's own name")] = None,
        section: str = "cost",
    ) -> None:
        """section: of the settings, for messages. Raises SearchError for a function that cannot be had."""
        self._function = imported(function, f"{section}: function")
        attribute = function.rpartition(":")[2]
        self.source, self.name, self.max = f"{section}: {function}", name or attribute, max

    def __call__(self, cell: Cell) -> float:
        of = f"for the cell {cell.digest()[:8]}"
        try:
            value = self._function(cell)
        except Exception as error:
            raise SearchError(f"{self.source} raised {type(error).__name__}: {error} {of}") from error
        try:
            return float(POSITIVE.check("", value))
        except UserError:
            raise SearchError(f"{self.source} gave {shown(value)} {of}; expected a positive number") from None


LATENCY = "search: latency"


def build_cost(
    count: Callable[[Cell], Counts],
    model: Mapping[str, Any],
    type: str = "macs",
    *,
    space: Space | None = None,
    **settings: Any,
) -> CellCost:
    """The cost `type`, of search.core.parts.COSTS.

    Args:
        count: counts a proxy network, for macs, params and activations.
        model: the budget of the models to come, for latency and table.
        type: of the cost.
        space: of the cells, for table and for costs of a user's own that take it.
        settings: of the cost.

    Raises:
        SearchError: for unknown names and values out of range.
    """
    return COSTS.build(type, {"count": lambda: count, "model": lambda: model, "space": lambda: space}, settings)


def build_latency(space: Space, model: Mapping[str, Any], max: float, /, **settings: Any) -> CellCost:
    """What `max`, in milliseconds, bounds: the time of `model`, measured here (settings: see Milliseconds); what a device
    measured, in `file` (see `search.evaluation.table_cost`); or what `function` gives for a cell, `package.module:function`.

    Raises SearchError for values out of range, and for a space whose cells make no model unless a function or a file is given.
    """
    settings = check_latency(settings)
    with as_search_errors():
        POSITIVE.check("search: max_latency_ms", max)
    if "function" in settings:
        return CustomCost(settings["function"], max, "milliseconds", LATENCY)
    if "file" in settings:
        return TableCost(model, space, max=max, section=LATENCY, **settings)
    if space.table is not None:
        raise SearchError(
            f"search: max_latency_ms: no model is built of cells of {space.table.name}; give a function that knows their times:"
            " search.latency=dict(function='package.module:function')"
        )
    return Milliseconds(model, max, **settings)


def latency_settings(way: str = "") -> dict[str, Setting]:
    """Those of `search.latency`: of what is measured here, or, with the way "function" or "file", of that."""
    if way == "function":
        return {"function": settings_of(CustomCost)["function"]}
    if way == "file":
        return {name: setting for name, setting in settings_of(TableCost).items() if name != "max"}
    return settings_of(Milliseconds)


def check_latency(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`search.latency`, checked. Raises SearchError."""
    if "function" in settings and len(settings) > 1:
        others = ", ".join(sorted(settings.keys() - {"function"}))
        raise SearchError(f"{LATENCY}: a function takes no settings; found {others}")
    way = next((way for way in ("function", "file") if way in settings), "")
    return check(latency_settings(way), settings, LATENCY)
