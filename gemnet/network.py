"""GEMNet: a network whose every stage repeats one searched cell (NASGEM, AAAI 2021), by timm's conventions.

The order of computation is fixed when the module is built; `forward` holds no graph logic, so that it scripts, traces,
exports and compiles.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, List

import torch
from timm.layers import create_classifier
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices  # private to timm: imported here alone
from torch import Tensor, nn

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.operators import OPERATORS, ConvNormAct


class CellNode(nn.Module):
    """Concatenation of the states in `inputs`, then an operator."""

    inputs: List[int]

    def __init__(self, operator: nn.Module, inputs: tuple[int, ...]) -> None:
        super().__init__()
        self.inputs = list(inputs)
        self.operator = operator

    def forward(self, states: List[Tensor]) -> Tensor:
        """`states` are the outputs [B, C_i, H, W] of the nodes before; returns [B, width, H, W]."""
        if len(self.inputs) == 1:
            return self.operator(states[self.inputs[0]])
        return self.operator(torch.cat([states[i] for i in self.inputs], dim=1))


class CellModule(nn.Module):
    """A cell as a module: nodes in topological order; the output is the concatenation of all leaves."""

    leaves: List[int]

    def __init__(self, cell: Cell, in_channels: int, width: int, residual: bool = False, **layers: Any) -> None:
        super().__init__()
        cell = cell.pruned()
        nodes = []
        for name, before in zip(cell.nodes[1:], cell.predecessors[1:]):
            channels = sum(in_channels if u == 0 else width for u in before)
            nodes.append(CellNode(OPERATORS[name].build(channels, width, **layers), before))
        self.nodes = nn.ModuleList(nodes)
        self.leaves = list(cell.leaves)
        self.residual = residual and in_channels == width * len(self.leaves)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, leaves x width, H, W]."""
        states = [x]
        for node in self.nodes:
            states.append(node(states))
        out = states[self.leaves[0]] if len(self.leaves) == 1 else torch.cat([states[i] for i in self.leaves], dim=1)
        return out + x if self.residual else out


class Stage(nn.Module):
    """An optional 2x2 max-pool, then equal cells in a row."""

    def __init__(self, architecture: Architecture, index: int, in_channels: int, **layers: Any) -> None:
        super().__init__()
        self.grad_checkpointing = False
        # ceil_mode: odd maps round up, as a stride-2 convolution does, and no map vanishes.
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True) if index else nn.Identity()
        out_channels = architecture.stage_channels[index]
        channels = [in_channels] + [out_channels] * (architecture.depths[index] - 1)
        width = architecture.widths[index]
        self.cells = nn.Sequential(
            *(CellModule(architecture.cell, c, width, architecture.residual, **layers) for c in channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, leaves x width, ceil(H / 2), ceil(W / 2)]; the first stage keeps H and W."""
        x = self.pool(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.cells, x)
        return self.cells(x)


class GEMNet(nn.Module):
    """Stem, stages of cells, 1x1 head convolution, pool, classifier.

    architecture: what to build. num_classes: 0 for no classifier. norm_layer, act_layer: called with channels, and with inplace.
    output_stride: only the network's own stride is offered; another raises ValueError.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        output_stride: int | None = None,
        norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
        act_layer: Callable[..., nn.Module] = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        layers = {"norm_layer": norm_layer, "act_layer": act_layer, "device": device, "dtype": dtype}
        stages, reduction = len(architecture.widths), architecture.stem_stride
        stride = reduction * 2 ** (stages - 1)
        if output_stride not in (None, stride):
            raise ValueError(f"output_stride={output_stride} is not offered: GEMNet pools with 2x2 max-pools; expected {stride}")
        self.architecture = architecture
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = architecture.num_features

        self.stem = ConvNormAct(in_chans, architecture.stem_width, 3, stride=architecture.stem_stride, **layers)
        self.feature_info = []
        blocks, channels = [], architecture.stem_width
        for index in range(stages):
            blocks.append(Stage(architecture, index, channels, **layers))
            channels = architecture.stage_channels[index]
            self.feature_info.append({"num_chs": channels, "reduction": reduction * 2**index, "module": f"stages.{index}"})
        self.stages = nn.Sequential(*blocks)
        self.head_conv = ConvNormAct(channels, architecture.head_width, 1, **layers) if architecture.head_width else nn.Identity()
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, device=device, dtype=dtype
        )
        self.head_drop = nn.Dropout(drop_rate)
        self.init_weights()

    def init_weights(self) -> None:
        """He initialisation by fan-out for convolutions; the classifier from N(0, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(self.classifier, nn.Linear):
            nn.init.normal_(self.classifier.weight, std=0.01)
            nn.init.zeros_(self.classifier.bias)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        cell = None if coarse else (99999,)
        return {
            "stem": r"^stem",
            "blocks": r"^stages\.(\d+)" if coarse else [(r"^stages\.(\d+)\.cells\.(\d+)", None), (r"^head_conv", cell)],
        }

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for stage in self.stages:
            stage.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier for `num_classes` (0: none) on the device, in the dtype and in the mode of the network."""
        weight = self.stem.conv.weight
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        self.num_classes = num_classes
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=pool, device=weight.device, dtype=weight.dtype
        )
        self.global_pool.train(self.training)
        self.classifier.train(self.training)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Features after stages, as in timm.

        x: [B, in_chans, H, W]. indices: the last n stages if an int, all if None. Returns the list of [B, C_i, H_i, W_i],
        and before it, unless `intermediates_only`, what `forward_features` returns.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r} is not offered; expected 'NCHW'")
        take, last = feature_take_indices(len(self.stages), indices)
        intermediates = []
        x = self.stem(x)
        stages = self.stages if torch.jit.is_scripting() or not stop_early else self.stages[: last + 1]
        for index, stage in enumerate(stages):
            x = stage(x)
            if index in take:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        return self.head_conv(x), intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the given intermediates do not need; returns their indices."""
        take, last = feature_take_indices(len(self.stages), indices)
        self.stages = self.stages[: last + 1]
        if last + 1 < len(self.architecture.widths):
            self.head_conv = nn.Identity()
        if prune_head:
            self.head_conv = nn.Identity()
            self.reset_classifier(0, "")
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, num_features, H / 32, W / 32], rounded up."""
        return self.head_conv(self.stages(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[B, num_features, h, w] -> logits [B, num_classes]; pooled features [B, num_features] if `pre_logits`."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_chans, H, W] -> logits [B, num_classes]."""
        return self.forward_head(self.forward_features(x))
