"""GEMNet: a network whose every stage repeats one searched cell (NASGEM, AAAI 2021), by timm's conventions.

The order of computation is fixed when the module is built; `forward` holds no graph logic, so that it scripts, traces,
exports and compiles. TorchScript and torch.fx want annotations as types, not as text: hence no `from __future__` here.
"""

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, List, Tuple, Union

import torch
import torch.nn.functional as F
from timm.layers import DropPath, calculate_drop_path_rates, create_classifier
from timm.models import checkpoint_seq
from torch import Tensor, nn

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.core.errors import UserError
from gemnet.core.settings import Setting
from gemnet.initialisation import BRANCH_SCALE, check_scheme, initialise, scale_last_normalisation
from gemnet.layer_names import POOLS, activation, normalisation
from gemnet.layers import ConvNormAct
from gemnet.operators import operator

SETTINGS = {
    "num_classes": Setting("of the classifier; 0: none", int, at_least=0),
    "in_chans": Setting("channels of an image", int, at_least=1),
    "drop_rate": Setting("share of the features that dropout leaves out", float, at_least=0, at_most=1),
    "drop_path_rate": Setting("how often the last cell is left out in training", float, at_least=0, below=1),
}
"""Numbers that a network takes."""
is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # torch 2.6 has none


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

    def __init__(
        self, cell: Cell, in_channels: int, width: int, residual: bool = False, drop_path: float = 0.0, **layers: Any
    ) -> None:
        super().__init__()
        cell = cell.pruned()
        nodes = []
        for name, before in zip(cell.nodes[1:], cell.predecessors[1:]):
            channels = sum(in_channels if u == 0 else width for u in before)
            nodes.append(CellNode(operator(name).build(channels, width, **layers), before))
        self.nodes = nn.ModuleList(nodes)
        self.width = width
        self.leaves = list(cell.leaves)
        self.residual = residual and in_channels == width * len(self.leaves)
        self.drop_path = DropPath(drop_path) if self.residual and drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, leaves x width, H, W]."""
        states = [x]
        for node in self.nodes:
            states.append(node(states))
        out = states[self.leaves[0]] if len(self.leaves) == 1 else torch.cat([states[i] for i in self.leaves], dim=1)
        return self.drop_path(out) + x if self.residual else out


class CeilMaxPool2d(nn.MaxPool2d):
    """2x2 max-pool in ceil mode: odd maps round up, as a stride-2 convolution does, and no map vanishes."""

    def __init__(self) -> None:
        super().__init__(2, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        if not torch.jit.is_scripting() and (_free(x.shape[2]) or _free(x.shape[3])):
            # torch.export cannot prove what ceil mode takes for granted; padded, the same is plain.
            return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 2)
        return F.max_pool2d(x, 2, 2, ceil_mode=True)


@torch.jit.unused
def _free(side: int) -> bool:
    """Whether a height or width has no number while torch.export traces; in its strict mode, nothing tells which have none."""
    traced = isinstance(side, torch.SymInt)  # not in the signature: TorchScript reads that, and knows no SymInt
    return traced or (torch.compiler.is_dynamo_compiling() and is_exporting())


class Stage(nn.Module):
    """An optional 2x2 max-pool, then equal cells in a row. `drop_paths`: the rate of stochastic depth, a cell each."""

    def __init__(
        self, architecture: Architecture, index: int, in_channels: int, drop_paths: list[float], **layers: Any
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.pool = CeilMaxPool2d() if index else nn.Identity()
        out_channels = architecture.stage_channels[index]
        channels = [in_channels] + [out_channels] * (architecture.depths[index] - 1)
        width = architecture.widths[index]
        self.cells = nn.Sequential(
            *(
                CellModule(architecture.cell, c, width, architecture.residual, rate, **layers)
                for c, rate in zip(channels, drop_paths, strict=True)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, leaves x width, ceil(H / 2), ceil(W / 2)]; the first stage keeps H and W."""
        x = self.pool(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.cells, x)
        return self.cells(x)


def take_indices(count: int, indices: Union[int, List[int], None]) -> Tuple[List[int], int]:  # noqa: UP007 - TorchScript
    """Choose maps by number, for TorchScript as well.

    Args:
        count: of the maps.
        indices: the last n for a number n, all for None; negative ones count from the end.

    Returns:
        the numbers of the chosen maps, and the highest of them.

    Raises:
        ValueError: that names the range.
    """
    if indices is None:
        indices = count
    take: List[int] = []
    if isinstance(indices, int):
        if not 0 < indices <= count:
            raise ValueError(
                f"indices={indices}: expected the last 1 to {count}, or a list of numbers from {-count} to {count - 1}"
            )
        for index in range(count - indices, count):
            take.append(index)
    else:
        for index in indices:
            if not -count <= index < count:
                raise ValueError(f"index {index} is out of range; expected numbers from {-count} to {count - 1}")
            take.append(index + count if index < 0 else index)
        if len(take) == 0:
            raise ValueError(f"no index is given; expected numbers from {-count} to {count - 1}")
    return take, max(take)


class GEMNet(nn.Module):
    """Stem, stages of cells, 1x1 head convolution, pool, classifier.

    architecture: what to build. num_classes: 0 for no classifier. global_pool: one of POOLS; '' for none, then num_classes must
    be 0 and the output is a map. drop_rate: dropout before the classifier. drop_path_rate: stochastic depth of the last cell,
    falling linearly to 0 at the first; it acts on cells with a residual connection, and is refused where there is none.
    output_stride: only the network's own is offered.
    norm_layer, act_layer: timm's names, or callables, see `gemnet.layer_names`.
    Raises UserError, a ValueError, for what is not offered.
    """

    if TYPE_CHECKING:
        pretrained_cfg: dict[str, Any]  # timm's, where it has built the network; TorchScript is to see no annotation

    __jit_unused_properties__ = ("_model_args",)

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        output_stride: int | None = None,
        norm_layer: str | Callable[..., nn.Module] = nn.BatchNorm2d,
        act_layer: str | Callable[..., nn.Module] = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        placed = {"device": device, "dtype": dtype}
        layers = {"norm_layer": normalisation(norm_layer), "act_layer": activation(act_layer, **placed), **placed}
        stride, reduction = architecture.stride, architecture.stem_stride
        if output_stride not in (None, stride):
            raise UserError(f"output_stride={output_stride} is not offered: GEMNet cannot dilate; expected {stride}")
        given = {"num_classes": num_classes, "in_chans": in_chans, "drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        for name, value in given.items():
            SETTINGS[name].check(name, value)
        self.architecture = architecture
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = architecture.num_features

        self.stem = ConvNormAct(in_chans, architecture.stem_width, 3, stride=architecture.stem_stride, **layers)
        self.feature_info = []
        blocks, channels = [], architecture.stem_width
        drop_paths: list[float] = calculate_drop_path_rates(  # type: ignore[assignment]  # lists of lists are stagewise ones
            drop_path_rate, sum(architecture.depths)
        )
        for index, depth in enumerate(architecture.depths):
            before = sum(architecture.depths[:index])
            blocks.append(Stage(architecture, index, channels, drop_paths[before : before + depth], **layers))
            channels = architecture.stage_channels[index]
            self.feature_info.append({"num_chs": channels, "reduction": reduction * 2**index, "module": f"stages.{index}"})
        self.stages = nn.Sequential(*blocks)
        if drop_path_rate and not any(cell.residual for cell in self.stages.modules() if isinstance(cell, CellModule)):
            raise UserError(
                f"drop_path_rate={drop_path_rate}: it drops what a residual connection passes by, and this network has none;"
                " build it with residual=True, or leave drop_path_rate out"
            )
        self.head_conv: nn.Module = nn.Identity()
        if architecture.head_width:
            self.head_conv = ConvNormAct(channels, architecture.head_width, 1, **layers)
        self._set_classifier(num_classes, global_pool, **placed)
        self.head_drop = nn.Dropout(drop_rate)
        self.init_weights()

    @torch.jit.ignore
    def init_weights(self, scheme: str = "fan_out") -> None:
        """Draw all weights anew: He initialisation by fan-out, and linear layers from N(0, 0.01).

        An operator with a method `init_weights` then starts as that says. Raises UserError for a scheme that is not in
        `gemnet.initialisation.SCHEMES`.
        """
        check_scheme(scheme)
        for module in self.modules():
            initialise(module, scheme)
        for module in self.modules():
            if isinstance(module, CellNode) and callable(init := getattr(module.operator, "init_weights", None)):
                init()
        if scheme == "small_branch":
            for module in self.modules():
                if isinstance(module, CellModule) and module.residual:
                    for leaf in module.leaves:
                        scale_last_normalisation(module.nodes[leaf - 1], BRANCH_SCALE)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Group parameters into layers for layer-wise learning rates: stem, then each stage (coarse) or cell, then the head."""
        if coarse:
            return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}
        return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)\.cells\.(\d+)", None), (r"^head_conv", (99999,))]}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for stage in self.stages:
            if isinstance(stage, Stage):
                stage.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier on the network, on its device, in its dtype and in its mode.

        Args:
            num_classes: 0 for no classifier.
            global_pool: None keeps the pooling, or for a new classifier takes `avg` where there was none; '' removes it (then
                `num_classes` must be 0).

        Raises:
            UserError: for what is not offered; then nothing is changed.
        """
        SETTINGS["num_classes"].check("num_classes", num_classes)
        weight = self.stem.conv.weight
        pool = global_pool
        if pool is None:
            pool = self.global_pool.pool_type or ("avg" if num_classes else "")
        self._set_classifier(num_classes, pool, device=weight.device, dtype=weight.dtype)
        self.num_classes = num_classes
        self.global_pool.train(self.training)
        self.classifier.train(self.training)

    @torch.jit.ignore
    def _set_classifier(self, num_classes: int, pool: str, **placed: Any) -> None:
        if pool not in POOLS:
            raise UserError(f"global_pool={pool!r} is not offered; expected {', '.join(map(repr, POOLS))}")
        if num_classes and not pool:
            raise UserError(
                f"global_pool='': a classifier of {num_classes} classes reads pooled features; set num_classes=0 for the map,"
                " or a pooling as global_pool='avg'"
            )
        self.global_pool, self.classifier = create_classifier(self.num_features, num_classes, pool_type=pool, **placed)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    @property
    def _model_args(self) -> dict[str, Any]:
        """What timm rebuilds the model from: `create_model` keeps its arguments here, and `save_for_hf` writes them."""
        return self.__dict__.get("_given", {})

    @_model_args.setter
    def _model_args(self, given: dict[str, Any]) -> None:
        if "cell" in given:  # itself, whatever named it: a file, or a Cell, is nowhere else
            given = {**given, "cell": json.loads(self.architecture.cell.to_json())}
        self.__dict__["_given"] = given

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Compute features after stages, as in timm.

        Args:
            x: images [B, in_chans, H, W].
            indices: the last n stages if an int, all if None.
            norm: changes nothing: there is no last normalisation.
            stop_early: leave out what comes after the last of these stages.
            output_fmt: NCHW.
            intermediates_only: leave out the first of what is returned.

        Returns:
            what `forward_features` returns, or the last features where it stopped early; then a list of the stages' features,
            [B, C_i, H_i, W_i] each.

        Raises:
            ValueError: for indices out of range, or another format.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt {output_fmt} is not offered; expected NCHW")
        take, last = take_indices(len(self.stages), indices)
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
        take, last = take_indices(len(self.stages), indices)
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
