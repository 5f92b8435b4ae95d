"""The networks of genotypes, as DARTS builds them for ImageNet (Liu, Simonyan and Yang, ICLR 2019).

Three 3x3 convolutions of stride 2 make the two inputs of the first cell. A third and two thirds of the way a reduction cell
halves the image and doubles the channels. Mean over the image and a classifier end it. The auxiliary head and the dropped
paths of the authors' trainings are no part of it. Convolutions follow a ReLU and are followed by batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.experiments.published.genotypes import CellGraph, Genotype


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)


def relu_conv_norm(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), _conv(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


def _depthwise(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise and 1x1 convolution, batch normalisation."""
    first = _conv(channels, channels, kernel, stride, dilation, groups=channels)
    return [nn.ReLU(), first, _conv(channels, channels, 1), nn.BatchNorm2d(channels)]


class FactorizedReduce(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, H / 2, W / 2], rounded up: half of the channels from each of two grids."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.even = _conv(in_channels, out_channels - out_channels // 2, 1, stride=2)
        self.odd = _conv(in_channels, out_channels // 2, 1, stride=2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))


class Zero(nn.Module):
    """Zeros of the size that an operator with this stride gives."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def _separable(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: nn.Sequential(*_depthwise(channels, kernel, stride), *_depthwise(channels, kernel, 1))


def _dilated(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: nn.Sequential(*_depthwise(channels, kernel, stride, dilation=2))


def _crossed(channels: int, stride: int) -> nn.Module:
    flat = nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False)
    upright = nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False)
    return nn.Sequential(nn.ReLU(), flat, upright, nn.BatchNorm2d(channels))


BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda channels, stride: Zero(stride),
    "max_pool_3x3": lambda channels, stride: nn.MaxPool2d(3, stride, 1),
    "avg_pool_3x3": lambda channels, stride: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "skip_connect": lambda channels, stride: nn.Identity() if stride == 1 else FactorizedReduce(channels, channels),
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "sep_conv_7x7": _separable(7),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
    "conv_7x1_1x7": _crossed,
}
"""By DARTS' name: (channels, stride) -> the operator."""


class GenotypeCell(nn.Module):
    """[B, C, H, W] of the cell before the last and [B, C', H', W'] of the last -> [B, channels times concatenated nodes, ...].

    first_halves: whether the cell before the last gave an image of twice the size.
    """

    def __init__(
        self, graph: CellGraph, in_channels: tuple[int, int], channels: int, reduces: bool, first_halves: bool
    ) -> None:
        super().__init__()
        first, second = in_channels
        self.first = FactorizedReduce(first, channels) if first_halves else relu_conv_norm(first, channels)
        self.second = relu_conv_norm(second, channels)
        self.graph = graph
        self.nodes = nn.ModuleList(
            nn.ModuleList(BUILDERS[name](channels, 2 if reduces and source < 2 else 1) for name, source in edges)
            for edges in graph.nodes
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        states = [self.first(first), self.second(second)]
        for edges, operators in zip(self.graph.nodes, self.nodes):
            values = [operator(states[source]) for (_, source), operator in zip(edges, cast(nn.ModuleList, operators))]
            states.append(sum(values[1:], start=values[0]))
        return torch.cat([states[node] for node in self.graph.concat], dim=1)


class GenotypeNetwork(nn.Module):
    """The ImageNet network of a genotype: [B, in_chans, H, W] -> logits [B, num_classes].

    Args:
        genotype: its cells.
        channels: of a node in the first cells.
        layers: cells in all, two of them reduction cells.
        num_classes: of the classifier.
        in_chans: of the images.
        stem_stride: of the first convolution; 1 for small images.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int = 48,
        layers: int = 14,
        num_classes: int = 1000,
        in_chans: int = 3,
        stem_stride: int = 2,
    ) -> None:
        super().__init__()
        if channels < 2 or layers < 3:
            raise ValueError(f"expected at least 2 channels and 3 layers, found {channels} and {layers}")
        half = channels // 2
        self.stem0 = nn.Sequential(
            _conv(in_chans, half, 3, stride=stem_stride),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            _conv(half, channels, 3, stride=2),
            nn.BatchNorm2d(channels),
        )
        self.stem1 = nn.Sequential(nn.ReLU(), _conv(channels, channels, 3, stride=2), nn.BatchNorm2d(channels))
        before, last, halved = channels, channels, True
        cells = []
        for layer in range(layers):
            reduces = layer in (layers // 3, 2 * layers // 3)
            graph = genotype.reduce if reduces else genotype.normal
            channels *= 2 if reduces else 1
            cells.append(GenotypeCell(graph, (before, last), channels, reduces, halved))
            before, last, halved = last, channels * len(graph.concat), reduces
        self.cells = nn.ModuleList(cells)
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        first = self.stem0(x)
        second = self.stem1(first)
        for cell in self.cells:
            first, second = second, cell(first, second)
        return self.classifier(F.adaptive_avg_pool2d(second, 1).flatten(1))
