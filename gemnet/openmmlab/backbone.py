"""GEMNet as a backbone for MMDetection and MMPretrain: `type='gemnet.GEMNet'`."""

from __future__ import annotations

import numbers
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, PretrainedInit, initialize
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.core.errors import UserError
from gemnet.model_table import MODELS as TABLE
from gemnet.model_table import short_names
from gemnet.models import architecture
from gemnet.network import GEMNet as Network
from gemnet.openmmlab.addresses import resolve
from gemnet.openmmlab.registry import MODELS
from gemnet.weights import load_weights

OUT_INDICES = (1, 2, 3, 5)


def whole(name: str, value: Any, low: int, high: float, expected: str) -> int:
    """`value` as an int. Raises UserError by `name` where it is no whole number from `low` to `high`; True and 1.0 are none."""
    try:
        number: int | None = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not low <= number <= high:
        raise UserError(f"{name}={value!r}: expected {expected}")
    return number


def positive(name: str, value: Any) -> float:
    """`value` as a float. Raises UserError by `name` where it is no finite number above 0."""
    number = 0.0 if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    if not 0 < number < float("inf"):
        raise UserError(f"{name}={value!r}: expected a number above 0")
    return number


def flag(name: str, value: Any) -> bool:
    """`value`, which is True or False. Raises UserError by `name` where it is anything else, as 'False' or 1."""
    if type(value).__name__ not in ("bool", "bool_"):  # Python's, NumPy's
        raise UserError(f"{name}={value!r}: expected True or False")
    return bool(value)


def resolve_architecture(
    arch: str | None = None,
    cell: Cell | str | os.PathLike[str] | None = None,
    target_macs: float = 463e6,
    target_params: float | None = None,
    residual: bool = False,
) -> Architecture:
    """The architecture of the model `arch`, as 'a' or 'gemnet_a', or of `cell` fitted to a budget (224x224, 1,000 classes).

    Raises UserError unless exactly one of the two is given, CellError and BudgetError as `create_model('gemnet')` does.
    """
    target_macs, residual = positive("target_macs", target_macs), flag("residual", residual)
    target_params = None if target_params is None else positive("target_params", target_params)
    if arch is not None and cell is None:
        name = short_names().get(arch, arch) if isinstance(arch, str) else None
        if name not in TABLE:
            raise UserError(f"arch={arch!r}: expected {_archs()}; for a cell of your own, cell='file.json'")
        return architecture(name)
    if cell is not None and arch is None:
        return fit(Cell.resolve(cell), target_macs, target_params, residual=residual).architecture
    raise UserError(f"arch={arch!r} and cell={cell!r}: expected one of the two, arch={_archs()}, or a cell file")


def _archs() -> str:
    return " or ".join(map(repr, short_names()))


def out_channels(
    network: Architecture | Cell | str | os.PathLike[str], out_indices: int | Iterable[int] = OUT_INDICES
) -> list[int]:
    """Channels of the feature maps at `out_indices` (see `GEMNet`): what a neck needs as `in_channels`.

    network: an Architecture, a model's `arch`, as 'a', or a cell (a Cell, a file, a shipped name) at the default budget.
    """
    if not isinstance(network, Architecture):
        if isinstance(network, str) and network in short_names():
            network = resolve_architecture(network)
        else:
            network = resolve_architecture(cell=network)
    channels = [*network.stage_channels, network.num_features]
    return [channels[index] for index in _checked(out_indices, network)]


def _checked(out_indices: int | Iterable[int], network: Architecture) -> tuple[int, ...]:
    """`out_indices` counted from 0, as a tuple."""
    last = len(network.widths) if network.head_width else len(network.widths) - 1
    one = isinstance(out_indices, (str, bytes)) or getattr(out_indices, "ndim", 1) == 0
    given = (out_indices,) if one or not isinstance(out_indices, Iterable) else out_indices
    expected = f"rising whole numbers from 0 to {last}, the stages and then the head, or from the end, -1 for the last"
    indices = tuple(whole("out_indices", index, -1 - last, last, expected) % (last + 1) for index in given)
    if not indices or list(indices) != sorted(set(indices)):
        raise UserError(f"out_indices={indices}: expected {expected}")
    return indices


def checked_init_cfg(init_cfg: Any) -> list[dict[str, Any]]:
    """An `init_cfg` of mmengine, none, one or a list, as a list in the order in which it is applied: pretrained weights last.

    Raises UserError by the entry that mmengine has no initialiser for, or that lacks its checkpoint.
    """
    entries = [init_cfg] if isinstance(init_cfg, Mapping) and init_cfg else init_cfg or []
    if not isinstance(entries, (list, tuple)):
        raise UserError(f"init_cfg={init_cfg!r}: expected a dict(type=...), or a list of such; a checkpoint is {PRETRAINED}")
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        if kind is PretrainedInit or kind == "Pretrained":
            unknown = sorted(set(entry) - {"type", "checkpoint", "prefix", "map_location", "_scope_"})
            if unknown or not isinstance(entry.get("checkpoint"), (str, os.PathLike)) or not str(entry["checkpoint"]):
                raise UserError(f"init_cfg={entry!r}: {f'{unknown[0]} is not known; ' if unknown else ''}expected {PRETRAINED}")
        elif not (isinstance(kind, type) or (isinstance(kind, str) and WEIGHT_INITIALIZERS.get(kind) is not None)):
            known = ", ".join(sorted(name for name in WEIGHT_INITIALIZERS.module_dict if not name.endswith("Init")))
            raise UserError(f"init_cfg={entry!r}: type={kind!r} is not known; expected one of {known}")
    return sorted((dict(entry) for entry in entries), key=_is_pretrained)


PRETRAINED = "dict(type='Pretrained', checkpoint=FILE or address, prefix='backbone.' or none)"


def _is_pretrained(entry: Mapping[str, Any]) -> bool:
    return entry["type"] is PretrainedInit or entry["type"] == "Pretrained"


class Backbone(BaseModule):
    """What the backbones here share: `out_channels`, pretrained weights that must fit, `norm_eval`.

    init_cfg: None, one of mmengine's or a list of them. dict(type='Pretrained', checkpoint=..., prefix=...) comes last: see
    `gemnet.weights.load_weights`, which reads it safely and raises WeightsError where it does not fit; checkpoint is a file, an
    http(s) address or one of `addresses.SCHEMES`. Others, as dict(type='Kaiming', layer='Conv2d'), are mmengine's.
    """

    out_channels: tuple[int, ...]
    unused_weights: tuple[str, ...] = ()  # regular expressions of the network's weights that are not built

    _is_init: bool  # mmengine's

    def __init__(self, norm_eval: bool = False, init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None) -> None:
        super().__init__(init_cfg)
        checked_init_cfg(init_cfg)
        self.norm_eval = flag("norm_eval", norm_eval)

    def network(self) -> nn.Module:
        """The module whose weights are named as in a checkpoint of the network alone."""
        return self

    def init_weights(self) -> None:
        """Do what `init_cfg` says, once; without it the initialisation of the network stays."""
        if self._is_init:
            return
        for entry in checked_init_cfg(self.init_cfg):
            if _is_pretrained(entry):
                load_weights(self.network(), resolve(entry["checkpoint"]), entry.get("prefix"), self.unused_weights)
                continue
            try:
                initialize(self.network(), entry)
            except (TypeError, ValueError, RuntimeError, AssertionError) as error:
                raise UserError(f"init_cfg={entry!r}: {error}") from error
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

    arch: a model, as 'a' or 'gemnet_a'; or cell: a cell file with target_macs, target_params, residual (see
    `resolve_architecture`).
    out_indices: stages 0 to 4 (strides 2 to 32) and 5, the head's 1x1 convolution (stride 32), or from the end, -1 for the
    last; one number or several rising ones; what none needs is not built.
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
        out_indices: int | Sequence[int] = OUT_INDICES,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(norm_eval, init_cfg)
        network_architecture = resolve_architecture(arch, cell, target_macs, target_params, residual)
        stages = len(network_architecture.widths)
        self.frozen_stages = whole("frozen_stages", frozen_stages, -1, stages, f"-1 (none), 0 (stem) or up to {stages} stages")
        self.out_indices = _checked(out_indices, network_architecture)
        self.out_channels = tuple(out_channels(network_architecture, self.out_indices))
        if norm_cfg is not None and not isinstance(norm_cfg, Mapping):
            raise UserError(f"norm_cfg={norm_cfg!r}: expected mmcv's, as dict(type='BN')")
        norm = {"type": "BN", **(norm_cfg or {})}
        network = Network(
            network_architecture,
            num_classes=0,
            global_pool="",
            in_chans=whole("in_channels", in_channels, 1, float("inf"), "a whole number from 1"),
            norm_layer=lambda channels, **dd: build_norm_layer(norm, channels)[1],
        )
        network.set_grad_checkpointing(flag("with_cp", with_cp))
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
