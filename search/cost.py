"""What a candidate costs: the second term of the efficiency score (Eq. 5), counted or measured before it is trained."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from gemnet.architecture import Architecture
from gemnet.benchmark import Timing, measure_together
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.errors import UserError
from gemnet.library import create_library_model
from gemnet.network import GEMNet
from gemnet.operators import Cost as Counts
from search.base import SearchError
from search.named import build_named
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


class Latency:
    """The time of the model that the cell is searched for, in that of a well-known model, on the CPU or GPU at hand.

    The network that `gemnet.fit` makes of the cell for the search's `model` runs by turns with `reference` (`timm/NAME` or
    `torchvision/NAME`), both channels last in evaluation mode, on the same batch of random images, while nothing else of the
    search runs. What disturbs the machine meanwhile can only slow one down: the fastest of `repeats` passes of each counts.
    A network that in its first pass takes HOPELESS times the time that it may is not timed again.
    """

    HOPELESS = 1.5

    def __init__(
        self,
        model: Mapping[str, Any],
        max: float | None = None,
        reference: str = "torchvision/mnasnet1_3",
        batch: int = 4,
        resolution: int = 224,
        repeats: int = 4,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        for name, value in (("batch", batch), ("resolution", resolution), ("repeats", repeats), ("threads", threads)):
            if type(value) is not int or value < 1:
                raise SearchError(f"cost: {name}: expected a whole number from 1, found {value!r}")
        if not _is_there(device):
            raise SearchError(f"cost: device {device!r} is not there; expected 'cpu' or a CUDA device of this machine")
        if not isinstance(reference, str):
            raise SearchError(f"cost: reference: expected timm/NAME or torchvision/NAME, found {reference!r}")
        self.name, self.max = f"time, {reference} = 1", max
        self.model, self.repeats, self.device = dict(model), repeats, device
        self.threads = threads
        with torch.random.fork_rng():
            try:
                self._reference = self._placed(create_library_model(reference))
            except UserError as error:
                raise SearchError(f"cost: reference: {error}") from None
            self._images = torch.randn(batch, 3, resolution, resolution).to(device, memory_format=torch.channels_last)

    def __call__(self, cell: Cell) -> float:
        return self.of(fit(cell, **self.model).architecture)

    def of(self, architecture: Architecture) -> float:
        """The time of this network."""
        with torch.random.fork_rng():
            network = self._placed(GEMNet(architecture))
        calls = {"": lambda: network(self._images), "reference": lambda: self._reference(self._images)}
        wait = partial(torch.cuda.synchronize, self.device) if self.device != "cpu" else None
        with torch_threads(self.threads), torch.inference_mode():
            times = [measure_together(calls, 1, 1, wait)]
            if self.repeats > 1 and (self.max is None or _ratio(times) <= self.HOPELESS * self.max):
                times.append(measure_together(calls, self.repeats - 1, 0, wait))
        return _ratio(times)

    def _placed(self, network: nn.Module) -> nn.Module:
        return network.eval().to(self.device, memory_format=torch.channels_last)


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

    def __init__(self, function: str, max: float | None = None, name: str | None = None) -> None:
        module, _, attribute = str(function).partition(":")
        try:
            self._function = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a module is a program: whatever it raises is the user's to mend
            raise SearchError(
                f"cost: function {function!r} cannot be had ({type(error).__name__}: {error}); expected package.module:function"
            ) from error
        self.source, self.name, self.max = function, name or attribute, max

    def __call__(self, cell: Cell) -> float:
        try:
            value = float(self._function(cell))
        except Exception as error:
            raise SearchError(
                f"cost: {self.source} raised {type(error).__name__}: {error} for the cell {cell.digest()[:8]}"
            ) from error
        if not (math.isfinite(value) and value > 0):
            raise SearchError(f"cost: {self.source} gave {value} for the cell {cell.digest()[:8]}; expected a positive number")
        return value


COUNTED = ("macs", "params", "activations")


def build_cost(
    count: Callable[[Cell], Counts], model: Mapping[str, Any], type: str = "macs", max: float | None = None, **settings: Any
) -> CellCost:
    """The cost `type`: macs, params or activations (`count` counts those of a proxy network), latency (of `model`), function.

    Raises SearchError for unknown names and values out of range.
    """
    if max is not None and not (isinstance(max, (int, float)) and 0 < max < math.inf):
        raise SearchError(f"cost: max: expected a positive number or None, found {max!r}")
    known: dict[str, Callable[..., CellCost]] = {
        **{field: lambda field=field: Counted(field, count, max) for field in COUNTED},
        "latency": lambda **more: Latency(model, max, **more),
        "function": lambda **more: Given(max=max, **more),
    }
    return build_named("cost", known, type, **settings)
