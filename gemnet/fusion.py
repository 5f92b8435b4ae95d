"""A trained network in its fastest form for inference: normalisation folded, sibling convolutions merged, outputs the same."""

from __future__ import annotations

import copy
import warnings
from itertools import count
from typing import Protocol, TypeGuard, cast

import timm.layers as timm_layers
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gemnet.core.errors import UserError
from gemnet.layers import ConvNormAct, SepConvNormAct
from gemnet.mobile_layers import DepthwiseSeparable, InvertedBottleneck, ProjectedPool, ProjectedSqueezeExcite
from gemnet.network import CellModule, CellNode

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
    nn.Sigmoid, nn.Tanh, nn.Identity, timm_layers.GELU, timm_layers.GELUTanh, timm_layers.QuickGELU, timm_layers.HardMish,
    timm_layers.Sigmoid, timm_layers.Tanh,
)  # fmt: skip
"""Activations that treat every channel alike, so that those of merged convolutions are one."""
UNITS = (ConvNormAct, SepConvNormAct)
"""A convolution and its normalisation, which run one after the other."""
BUILT_IN = (*UNITS, DepthwiseSeparable, InvertedBottleneck, ProjectedPool, ProjectedSqueezeExcite, nn.Identity)
"""What built-in operators are: their units run as units do."""
CHECKED = 1e-9
"""Largest relative difference between convolution with normalisation and the folded one, in double precision."""
MOST_NAMED = 4
"""Modules that a warning names."""


class Normalisation(Protocol):
    """What batch normalisation of any library has; `weight` and `bias` where it is affine."""

    running_mean: Tensor
    running_var: Tensor
    eps: float


def fused(model: nn.Module) -> nn.Module:
    """Copy a GEMNet, or a module with GEMNet's cells, in evaluation mode, with fewer and larger convolutions.

    Each batch normalisation is folded into the convolution before it (see `fold_batch_norm`, which warns of what stays). Plain
    convolutions of one cell with the same inputs, kernel and activation become one; where such siblings are all that a
    concatenation holds, nothing is copied for it. Outputs are the model's up to rounding, on its device and in its dtype.
    Depthwise separable siblings stay: merged, they were measured to be slower at batch 16. An operator that is not built in
    stays exactly as its module is. What wraps the model (DataParallel, DistributedDataParallel, torch.compile) is taken off.
    Raises UserError for a scripted model.
    """
    folded = _fold_all(model)
    _warn_of_what_is_left(folded)
    merged: dict[CellModule, MergedCell] = {}  # a cell that stands at several places stays one
    for module in list(folded.modules()):
        for name, child in module._modules.items():
            if isinstance(child, CellModule):
                merged.setdefault(child, MergedCell(child))
                module.add_module(name, merged[child])
    return MergedCell(folded) if isinstance(folded, CellModule) else folded


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Copy a model in evaluation mode, each batch normalisation folded into the convolution before it.

    The outputs are the model's up to rounding: y = g (Wx - m) / s + b is (g W / s) x + (b - g m / s). Any module will do that
    does this with its `running_mean` and `running_var`: plain, synchronised, frozen (timm's, torchvision's), with an
    activation behind it (timm's), subclassed or wrapped; each is compared in double precision before it goes. What is left, as
    group normalisation, is named in a warning. Raises UserError for a scripted model.
    """
    folded = _fold_all(model)
    _warn_of_what_is_left(folded)
    return folded


def _fold_all(model: nn.Module) -> nn.Module:
    while (inner := _wrapped(model)) is not None:
        model = inner
    if isinstance(model, torch.jit.ScriptModule):
        raise UserError("a scripted or traced model cannot be fused; fuse the model, then script it")
    folded = copy.deepcopy(model)
    folded.eval()  # which returns nothing in some of mmdet's backbones
    own = _within_own_operators(folded)
    for unit in folded.modules():
        if isinstance(unit, UNITS) and unit not in own and type(unit.bn) is not nn.Identity:
            _fold(unit)
    return folded


def _within_own_operators(model: nn.Module) -> set[nn.Module]:
    """The modules of operators that are not built in: in what order they run is for the operators alone to know."""
    operators = (module.operator for module in model.modules() if isinstance(module, CellNode))
    return {module for operator in operators if type(operator) not in BUILT_IN for module in operator.modules()}


def _warn_of_what_is_left(folded: nn.Module) -> None:
    left = [(name, module) for name, module in folded.named_modules() if _normalises(module)]
    if left:
        kinds = ", ".join(sorted({type(module).__name__ for _, module in left}))
        names = ", ".join(name for name, _ in left[:MOST_NAMED]) + ", ..." * (len(left) > MOST_NAMED)
        warnings.warn(f"fused: {len(left)} of {kinds} cannot be folded and are left as they are: {names}", stacklevel=3)


def _wrapped(model: nn.Module) -> nn.Module | None:
    """The model in a wrapper, None where there is no wrapper."""
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return model.module
    return getattr(model, "_orig_mod", None)  # torch.compile's


def _normalises(module: nn.Module) -> bool:
    """Whether a module holds what normalisation has: statistics, or weights under such a name."""
    if _has_statistics(module):
        return True
    return "norm" in type(module).__name__.lower() and any(True for _ in (*module.parameters(False), *module.buffers(False)))


def _has_statistics(module: object) -> TypeGuard[Normalisation]:
    return getattr(module, "running_var", None) is not None


def _fold(unit: ConvNormAct | SepConvNormAct) -> None:
    """Fold `unit.bn` into `unit.conv` where that is exact; of the normalisation, its own activation stays."""
    norms = [module for module in unit.bn.modules() if _has_statistics(module)]
    if len(norms) != 1:
        return
    norm = norms[0]
    act = getattr(norm, "act", None)
    after = [act] if isinstance(act, nn.Module) else []
    if isinstance(unit.bn, nn.Sequential) and _has_statistics(unit.bn[0]):
        after += unit.bn[1:]
    kept = [module for module in after if not isinstance(module, (nn.Identity, nn.Dropout, nn.Dropout2d))]
    rest = nn.Identity() if not kept else kept[0] if len(kept) == 1 else nn.Sequential(*kept)
    conv = _folded(unit.conv, norm)
    if conv is not None and _computes(unit, conv, rest):
        weight = unit.conv.weight
        unit.conv = conv.to(weight.device, weight.dtype).requires_grad_(weight.requires_grad)
        unit.bn = rest


def _folded(conv: nn.Module, norm: Normalisation) -> nn.Conv2d | None:
    """The convolution in double precision that `conv` and `norm` are together."""
    if not isinstance(conv, nn.Conv2d):
        return None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if (weight := getattr(norm, "weight", None)) is not None:
        scale = scale * weight.double()
    shift = -norm.running_mean.double() * scale
    if (bias := getattr(norm, "bias", None)) is not None:
        shift = shift + bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    how = {key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups", "padding_mode")}
    folded = skip_init(nn.Conv2d, conv.in_channels, conv.out_channels, conv.kernel_size, **how, device=conv.weight.device)
    folded.weight = nn.Parameter((conv.weight.double() * scale[:, None, None, None]).detach())
    folded.bias = nn.Parameter(shift.detach())
    finite = all(value.to(conv.weight.dtype).isfinite().all() for value in folded.parameters() if not value.is_meta)
    return folded.eval() if finite else None


def _computes(unit: ConvNormAct | SepConvNormAct, conv: nn.Conv2d, rest: nn.Module) -> bool:
    """Whether `conv` and `rest` are `unit.conv` and `unit.bn`, on random maps of two sizes of numbers, in double precision."""
    if conv.weight.is_meta:
        return True
    before, after = (copy.deepcopy(nn.Sequential(*parts)).double().cpu() for parts in ((unit.conv, unit.bn), (conv, rest)))
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for size in (1, 100):
                x = size * torch.randn(2, conv.in_channels, 5, 5, generator=generator, dtype=torch.float64)
                expected = before(x)
                if not (after(x) - expected).abs().max() <= CHECKED * max(1, expected.abs().max()):
                    return False
    except (RuntimeError, TypeError, ValueError, NotImplementedError):  # what cannot be run here cannot be checked
        return False
    return True


class MergedCell(nn.Module):
    """A cell of folded nodes; those with the same inputs and kernel are one node, whose output is cut where needed."""

    def __init__(self, cell: CellModule) -> None:
        super().__init__()
        self.residual = cell.residual
        groups: dict[object, list[int]] = {}
        before = cast("list[CellNode]", list(cell.nodes))  # a ModuleList's modules have no other type than Module
        for index, node in enumerate(before):
            groups.setdefault(_sibling_key(node, index), []).append(index)
        places, number = {0: 0}, count(1)  # state of the cell -> state of this module
        wholes: dict[tuple[int, ...], int] = {}  # states of all siblings -> state of their output before it is cut
        nodes, self.parts, self.width = [], [], cell.width
        for group in groups.values():
            members, states = [before[index] for index in group], [index + 1 for index in group]
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
    """Equal for nodes that may be one convolution, and the node's own `index` for any other."""
    operator = node.operator
    if type(operator) is not ConvNormAct or type(operator.bn) is not nn.Identity or type(operator.act) not in ELEMENTWISE:
        return index
    conv = operator.conv
    if type(conv) is not nn.Conv2d or conv.groups != 1:
        return index
    how = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.padding_mode, conv.bias is None)
    return (tuple(node.inputs), repr(operator.act), *how)


def _merged(nodes: list[CellNode]) -> nn.Module:
    first = nodes[0].operator
    if len(nodes) == 1 or not isinstance(first, ConvNormAct):
        return first
    convolutions = [operator.conv for operator in (node.operator for node in nodes) if isinstance(operator, ConvNormAct)]
    merged = copy.deepcopy(first)
    merged.conv.out_channels = sum(conv.out_channels for conv in convolutions)
    merged.conv.weight = nn.Parameter(torch.cat([conv.weight for conv in convolutions]), requires_grad=False)
    if merged.conv.bias is not None:
        biases = [conv.bias for conv in convolutions if conv.bias is not None]
        merged.conv.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return merged


def _places(states: list[int], places: dict[int, int], wholes: dict[tuple[int, ...], int]) -> tuple[int, ...]:
    """Where to read `states` one after the other: siblings that follow each other are read at once."""
    read, start = [], 0
    while start < len(states):
        length = next((n for n in range(len(states) - start, 1, -1) if tuple(states[start : start + n]) in wholes), 1)
        run = tuple(states[start : start + length])
        read.append(wholes[run] if length > 1 else places[run[0]])
        start += length
    return tuple(read)
