"""timm's entry points: `gemnet_a`, `gemnet_b`, and `gemnet` for any cell at any budget."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.core.errors import UserError
from gemnet.weights import fitting_weights

if TYPE_CHECKING:
    from gemnet.network import GEMNet


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000, "input_size": (3, 224, 224), "pool_size": (7, 7), "crop_pct": 0.875, "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD, "first_conv": "stem.conv", "classifier": "classifier",
        "license": "apache-2.0", "paper_ids": "arXiv:2007.04452", **kwargs,
    }  # fmt: skip


default_cfgs = generate_default_cfgs({"gemnet_a.untrained": _cfg(), "gemnet_b.untrained": _cfg(), "gemnet.untrained": _cfg()})


class UnknownSettingError(UserError, TypeError):
    """A keyword that a model does not take; the message names those that it takes."""


def _names(function: Callable[..., Any]) -> list[str]:
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _gemnet(variant: str, pretrained: bool, network: Architecture, **kwargs: Any) -> GEMNet:
    """Build the network with timm; kwargs are `create_model`'s and `GEMNet`'s. Raises UnknownSettingError for any other."""
    from gemnet.network import GEMNet  # here, so that timm can import this module while the network imports timm

    settings = [*_names(GEMNet)[1:], "features_only", "out_indices", "feature_cls"]
    builders = _names(build_model_with_cfg)[3:]  # timm's own, as pretrained_cfg_overlay and cache_dir
    unknown = [name for name in kwargs if name not in settings and name not in builders]
    if unknown:
        of_gemnet = [name for name in unknown if name in _names(gemnet)]
        told = f"; {', '.join(of_gemnet)}: only of the model gemnet" if of_gemnet and variant != "gemnet" else ""
        known = [*(_names(gemnet)[1:] if variant == "gemnet" else []), *settings]
        near = [f"; did you mean {match}?" for name in unknown for match in get_close_matches(name, known, 1)]
        raise UnknownSettingError(f"{variant} takes no {', '.join(unknown)}{''.join(near)}{told}; expected {', '.join(known)}")
    features = kwargs.get("features_only", False)
    if features:
        if "out_indices" in kwargs:
            kwargs["out_indices"] = _ordered(kwargs["out_indices"], len(network.widths))
        if kwargs.get("global_pool") == "":
            kwargs["num_classes"] = 0  # there will be no classifier
    feature_cfg = {"flatten_sequential": True, **kwargs.pop("feature_cfg", {})}
    kwargs.setdefault("pretrained_filter_fn", checkpoint_filter_fn)
    return build_model_with_cfg(GEMNet, variant, pretrained, architecture=network, feature_cfg=feature_cfg, **kwargs)


def _ordered(out_indices: int | Sequence[int], count: int) -> int | tuple[int, ...]:
    """`out_indices` in the order in which timm gives the maps, so that `feature_info` has the same. Raises UserError."""
    told = (
        f"out_indices={out_indices!r}: expected the last 1 to {count} maps as a number, or numbers from {-count} to {count - 1}"
    )
    if type(out_indices) is int:
        if not 1 <= out_indices <= count:
            raise UserError(told)
        return out_indices
    if not isinstance(out_indices, Sequence) or not out_indices or any(type(index) is not int for index in out_indices):
        raise UserError(told)
    if any(not -count <= index < count for index in out_indices):
        raise UserError(told)
    return tuple(dict(sorted((index % count, index) for index in out_indices)).values())


def checkpoint_filter_fn(state: dict[str, Any], model: GEMNet) -> dict[str, Tensor]:
    """What timm loads with `pretrained=True` from a checkpoint of any library: see `gemnet.weights.fitting_weights`.

    A classifier for the model's number of classes is taken, whatever number the pretrained_cfg has.
    """
    found = fitting_weights(state, model)
    weight = found.get("classifier.weight")
    if weight is not None and len(weight) == model.num_classes:
        cast(dict[str, Any], model.pretrained_cfg)["num_classes"] = model.num_classes
    return found


def architecture(name: str) -> Architecture:
    """The architecture of a shipped model, `gemnet_a` or `gemnet_b` (NASGEM, Table 1). Raises ValueError for another name."""
    if name == "gemnet_a":  # within the paper's 4.3 M params and 463 M MACs at 224x224
        return Architecture(
            Cell.shipped(name), (16, 32, 136, 280, 552), (1, 1, 1, 5, 1), stem_width=32, head_width=1032, residual=True
        )
    if name == "gemnet_b":  # within the paper's 4.5 M params and 563 M MACs
        return Architecture(
            Cell.shipped(name), (8, 24, 88, 168, 336), (1, 1, 2, 6, 1), stem_width=32, head_width=1040, residual=True
        )
    raise ValueError(f"no model is called {name!r}; expected gemnet_a or gemnet_b")


@register_model
def gemnet_a(pretrained: bool = False, **kwargs: Any) -> GEMNet:
    """GEMNet-A, within 4.3 M params and 463 M MACs at 224x224 (NASGEM, Table 1)."""
    return _gemnet("gemnet_a", pretrained, architecture("gemnet_a"), **kwargs)


@register_model
def gemnet_b(pretrained: bool = False, **kwargs: Any) -> GEMNet:
    """GEMNet-B, within 4.5 M params and 563 M MACs at 224x224 (NASGEM, Table 1)."""
    return _gemnet("gemnet_b", pretrained, architecture("gemnet_b"), **kwargs)


@register_model
def gemnet(
    pretrained: bool = False,
    cell: Cell | Mapping[str, Any] | str | os.PathLike[str] = "gemnet_a",
    target_macs: float = 463e6,
    target_params: float | None = None,
    residual: bool = False,
    **kwargs: Any,
) -> GEMNet:
    """The ImageNet network of any cell, fitted to a budget.

    cell: a Cell, a cell file or what it holds, or the name of a shipped cell. target_macs: at 224x224 with 1,000 classes;
    target_params: with 1,000 classes. residual: add a cell's input to its output where both have the same channels. Raises
    CellError for a cell that is not valid, BudgetError for a budget out of reach.
    """
    fitted = fit(Cell.resolve(cell), target_macs, target_params, residual=residual).architecture
    return _gemnet("gemnet", pretrained, fitted, **kwargs)
