"""Networks of equal MACs for a trial: of cells, of random graphs, published and well-known ones.

All are ImageNet networks made narrower, whose first convolution has stride 1.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import networkx
import torch
from torch import nn

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import BudgetError, network_cost
from gemnet.cost import Cost
from gemnet.counting import counted
from gemnet.library import create_scaled_model, set_bn_momentum
from gemnet.network import GEMNet
from search.evaluation.proxy import fitted_model
from search.experiments.published.catalogue import NETWORKS, published

TOLERANCE = 0.05
"""By which share the MACs of a network may fall short of the budget."""
STEP, STEPS = 1 / 256, 1024
"""Widths are tried in these steps of a model's own, up to four times as wide."""
BN_MOMENTUM = 0.1
"""Of all networks' normalisation, GEMNet's own being torch's default; see `set_bn_momentum`."""
DIVISORS = (4, 2, 1)  # of node widths; odd numbers of channels are slow
LAYERS = (14, 13, 15, 12, 16)
"""Cells of a genotype's network, the authors' number first."""
FEWEST, MOST = 2, 256
"""Channels of a published network."""
CELLS = "cells"
"""The family of the networks of cells."""


@dataclass(frozen=True)
class Contestant:
    """A network of the trial.

    It is that of a cell's `architecture`, the model `library` (of `gemnet.library.SCALABLE`) times `width`, or what a paper
    published (`search.experiments.published`) with `channels` and, of a genotype, `layers` cells.

    kind: what it is there for. shape: channels, height and width of the images. classes: how many there are.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    classes: int
    architecture: Architecture | None = None
    library: str = ""
    width: float = 1.0
    published: str = ""
    channels: int = 0
    layers: int = 0

    def build(self) -> nn.Module:
        """The network, its weights drawn from torch's random state."""
        if self.architecture is not None:
            return GEMNet(self.architecture, self.classes, self.shape[0])
        if self.published:
            layers = {"layers": self.layers} if self.layers else {}
            sizes = {"channels": self.channels, **layers, "num_classes": self.classes, "in_chans": self.shape[0]}
            return published(self.published, stem_stride=1, **sizes)
        network = create_scaled_model(self.library, self.width, self.classes, self.shape[0])
        return set_bn_momentum(network, BN_MOMENTUM)

    def cost(self) -> Cost:
        """Params, and MACs on one image; of a library's model counted on shapes."""
        if self.architecture is not None:
            return network_cost(self.architecture, self.shape[1:], self.classes, self.shape[0])
        with torch.device("meta"):
            return counted(self.build().eval(), torch.empty(1, *self.shape))[1]

    @property
    def family(self) -> str:
        """What is trained with one recipe: CELLS, a library's model, or a published network."""
        return self.library or self.published or CELLS

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values that tell this network from others, however it is called."""
        images = {"shape": list(self.shape), "classes": self.classes}
        if self.published:
            return {"published": self.published, "channels": self.channels, "layers": self.layers, **images}
        if self.architecture is None:
            return {"library": self.library, "width": self.width, "bn_momentum": BN_MOMENTUM, **images}
        a = self.architecture
        numbers = [list(a.widths), list(a.depths), a.stem_width, a.head_width, a.stem_stride, a.residual]
        return {"nodes": a.cell.nodes, "edges": a.cell.edges, "numbers": numbers, **images}


def of_cell(
    name: str, kind: str, cell: Cell, model: Mapping[str, Any], macs: float, shape: tuple[int, int, int], classes: int
) -> Contestant:
    """The network of `cell` that `gemnet.fit` makes for the budget `model`, with a stem of stride 1 as usual for small images,
    and so narrow, stem and head as well, that it comes closest below `macs` on these images.

    Raises BudgetError for a cell of which no model can be made, or no network within TOLERANCE of `macs`.
    """
    whole = fitted_model(cell.pruned(), tuple(model.items()))
    base = Contestant(name, kind, shape, classes)
    for divisor in DIVISORS:
        widest = _widest(functools.partial(_scaled, base, whole, divisor), macs)
        if widest is not None:
            return widest
    raise BudgetError(f"{name}: no network of this cell has {macs / 1e6:g} M MACs on images of {shape[1]}x{shape[2]} pixels")


def _scaled(base: Contestant, whole: Architecture, divisor: int, share: float) -> Contestant:
    return replace(base, architecture=_narrowed(whole, share, divisor))


def _narrowed(whole: Architecture, share: float, divisor: int) -> Architecture:
    """With this share of the widths, in multiples of `divisor`, those of stem and head of 8, and a stem of stride 1."""

    def narrow(width: int, divisor: int = 8) -> int:
        return divisor * max(1, round(share * width / divisor))

    widths = tuple(narrow(width, divisor) for width in whole.widths)
    return replace(
        whole, widths=widths, stem_width=narrow(whole.stem_width), head_width=narrow(whole.head_width), stem_stride=1
    )


def of_library(library: str, kind: str, macs: float, shape: tuple[int, int, int], classes: int) -> Contestant:
    """The model `library` (see `gemnet.library.create_scaled_model`) in the width that comes closest below `macs`.

    Raises BudgetError where none is within TOLERANCE of it.
    """
    base = Contestant(library, kind, shape, classes, library=library)
    widest = _widest(lambda share: replace(base, width=share), macs)
    if widest is None:
        raise BudgetError(
            f"{library}: no width has {macs / 1e6:g} M MACs on images of {shape[1]}x{shape[2]} pixels within {TOLERANCE:.0%};"
            f" the narrowest has {replace(base, width=STEP).cost().macs / 1e6:.2f} M"
        )
    return widest


def of_published(name: str, kind: str, macs: float, shape: tuple[int, int, int], classes: int) -> Contestant:
    """A published network with as many channels as come closest below `macs`.

    Channels are whole numbers, and a genotype's are few: where none is close, the network has a cell or two less or more than
    the authors' 14. Raises BudgetError where none is within TOLERANCE.
    """
    base = Contestant(name, kind, shape, classes, published=name)
    for layers in (0,) if NETWORKS[name].genotype is None else LAYERS:

        @functools.cache
        def cost(channels: int, layers: int = layers) -> int:
            return replace(base, channels=channels, layers=layers).cost().macs

        channels = bisect.bisect_right(range(FEWEST, MOST), macs, key=cost) + FEWEST - 1
        if channels >= FEWEST and cost(channels) >= (1 - TOLERANCE) * macs:
            return replace(base, channels=channels, layers=layers)
    asked = f"{macs / 1e6:g} M MACs on images of {shape[1]}x{shape[2]} pixels"
    raise BudgetError(f"{name}: no number of channels has {asked} within {TOLERANCE:.0%}")


def _widest(scaled: Callable[[float], Contestant], macs: float) -> Contestant | None:
    """The widest network of at most `macs`, if it has nearly as many. scaled: a share of the model's own width -> network."""

    @functools.cache
    def cost(step: int) -> int:
        return scaled(step * STEP).cost().macs

    step = bisect.bisect_right(range(1, STEPS), macs, key=cost)
    return scaled(step * STEP) if step and cost(step) >= (1 - TOLERANCE) * macs else None


CHAIN = Cell(("input", "sepconv3x3"), ((0, 1),))
"""The simplest cell that there is beside a 1x1 convolution."""


def randwire_cell(
    num_nodes: int = 30, operator: str = "sepconv3x3", neighbours: int = 4, rewired: float = 0.75, seed: int = 0
) -> Cell:
    """A cell wired at random as RandWire's best (Xie et al., arXiv:1904.01569): a Watts-Strogatz graph WS(4, 0.75).

    As there, edges go from the smaller to the larger node, the input feeds the nodes that nothing else feeds, and every node is
    one separable convolution; here inputs are concatenated, as in any cell, where RandWire adds them up. num_nodes: with the
    input.
    """
    graph = networkx.connected_watts_strogatz_graph(num_nodes - 1, neighbours, rewired, seed=seed)
    edges = [(min(edge) + 1, max(edge) + 1) for edge in graph.edges]
    fed = {v for _, v in edges}
    edges += [(0, v) for v in range(1, num_nodes) if v not in fed]
    return Cell(("input", *[operator] * (num_nodes - 1)), tuple(sorted(edges)))
