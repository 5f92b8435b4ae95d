"""A trained network in its fastest form for inference: normalisation folded, sibling convolutions merged, outputs the same."""

from __future__ import annotations

import copy
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gemnet.layers import ConvNormAct, SepConvNormAct
from gemnet.network import CellModule, CellNode


def fused(model: nn.Module) -> nn.Module:
    """A copy of a GEMNet, or of a module with GEMNet's cells, in evaluation mode: fewer and larger convolutions.

    Each batch normalisation is folded into the convolution before it. Plain convolutions of one cell with the same inputs and
    kernel become one; where such siblings are all that a concatenation holds, nothing is copied for it. Outputs are the
    model's up to rounding. Depthwise separable siblings stay: merged, they were measured to be slower at batch 16.
    """
    folded = fold_batch_norm(model)
    for module in list(folded.modules()):
        for name, child in module.named_children():
            if isinstance(child, CellModule):
                module.add_module(name, MergedCell(child))
    return folded


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of the model in evaluation mode, each batch normalisation folded into the convolution before it.

    The outputs are the model's up to rounding: y = g (Wx - m) / s + b is (g W / s) x + (b - g m / s).
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, (ConvNormAct, SepConvNormAct)) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return folded


class MergedCell(nn.Module):
    """A cell of folded nodes; those with the same inputs and kernel are one node, whose output is cut where needed."""

    def __init__(self, cell: CellModule) -> None:
        super().__init__()
        self.residual = cell.residual
        groups: dict[object, list[int]] = {}
        for index, node in enumerate(cell.nodes):
            groups.setdefault(_sibling_key(node, index), []).append(index)
        places, number = {0: 0}, count(1)  # state of the cell -> state of this module
        wholes: dict[tuple[int, ...], int] = {}  # states of all siblings -> state of their output before it is cut
        nodes, self.parts, self.width = [], [], cell.nodes[0].operator.conv.out_channels
        for group in groups.values():
            members, states = [cell.nodes[index] for index in group], [index + 1 for index in group]
            nodes.append(CellNode(_merged(members), _places(members[0].inputs, places, wholes)))
            self.parts.append(len(group))
            whole = wholes[tuple(states)] = next(number)
            places.update({state: next(number) for state in states} if len(group) > 1 else {states[0]: whole})
        self.nodes = nn.ModuleList(nodes)
        self.leaves = list(_places(cell.leaves, places, wholes))

    def forward(self, x: Tensor) -> Tensor:
        """As CellModule's."""
        states = [x]
        for i, node in enumerate(self.nodes):
            out = node(states)
            states.append(out)
            if self.parts[i] > 1:
                for part in range(self.parts[i]):
                    states.append(out.narrow(1, part * self.width, self.width))
        out = states[self.leaves[0]] if len(self.leaves) == 1 else torch.cat([states[i] for i in self.leaves], dim=1)
        return out + x if self.residual else out


def _sibling_key(node: CellNode, index: int) -> object:
    """Equal for nodes that may be one convolution."""
    operator = node.operator
    if isinstance(operator, ConvNormAct) and isinstance(operator.bn, nn.Identity) and type(operator.act) is nn.ReLU:
        return operator.conv.kernel_size, tuple(node.inputs)
    return index


def _merged(nodes: list[CellNode]) -> nn.Module:
    first = nodes[0].operator
    if len(nodes) == 1:
        return first
    convolutions = [node.operator.conv for node in nodes]
    merged = copy.deepcopy(first)
    merged.conv.out_channels = sum(conv.out_channels for conv in convolutions)
    merged.conv.weight = nn.Parameter(torch.cat([conv.weight for conv in convolutions]), requires_grad=False)
    merged.conv.bias = nn.Parameter(torch.cat([conv.bias for conv in convolutions]), requires_grad=False)
    return merged


def _places(states: list[int], places: dict[int, int], wholes: dict[tuple[int, ...], int]) -> tuple[int, ...]:
    """Where to read `states` one after the other: siblings that follow each other are read at once."""
    found, start = [], 0
    while start < len(states):
        length = next((n for n in range(len(states) - start, 1, -1) if tuple(states[start : start + n]) in wholes), 1)
        run = tuple(states[start : start + length])
        found.append(wholes[run] if length > 1 else places[run[0]])
        start += length
    return tuple(found)
