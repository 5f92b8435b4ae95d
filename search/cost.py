"""What a candidate costs: the second term of the efficiency score (Eq. 5), counted or measured before it is trained."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from gemnet.architecture import Architecture
from gemnet.benchmark import Timing, folded, measure, measure_together
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.errors import UserError
from gemnet.library import create_library_model
from gemnet.network import GEMNet
from gemnet.operators import Cost as Counts
from search.base import SearchError, Space
from search.benchmarks import TabularSpace
from search.checks import check_whole
from search.named import build_named
from search.settings import is_positive
from search.threads import torch_threads


class CellCost(Protocol):
    """name: what is counted, with its unit. max: cells that cost more are not evaluated; None for no bound."""

    name: str
    max: float | None

    def __call__(self, cell: Cell) -> float:
        """A positive number. Raises BudgetError for a cell of which no model can be built."""


class Counted:
    """Millions of MACs, params or activations of the proxy network: with MACs, the paper's Eq. 5."""

    def __init__(self, field: str, count: Callable[[Cell], Counts], max: float | None) -> None:
        words = {"macs": "MACs", "params": "params", "activations": "activations"}[field]
        self.name, self.max, self._field, self._count = f"{words} of the proxy network, millions", max, field, count

    def __call__(self, cell: Cell) -> float:
        return float(getattr(self._count(cell), self._field)) / 1e6


class Timed:
    """Models that are timed on the CPU or GPU at hand: of each cell the one that `gemnet.fit` makes of it for `model`.

    A pass is one of `batch` random images, channels last, in evaluation mode, while nothing else of the search runs. fused:
    normalisation is folded into the convolutions, by TorchScript's freezing.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        batch: int,
        resolution: int = 224,
        repeats: int = 4,
        threads: int = 1,
        device: str = "cpu",
        fused: bool = False,
    ) -> None:
        check_whole("", 1, batch=batch, resolution=resolution, repeats=repeats, threads=threads)
        if not _is_there(device):
            raise SearchError(f"device {device!r} is not there; expected 'cpu' or a CUDA device of this machine")
        if not isinstance(fused, bool):
            raise SearchError(f"fused: expected True or False, found {fused!r}")
        self.model, self.repeats, self.threads, self.device, self.fused = dict(model), repeats, threads, device, fused
        with torch.random.fork_rng():
            self.images = torch.randn(batch, 3, resolution, resolution).to(device, memory_format=torch.channels_last)
        self.wait = partial(torch.cuda.synchronize, device) if device != "cpu" else None

    def call(self, network: nn.Module) -> Callable[[], object]:
        """One pass of `network`, to be called with as many threads as `timing` sets."""
        network = network.eval().to(self.device, memory_format=torch.channels_last)
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


class Latency:
    """The time of the model that the cell is searched for, in that of a well-known model, on the CPU or GPU at hand.

    The model runs by turns with `reference` (`timm/NAME` or `torchvision/NAME`) as Timed tells. What disturbs the machine
    meanwhile can only slow one down: the fastest of `repeats` passes of each counts. A network that in its first pass takes
    HOPELESS times the time that it may is not timed again.
    """

    HOPELESS = 1.5

    def __init__(
        self,
        model: Mapping[str, Any],
        max: float | None = None,
        reference: str = "torchvision/mnasnet1_3",
        **timed: Any,
    ) -> None:
        """timed: settings of Timed, of 4 images. Raises SearchError for values out of range and an unknown reference."""
        if not isinstance(reference, str):
            raise SearchError(f"cost: reference: expected timm/NAME or torchvision/NAME, found {reference!r}")
        self.name, self.max = f"time, {reference} = 1", max
        self._timed = _timed("cost", model, {"batch": 4, **timed})
        with torch.random.fork_rng():
            try:
                self._reference = self._timed.call(create_library_model(reference))
            except UserError as error:
                raise SearchError(f"cost: reference: {error}") from None

    def __call__(self, cell: Cell) -> float:
        return self.of(fit(cell, **self._timed.model).architecture)

    def of(self, architecture: Architecture) -> float:
        """The time of this network."""
        t = self._timed
        calls = {"": t.call_of(architecture), "reference": self._reference}
        with t.timing():
            times = [measure_together(calls, 1, 2 if t.fused else 1, t.wait)]  # TorchScript compiles in its second pass
            if t.repeats > 1 and (self.max is None or _ratio(times) <= self.HOPELESS * self.max):
                times.append(measure_together(calls, t.repeats - 1, 0, t.wait))
        return _ratio(times)


class Milliseconds:
    """The time of the model that the cell is searched for, in milliseconds: the median of `repeats` passes as Timed tells,
    after two to warm up; with the defaults, of one image, fused, on one core."""

    def __init__(self, model: Mapping[str, Any], max: float, **timed: Any) -> None:
        """timed: settings of Timed. Raises SearchError for values out of range."""
        self._timed = _timed("search: latency", model, {"batch": 1, "repeats": 10, "fused": True, **timed})
        images = len(self._timed.images)
        self.name, self.max = "milliseconds" + (f" for {images} images" if images != 1 else ""), max

    def __call__(self, cell: Cell) -> float:
        t = self._timed
        call = t.call_of(fit(cell, **t.model).architecture)
        with t.timing():
            return 1000 * measure(call, t.repeats, 2, t.wait).median


def _timed(section: str, model: Mapping[str, Any], settings: Mapping[str, Any]) -> Timed:
    """section: of the settings, for messages."""
    unknown = sorted(settings.keys() - inspect.signature(Timed).parameters)
    if unknown:
        raise SearchError(f"{section}: unknown setting {unknown[0]!r}")
    try:
        return Timed(model, **settings)
    except SearchError as error:
        raise SearchError(f"{section}: {error}") from None


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


class Given:
    """A function of the user's own, `package.module:function`, called with a Cell; returns a positive number."""

    def __init__(self, function: str, max: float | None = None, name: str | None = None, section: str = "cost") -> None:
        """section: of the settings, for messages. Raises SearchError for a function that cannot be had."""
        module, _, attribute = str(function).partition(":")
        try:
            self._function = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a module is a program: whatever it raises is the user's to mend
            raise SearchError(
                f"{section}: function {function!r} cannot be had ({type(error).__name__}: {error});"
                " expected package.module:function"
            ) from error
        self.source, self.name, self.max = f"{section}: {function}", name or attribute, max

    def __call__(self, cell: Cell) -> float:
        try:
            value = float(self._function(cell))
        except Exception as error:
            raise SearchError(
                f"{self.source} raised {type(error).__name__}: {error} for the cell {cell.digest()[:8]}"
            ) from error
        if not (math.isfinite(value) and value > 0):
            raise SearchError(f"{self.source} gave {value} for the cell {cell.digest()[:8]}; expected a positive number")
        return value


COUNTED = ("macs", "params", "activations")


def build_cost(
    count: Callable[[Cell], Counts], model: Mapping[str, Any], type: str = "macs", max: float | None = None, **settings: Any
) -> CellCost:
    """The cost `type`: macs, params or activations (`count` counts those of a proxy network), latency (of `model`), function.

    Raises SearchError for unknown names and values out of range.
    """
    if max is not None and not is_positive(max):
        raise SearchError(f"cost: max: expected a positive number or None, found {max!r}")
    known: dict[str, Callable[..., CellCost]] = {
        **{field: lambda field=field: Counted(field, count, max) for field in COUNTED},
        "latency": lambda **more: Latency(model, max, **more),
        "function": lambda **more: Given(max=max, **more),
    }
    return build_named("cost", known, type, **settings)


def build_latency(
    space: Space, model: Mapping[str, Any], max: float, /, function: str | None = None, **settings: Any
) -> CellCost:
    """What `max`, in milliseconds, bounds: the time of `model`, measured here (settings: see Milliseconds); or what `function`
    gives for a cell, `package.module:function`, of a phone for example.

    Raises SearchError for values out of range, and for a space whose cells make no model unless a function is given.
    """
    if not is_positive(max):
        raise SearchError(f"search: max_latency_ms: expected a positive number or None, found {max!r}")
    for name in ("model", "max"):
        if name in settings:
            raise SearchError(f"search: latency: unknown setting {name!r}; the bound is search.max_latency_ms")
    if function is not None:
        if settings:
            raise SearchError(f"search: latency: a function takes no settings; found {', '.join(sorted(settings))}")
        return Given(function, max, "milliseconds", "search: latency")
    if isinstance(space, TabularSpace):
        raise SearchError(
            f"search: max_latency_ms: no model is built of cells of {space.table.name}; give a function that knows their times:"
            " search.latency=dict(function='package.module:function')"
        )
    return Milliseconds(model, max, **settings)
