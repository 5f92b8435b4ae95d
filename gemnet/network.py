"""GEMNet: a network whose every stage repeats one searched cell (NASGEM, AAAI 2021), by timm's conventions.

The order of computation is fixed when the module is built; `forward` holds no graph logic, so that it scripts, traces,
exports and compiles. TorchScript and torch.fx want annotations as types, not as text: hence no `from __future__` here.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import create_classifier
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices  # private to timm: imported here alone
from torch import Tensor, nn

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.layers import ConvNormAct
from gemnet.operators import OPERATORS


class CellNode(nn.Module):
    """Concatenation of the states in `inputs`, then an operator."""

    def __init__(self, operator: nn.Module, inputs: tuple[int, ...]) -> None:
        super().__init__()
        self.inputs = list(inputs)
        self.operator = operator

    def forward(self, states: list[Tensor]) -> Tensor:
        """`states` are the outputs [B, C_i, H, W] of the nodes before; returns [B, width, H, W]."""
        if len(self.inputs) == 1:
            return self.operator(states[self.inputs[0]])
        return self.operator(torch.cat([states[i] for i in self.inputs], dim=1))


class CellModule(nn.Module):
    """A cell as a module: nodes in topological order; the output is the concatenation of all leaves."""

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

    architecture: what to build. num_classes: 0 for no classifier. global_pool: '' for none, then num_classes must be 0.
    drop_rate: dropout before the classifier. output_stride: only the network's own is offered; another raises ValueError.
    norm_layer, act_layer: called with channels, and with inplace=True.
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
            raise ValueError(f"output_stride={output_stride} is not offered: GEMNet cannot dilate; expected {stride}")
        self.architecture = architecture
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = architecture.num_features

        self.stem = ConvNormAct(in_chans, architecture.stem_width, 3, stride=architecture.stem_stride, **layers)
        self.feature_info = []
        blocks, channels = [], architecture.stem_width
        for index in range(stages):
            blocks.append(Stage(architecture, index, channels, **layers))
            channels = architecture.stage_channels[index]
            self.feature_info.append({"num_chs": channels, "reduction": reduction * 2**index, "module": f"stages.{index}"})
        self.stages = nn.Sequential(*blocks)
        self.head_conv: nn.Module = nn.Identity()
        if architecture.head_width:
            self.head_conv = ConvNormAct(channels, architecture.head_width, 1, **layers)
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, device=device, dtype=dtype
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.head_drop = nn.Dropout(drop_rate)
        self.init_weights()

    @torch.jit.ignore
    def init_weights(self) -> None:
        """He initialisation by fan-out (a depthwise channel feeds k x k outputs); the classifier from N(0, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
            elif hasattr(module, "reset_parameters"):  # normalisation, with its statistics
                module.reset_parameters()

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer-wise learning rates: stem, then each stage (coarse) or cell, then the head."""
        if coarse:
            return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}
        return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)\.cells\.(\d+)", None), (r"^head_conv", (99999,))]}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for stage in self.stages:
            stage.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier for `num_classes` (0: none) on the device, in the dtype and in the mode of the network.

        global_pool: None keeps the pooling, '' removes it (then `num_classes` must be 0).
        """
        weight = self.stem.conv.weight
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        self.num_classes = num_classes
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=pool, device=weight.device, dtype=weight.dtype
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
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
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Features after stages, as in timm.

        x: [B, in_chans, H, W]. indices: the last n stages if an int, all if None. stop_early: leave out what comes after the
        last of these. Returns their features [B, C_i, H_i, W_i], and before them, unless `intermediates_only`, what
        `forward_features` returns, or the last features where it stopped early. `norm` changes nothing: there is no last norm.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt {output_fmt} is not offered; expected NCHW")
        take, last = feature_take_indices(len(self.stages), indices)
        intermediates: list[Tensor] = []
        x = self.stem(x)
        if torch.jit.is_scripting() or not stop_early:  # TorchScript cannot slice modules
            stages = self.stages
        else:
            stages = self.stages[: last + 1]
        reached = 0
        for index, stage in enumerate(stages):
            x = stage(x)
            reached = index + 1
            if index in take:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        if reached == len(self.stages):
            x = self.head_conv(x)
        return x, intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the given intermediates do not need; returns their indices.

        The head is sized for the last stage: it goes with `prune_head`, and wherever a stage or (`prune_norm`) its
        convolution goes.
        """
        take, last = feature_take_indices(len(self.stages), indices)
        prune_end = prune_norm or prune_head or last + 1 < len(self.stages)
        self.stages = self.stages[: last + 1]
        if prune_end:
            self.head_conv = nn.Identity()
            self.num_features = self.feature_info[last]["num_chs"]
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
