"""The networks of NAS-Bench-101 (Ying et al., ICML 2019, section 2.1 and appendix), built and counted.

3x3 stem with 128 channels; three stacks of three cells, a 2x2 max-pool and twice the channels before the second and the third;
mean over the image; classifier. In a cell every convolution is followed by batch normalisation and ReLU, and

- the nodes that feed the output are concatenated there: they share its channels equally, the first of them having one more
  where that does not come out even;
- every other node has as many channels as the widest node that it feeds (the output aside);
- a node sums its inputs, of which a wider one gives its first channels alone;
- the input comes in through a 1x1 convolution to the node's channels, and into the output through one that is added to the
  concatenation.

The order of nodes decides who has one channel more, so that isomorphic cells may differ by a few parameters; rows of the table
keep the benchmark's order, and their params are the stored ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.cell import Cell
from gemnet.cost import Cost
from gemnet.layers import ConvNormAct
from search.core.types import CellArrays

STEM_CHANNELS = 128
STACKS, CELLS_IN_STACK = 3, 3
IMAGE_SIZE = 32
KERNELS = {"conv3x3": 3, "conv1x1": 1}
OUTPUT = 4  # as operator in arrays: (input, conv3x3, conv1x1, maxpool3x3, output)
_KERNEL_OF_OPERATOR = np.array([0, 3, 1, 0, 0])


def vertex_channels(cell: Cell, in_channels: int, out_channels: int) -> list[int]:
    """Channels of each node of a cell whose nodes all lie on paths from the input to the output, the last node."""
    output = len(cell.nodes) - 1
    joined = [v for v in cell.predecessors[output] if v > 0]
    channels = [in_channels] + [0] * output
    channels[output] = out_channels
    for place, v in enumerate(joined):
        channels[v] = out_channels // len(joined) + (place < out_channels % len(joined))
    for u, v in reversed(cell.edges):  # sorted by u, and u < v: the channels of v are final when its edges come
        if u > 0 and u not in joined:
            channels[u] = max(channels[u], channels[v])
    return channels


class Vertex(nn.Module):
    """Sum of the inputs, then the node's operator."""

    def __init__(self, operator: str, before: Sequence[int], in_channels: int, channels: int, **layers: Any) -> None:
        super().__init__()
        self.before = [u for u in before if u > 0]
        self.channels = channels
        self.projection = _conv(in_channels, channels, 1, **layers) if 0 in before else None
        kernel = KERNELS.get(operator)
        self.operator = _conv(channels, channels, kernel, **layers) if kernel else nn.MaxPool2d(3, 1, 1)

    def forward(self, states: list[Tensor]) -> Tensor:
        """`states` are the outputs [B, C_i, H, W] of the nodes before, the input first; returns [B, channels, H, W]."""
        inputs = [states[u][:, : self.channels] for u in self.before]
        if self.projection is not None:
            inputs.append(self.projection(states[0]))
        return self.operator(sum(inputs[1:], start=inputs[0]))


class Module(nn.Module):
    """A cell: [B, in_channels, H, W] -> [B, out_channels, H, W]."""

    def __init__(self, cell: Cell, in_channels: int, out_channels: int, **layers: Any) -> None:
        super().__init__()
        output = len(cell.nodes) - 1
        channels = vertex_channels(cell, in_channels, out_channels)
        self.vertices = nn.ModuleList(
            Vertex(cell.nodes[v], cell.predecessors[v], in_channels, channels[v], **layers) for v in range(1, output)
        )
        self.joined = [v for v in cell.predecessors[output] if v > 0]
        self.projection = _conv(in_channels, out_channels, 1, **layers) if 0 in cell.predecessors[output] else None

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for vertex in self.vertices:
            states.append(vertex(states))
        parts = [torch.cat([states[v] for v in self.joined], dim=1)] if self.joined else []
        if self.projection is not None:
            parts.append(self.projection(x))
        return sum(parts[1:], start=parts[0])


class NasBench101Network(nn.Module):
    """The benchmark's network of a cell whose nodes lie on paths from the input to the output (`NasBench101Space.checked`).

    stem_channels, cells_in_stack: the benchmark's, or fewer for a quicker one. layers: device and dtype. Raises ValueError for
    a cell that does not end in its only node `output`.
    """

    def __init__(
        self,
        cell: Cell,
        num_classes: int = 10,
        in_chans: int = 3,
        stem_channels: int = STEM_CHANNELS,
        cells_in_stack: int = CELLS_IN_STACK,
        **layers: Any,
    ) -> None:
        super().__init__()
        if cell.nodes.index("output") != len(cell.nodes) - 1 or cell.leaves != (len(cell.nodes) - 1,):
            raise ValueError("expected a cell of NAS-Bench-101, with the output as its last node and only leaf")
        channels = stem_channels
        parts: list[nn.Module] = [_conv(in_chans, channels, 3, **layers)]
        for stack in range(STACKS):
            if stack:
                parts.append(nn.MaxPool2d(2, 2))
            for before, after in pairwise([channels] + [channels << (stack > 0)] * cells_in_stack):
                parts.append(Module(cell, before, after, **layers))
                channels = after
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(channels, num_classes, **layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> logits [B, num_classes]."""
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


def _conv(in_channels: int, out_channels: int, kernel_size: int, **layers: Any) -> ConvNormAct:
    """Convolution, batch normalisation with the benchmark's constants (momentum .997 in its terms, .003 in torch's), ReLU."""
    module = ConvNormAct(in_channels, out_channels, kernel_size, **layers)
    bn = cast(nn.BatchNorm2d, module.bn)
    bn.momentum, bn.eps = 0.003, 1e-5
    return module


def network_cost(arrays: CellArrays) -> Cost:
    """Params, MACs and activations, int64 [B], of the networks of B cells on 32 x 32 images with 10 classes.

    arrays: cells of NAS-Bench-101 without dangling nodes, operators numbered (input, conv3x3, conv1x1, maxpool3x3, output).
    """
    side, channels = IMAGE_SIZE, STEM_CHANNELS
    total = _conv_cost(np.full(len(arrays), 3), channels, 3, side)
    for stack in range(STACKS):
        before, channels, side = channels, channels << (stack > 0), side >> (stack > 0)
        total += _module_cost(arrays, before, channels, side)
        total += (CELLS_IN_STACK - 1) * _module_cost(arrays, channels, channels, side)
    return total + Cost((channels + 1) * 10, channels * 10, 10)


def _module_cost(arrays: CellArrays, in_channels: int, out_channels: int, side: int) -> Cost:
    rows, output = np.arange(len(arrays)), (arrays.operators == OUTPUT).argmax(1)
    inner = (arrays.operators > 0) & (arrays.operators < OUTPUT)  # [B, n]
    into_output = arrays.adjacency[rows, :, output]  # [B, n]
    joined = into_output & inner
    number = np.maximum(1, joined.sum(1))
    channels = np.zeros(inner.shape, np.int64)
    for v in range(inner.shape[1] - 1, 0, -1):
        shared = out_channels // number + (joined[:, :v].sum(1) < out_channels % number)
        widest = np.where(arrays.adjacency[:, v] & inner, channels, 0).max(1)
        channels[:, v] = np.where(joined[:, v], shared, widest) * inner[:, v]
    total = Cost(*np.zeros((3, len(arrays)), np.int64))
    for v in range(1, inner.shape[1]):
        width, kernel = channels[:, v], _KERNEL_OF_OPERATOR[np.maximum(arrays.operators[:, v], 0)]
        total += _conv_cost(width, width, kernel, side, inner[:, v] & (kernel > 0))
        total += _conv_cost(in_channels, width, 1, side, inner[:, v] & arrays.adjacency[:, 0, v])
    return total + _conv_cost(in_channels, np.full(len(arrays), out_channels), 1, side, into_output[:, 0])


def _conv_cost(in_channels: Any, out_channels: Any, kernel: Any, side: int, there: Any = 1) -> Cost:
    """Of convolution and batch normalisation, where they are `there`; numbers, or integer arrays [B]."""
    weights = in_channels * out_channels * kernel**2 * there
    return Cost(weights + 2 * out_channels * there, weights * side**2, out_channels * side**2 * there)
