"""Networks of ENAS's macro space (Pham et al., ICML 2018, section 2.2) for any number of layers.

3x3 stem; layers of one operator each, all with the same channels; 2x2 max-pools after a third and after two thirds of them, of
what earlier layers gave as well; mean over the image; classifier. A layer's operator reads the layer before and is added to the
layers that skip to it, followed by batch normalisation. As in ENAS, a 1x1 convolution comes before each operator.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.cell import Cell
from gemnet.layers import ConvNormAct, SepConvNormAct

CONVOLUTIONS = {"conv3x3": (ConvNormAct, 3), "conv5x5": (ConvNormAct, 5), "sepconv3x3": (SepConvNormAct, 3)} | {
    "sepconv5x5": (SepConvNormAct, 5)
}
POOLS = {"avgpool3x3": nn.AvgPool2d, "maxpool3x3": nn.MaxPool2d}


class Layer(nn.Module):
    """BN(operator(1x1 convolution(the layer before)) + sum of the layers that skip to it)."""

    def __init__(self, operator: str, skips: tuple[int, ...], channels: int, **layers: Any) -> None:
        super().__init__()
        self.skips = skips
        if operator in CONVOLUTIONS:
            kind, kernel = CONVOLUTIONS[operator]
            last: nn.Module = kind(channels, channels, kernel, **layers)
        else:
            last = POOLS[operator](3, 1, 1)
        self.operator = nn.Sequential(ConvNormAct(channels, channels, 1, **layers), last)
        self.norm = nn.BatchNorm2d(channels, **layers)

    def forward(self, states: list[Tensor]) -> Tensor:
        """`states` are those of the nodes before, the stem's first, [B, channels, H, W] each; so is what is returned."""
        return self.norm(sum((states[u] for u in self.skips), start=self.operator(states[-1])))


class EnasNetwork(nn.Module):
    """The network of a cell of `enas_space(layers)`: input, a node a layer, output. layers: device and dtype.

    Raises ValueError for a cell in which a node is not fed by the one before, or one with other operators."""

    def __init__(self, cell: Cell, num_classes: int = 10, in_chans: int = 3, channels: int = 36, **layers: Any) -> None:
        super().__init__()
        inner = cell.nodes[1:-1]
        if cell.nodes[-1] != "output" or not inner or not set(inner) <= set(CONVOLUTIONS) | set(POOLS):
            raise ValueError(f"expected a cell of ENAS: input, operators, output; found {', '.join(cell.nodes)}")
        if any(v - 1 not in cell.predecessors[v] for v in range(1, len(cell.nodes))):
            raise ValueError("expected a cell of ENAS, each node fed by the one before")
        self.stem = ConvNormAct(in_chans, channels, 3, **layers)
        self.layers = nn.ModuleList(
            Layer(name, tuple(u for u in cell.predecessors[v] if u < v - 1), channels, **layers)
            for v, name in enumerate(inner, 1)
        )
        self.pooled = {len(inner) // 3, 2 * len(inner) // 3} - {0}
        self.classifier = nn.Linear(channels, num_classes, **layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> logits [B, num_classes]."""
        states = [self.stem(x)]
        for number, layer in enumerate(self.layers):
            if number in self.pooled:
                states = [F.max_pool2d(state, 2) for state in states]
            states.append(layer(states))
        return self.classifier(F.adaptive_avg_pool2d(states[-1], 1).flatten(1))
