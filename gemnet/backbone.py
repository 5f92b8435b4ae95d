"""GEMNet as a backbone for MMDetection and MMPretrain: `type='gemnet.GEMNet'`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.errors import UserError
from gemnet.models import architecture as shipped
from gemnet.network import GEMNet as Network
from gemnet.registry import MODELS
from gemnet.weights import load_weights

OUT_INDICES = (1, 2, 3, 5)


def resolve_architecture(
    arch: str | None = None,
    cell: Cell | str | os.PathLike[str] | None = None,
    target_macs: float = 463e6,
    target_params: float | None = None,
    residual: bool = False,
) -> Architecture:
    """The architecture of `arch` ('a' or 'b'), or of `cell` fitted to a budget (ImageNet, 224x224, 1,000 classes).

    Raises UserError unless exactly one of the two is given, CellError and BudgetError as `create_model('gemnet')` does.
    """
    if (arch is None) == (cell is None):
        raise UserError(f"arch={arch!r} and cell={cell!r}: expected one of the two, arch='a' or 'b', or a cell file")
    if arch is not None:
        if arch not in ("a", "b"):
            raise UserError(f"arch={arch!r}: expected 'a' or 'b'; for a cell of your own, cell='file.json'")
        return shipped(f"gemnet_{arch}")
    return fit(Cell.resolve(cell), target_macs, target_params, residual=residual).architecture


def out_channels(network: Architecture | Cell | str | os.PathLike[str], out_indices: Sequence[int] = OUT_INDICES) -> list[int]:
    """Channels of the feature maps at `out_indices`: what a neck needs as `in_channels`.

    network: an Architecture, 'a' or 'b', or a cell (a Cell, a file, a shipped name) at the default budget.
    """
    if not isinstance(network, Architecture):
        network = resolve_architecture(network) if network in ("a", "b") else resolve_architecture(cell=network)
    channels = [*network.stage_channels, network.num_features]
    return [channels[index] for index in _checked(out_indices, network)]


def _checked(out_indices: Sequence[int], network: Architecture) -> tuple[int, ...]:
    last = len(network.widths) if network.head_width else len(network.widths) - 1
    indices = tuple(out_indices)
    if not indices or list(indices) != sorted(set(indices)) or indices[0] < 0 or indices[-1] > last:
        raise UserError(f"out_indices={indices}: expected rising numbers from 0 to {last}, the stages and then the head")
    return indices


class Backbone(BaseModule):
    """What the backbones here share: `out_channels`, pretrained weights that must fit, `norm_eval`.

    init_cfg: None, or dict(type='Pretrained', checkpoint=..., prefix=...): see `gemnet.weights.load_weights`, which reads it
    safely and raises WeightsError where it does not fit.
    """

    out_channels: tuple[int, ...]
    unused_weights: tuple[str, ...] = ()  # regular expressions of the network's weights that are not built

    def __init__(self, norm_eval: bool = False, init_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(init_cfg)
        if init_cfg is not None and init_cfg.get("type") != "Pretrained":
            raise UserError(f"init_cfg={init_cfg}: expected None or dict(type='Pretrained', checkpoint=...)")
        self.norm_eval = norm_eval

    def network(self) -> nn.Module:
        """The module whose weights are named as in a checkpoint of the network alone."""
        return self

    def init_weights(self) -> None:
        """Load the pretrained weights, if any; without them the initialisation of the network stays."""
        if self.init_cfg is not None:
            load_weights(self.network(), self.init_cfg["checkpoint"], self.init_cfg.get("prefix"), self.unused_weights)
        self._is_init = True

    def freeze(self) -> None:
        """Put what is frozen into evaluation mode and its parameters out of training."""

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        self.freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@MODELS.register_module()
class GEMNet(Backbone):
    """Stem, stages of cells and the head convolution, as a pyramid of features. Weights are named as in timm's model.

    arch: 'a' or 'b'; or cell: a cell file with target_macs, target_params, residual (see `resolve_architecture`).
    out_indices: stages 0 to 4 (strides 2 to 32) and 5, the head's 1x1 convolution (stride 32); what none needs is not built.
    frozen_stages: -1 none, 0 the stem, n the stem and the first n stages. norm_eval: normalisation in evaluation mode.
    with_cp: recompute stages in the backward pass to save memory; normalisation then takes in its statistics twice a step, as
    in mmdet's ResNet. norm_cfg: mmcv's, as dict(type='SyncBN').
    """

    def __init__(
        self,
        arch: str | None = None,
        cell: str | os.PathLike[str] | None = None,
        target_macs: float = 463e6,
        target_params: float | None = None,
        residual: bool = False,
        in_channels: int = 3,
        out_indices: Sequence[int] = OUT_INDICES,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(norm_eval, init_cfg)
        network_architecture = resolve_architecture(arch, cell, target_macs, target_params, residual)
        stages = len(network_architecture.widths)
        if not -1 <= frozen_stages <= stages:
            raise UserError(f"frozen_stages={frozen_stages}: expected -1 (none), 0 (stem) or up to {stages} stages")
        self.out_indices = _checked(out_indices, network_architecture)
        self.out_channels = tuple(out_channels(network_architecture, out_indices))
        self.frozen_stages = frozen_stages
        norm = {"type": "BN", **(norm_cfg or {})}
        network = Network(
            network_architecture,
            num_classes=0,
            global_pool="",
            in_chans=in_channels,
            norm_layer=lambda channels, **dd: build_norm_layer(norm, channels)[1],
        )
        network.set_grad_checkpointing(with_cp)
        self.stem = network.stem
        self.stages = network.stages[: self.out_indices[-1] + 1]
        self.head_conv = network.head_conv if self.out_indices[-1] == stages else nn.Identity()
        not_built = [rf"stages\.{index}\." for index in range(len(self.stages), stages)]
        self.unused_weights = ("classifier", "head_conv", *not_built) if self.out_indices[-1] < stages else ("classifier",)
        self.freeze()

    def freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.stem, *self.stages[: self.frozen_stages]):
            module.eval()
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [B, in_channels, H, W] -> features [B, out_channels[i], H / stride, W / stride], rounded up."""
        x, outputs = self.stem(x), []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                outputs.append(x)
        if len(self.stages) in self.out_indices:
            outputs.append(self.head_conv(x))
        return tuple(outputs)
