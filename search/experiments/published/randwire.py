"""RandWire's network in its small computation regime (Xie, Kirillov, Girshick and He, ICCV 2019, section 3 and Table 1).

Two 3x3 convolutions of stride 2, three stages that are random graphs, a 1x1 convolution to 1,280 channels, mean over the image,
classifier. A node adds up its inputs, each times the sigmoid of a learned weight, then comes ReLU, a separable 3x3 convolution
and batch normalisation. A node that nothing feeds reads the stage's input with stride 2, and a stage's output is the mean of
the nodes that no other one reads. Graphs are Watts-Strogatz WS(4, 0.75), edges from the smaller to the larger node.
"""

from __future__ import annotations

import networkx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NODES, NEIGHBOURS, REWIRED = 32, 4, 0.75
HEAD_CHANNELS = 1280
STAGES = 3


class Node(nn.Module):
    """[B, C, H, W] of each of `inputs` nodes before -> [B, channels, ...]; their weighted sum, ReLU, separable convolution."""

    def __init__(self, inputs: int, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs)) if inputs > 1 else None
        self.act = nn.ReLU()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        if self.weight is not None:
            shares = self.weight.sigmoid()
            x = torch.stack([share * value for share, value in zip(shares, inputs)]).sum(0)
        return self.norm(self.pointwise(self.depthwise(self.act(x))))


class RandomStage(nn.Module):
    """[B, in_channels, H, W] -> [B, channels, H / 2, W / 2]: nodes that nothing feeds read the stage's input, with stride 2."""

    def __init__(self, edges: list[tuple[int, int]], nodes: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.sources = [sorted(u for u, v in edges if v == node) for node in range(nodes)]
        read = {u for u, _ in edges}
        self.ends = [node for node in range(nodes) if node not in read]
        self.nodes = nn.ModuleList(
            Node(len(before), channels, channels, 1) if before else Node(1, in_channels, channels, 2) for before in self.sources
        )

    def forward(self, x: Tensor) -> Tensor:
        states: list[Tensor] = []
        for before, node in zip(self.sources, self.nodes):
            states.append(node([states[u] for u in before] if before else [x]))
        return torch.stack([states[node] for node in self.ends]).mean(0)


class RandWire(nn.Module):
    """[B, in_chans, H, W] -> logits [B, num_classes].

    Args:
        channels: of the first random stage; the next two have twice and four times as many.
        seed: of the three graphs.
        num_classes: of the classifier.
        in_chans: of the images.
        stem_stride: of the first convolution; 1 for small images.
    """

    def __init__(
        self, channels: int = 78, seed: int = 0, num_classes: int = 1000, in_chans: int = 3, stem_stride: int = 2
    ) -> None:
        super().__init__()
        half = channels // 2
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, half, 3, stem_stride, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        stages = []
        for stage in range(STAGES):
            graph = networkx.connected_watts_strogatz_graph(NODES, NEIGHBOURS, REWIRED, seed=STAGES * seed + stage)
            edges = [(min(edge), max(edge)) for edge in graph.edges]
            stages.append(RandomStage(edges, NODES, channels << max(0, stage - 1), channels << stage))
        self.stages = nn.Sequential(*stages)
        last = channels << STAGES - 1
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(last, HEAD_CHANNELS, 1, bias=False), nn.BatchNorm2d(HEAD_CHANNELS), nn.ReLU()
        )
        self.classifier = nn.Linear(HEAD_CHANNELS, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.stages(self.stem(x)))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))
