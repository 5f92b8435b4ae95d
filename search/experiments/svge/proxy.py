"""Cells of the benchmarks' spaces, also larger ones than are tabulated, trained on proxy images at equal cost."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gemnet.cell import Cell
from gemnet.complexity import CellStatistics
from gemnet.cost import Cost
from gemnet.counting import counted
from search.core.types import Job, SearchError
from search.evaluation.data import ProxyData
from search.evaluation.proxy import ProxyEvaluator, ProxySettings
from search.experiments.svge.enas_network import EnasNetwork
from search.spaces.nasbench101_network import NasBench101Network

NARROWEST, WIDEST = 8, 512
"""Channels that a network may have."""


def _nasbench101(cell: Cell, classes: int, channels: int, width: int, **layers: Any) -> nn.Module:
    return NasBench101Network(cell, classes, channels, stem_channels=width, cells_in_stack=1, **layers)


def _enas(cell: Cell, classes: int, channels: int, width: int, **layers: Any) -> nn.Module:
    return EnasNetwork(cell, classes, channels, width, **layers)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"nasbench101": _nasbench101, "enas": _enas}


class BenchmarkProxyEvaluator(ProxyEvaluator):
    """Trains cells of "nasbench101" (three stacks of one cell) or "enas" as `ProxyEvaluator` trains NASGEM's.

    Of the network's settings `macs` alone counts, and must be given: a cell's network is as wide as it may be with so many MACs
    on one image, so that cells of any size cost about the same. Raises SearchError for another benchmark, or without `macs`.
    """

    def __init__(self, data: ProxyData, settings: ProxySettings | None = None, model: Mapping[str, Any] | None = None) -> None:
        """model: {"benchmark": its name}."""
        super().__init__(data, settings, model)
        name = self.model.get("benchmark")
        if name not in NETWORKS:
            raise SearchError(f"proxy: no networks of the space {name!r} are built; expected one of {', '.join(NETWORKS)}")
        if self.settings.macs is None:
            raise SearchError(
                "proxy: macs: expected the MACs of each network, for cells are compared at equal cost; found None"
            )
        self._widths: dict[Cell, int] = {}  # found by counting networks, a second or more each

    def build(self, job: Job) -> nn.Module:
        return self._built(job.cell, self.width(job.cell))

    def width(self, cell: Cell) -> int:
        """Channels of the widest network of `cell` within the MACs. Raises SearchError where the narrowest has more."""
        if cell not in self._widths:
            widths = range(NARROWEST, WIDEST + 1)
            within = bisect.bisect_right(widths, self.settings.macs, key=lambda width: self._cost(cell, width).macs)
            if not within:
                least = self._cost(cell, NARROWEST).macs
                raise SearchError(
                    f"proxy: macs={self.settings.macs:g} is too little: the narrowest network of a cell has {least}"
                )
            self._widths[cell] = widths[within - 1]
        return self._widths[cell]

    def cost(self, cell: Cell, statistics: CellStatistics | None = None) -> Cost:
        """Params and MACs of the network of one cell, counted; no activations."""
        return self._cost(cell, self.width(cell))

    def _built(self, cell: Cell, width: int, **layers: Any) -> nn.Module:
        return NETWORKS[self.model["benchmark"]](cell, self.num_classes, self.data.train_images.shape[1], width, **layers)

    def _cost(self, cell: Cell, width: int) -> Cost:
        image = torch.empty(1, *self.data.train_images.shape[1:], device="meta")
        return counted(self._built(cell, width, device="meta").eval(), image)[1]
