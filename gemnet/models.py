"""timm's entry points: the models of `gemnet.model_table` by name, and `gemnet` for any cell at any budget."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, is_model
from timm.models import register_model as register_with_timm
from torch import Tensor

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.core.errors import UserError
from gemnet.model_table import MODELS, ModelEntry, shipped_weights, weights_file
from gemnet.weights import fitting_weights

if TYPE_CHECKING:
    from gemnet.network import GEMNet


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000, "input_size": (3, 224, 224), "pool_size": (7, 7), "crop_pct": 0.875, "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD, "first_conv": "stem.conv", "classifier": "classifier",
        "license": "apache-2.0", "paper_ids": "arXiv:2007.04452", **kwargs,
    }  # fmt: skip


def _with_weights() -> dict[str, dict[str, Any]]:
    """The settings of the weights that ship, which timm takes by default."""
    described = (
        "distilled from EfficientNet-Lite2's answers to Tiny-ImageNet's images of 64x64 pixels; it names ImageNet-1k's classes "
        "and has seen 202 of them: a start for training on other images, not an ImageNet classifier"
    )
    return {
        f"{name}.{MODELS[name].weights}": _cfg(file=str(weights_file(name)), description=described)
        for name in shipped_weights()
    }


default_cfgs = generate_default_cfgs({**_with_weights(), **{f"{name}.untrained": _cfg() for name in (*MODELS, "gemnet")}})


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
        note = f"; {', '.join(of_gemnet)}: only of the model gemnet" if of_gemnet and variant != "gemnet" else ""
        known = [*(_names(gemnet)[1:] if variant == "gemnet" else []), *settings]
        near = [f"; did you mean {match}?" for name in unknown for match in get_close_matches(name, known, 1)]
        raise UnknownSettingError(f"{variant} takes no {', '.join(unknown)}{''.join(near)}{note}; expected {', '.join(known)}")
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
    """Put `out_indices` in the order in which timm gives the maps, so that `feature_info` has the same. Raises UserError."""
    error = UserError(
        f"out_indices={out_indices!r}: expected the last 1 to {count} maps as a number, or numbers from {-count} to {count - 1}"
    )
    if type(out_indices) is int:
        if not 1 <= out_indices <= count:
            raise error
        return out_indices
    if not isinstance(out_indices, Sequence) or not out_indices or any(type(index) is not int for index in out_indices):
        raise error
    if any(not -count <= index < count for index in out_indices):
        raise error
    return tuple(dict(sorted((index % count, index) for index in out_indices)).values())


def checkpoint_filter_fn(state: dict[str, Any], model: GEMNet) -> dict[str, Tensor]:
    """Take what timm loads with `pretrained=True` from a checkpoint of any library: see `gemnet.weights.fitting_weights`.

    A classifier for the model's number of classes is taken, whatever number the pretrained_cfg has. Half precision becomes
    float32, so that timm does not add up the channels of a stem in it.
    """
    found = fitting_weights(state, model)
    weights = {key: value.float() if value.is_floating_point() else value for key, value in found.items()}
    weight = weights.get("classifier.weight")
    if weight is not None and len(weight) == model.num_classes:
        model.pretrained_cfg["num_classes"] = model.num_classes
    return weights


def architecture(name: str) -> Architecture:
    """Make the architecture of a model of `gemnet.model_table`.

    Raises:
        UserError: for another name.
        CellError, BudgetError: where its cell is not valid, or cannot meet its budget.
    """
    if name not in MODELS:
        raise UserError(f"no model is called {name!r}; expected one of {', '.join(MODELS)}")
    entry = MODELS[name]
    cell = Cell.resolve(entry.cell)
    if not entry.widths:
        fitted = fit(cell, entry.macs, entry.params, stem_width=entry.stem_width, residual=entry.residual)
        return fitted.architecture
    return Architecture(
        cell, entry.widths, entry.depths, entry.stem_width, head_width=entry.head_width, residual=entry.residual
    )


def _entry_point(entry: ModelEntry) -> Callable[..., GEMNet]:
    """timm's function for a model, registered; it is this module's, by its name, so that it can be pickled."""

    def create(pretrained: bool = False, **kwargs: Any) -> GEMNet:
        return _gemnet(entry.name, pretrained, architecture(entry.name), **kwargs)

    params = f"{entry.params / 1e6:g} M params and " if entry.params else ""
    create.__name__ = create.__qualname__ = entry.name
    create.__doc__ = f"{entry.title}, within {params}{entry.macs / 1e6:g} M MACs at 224x224" + (
        f" ({entry.source})." if entry.source else "."
    )
    globals()[entry.name] = create
    return register_with_timm(create)


for _entry in MODELS.values():
    _entry_point(_entry)


def register_model(
    name: str,
    cell: str | os.PathLike[str],
    macs: float,
    params: float | None = None,
    title: str = "",
    residual: bool = True,
    source: str = "",
    **network: Any,
) -> None:
    """Give a model a name, for timm, MMDetection, export, benchmark and trial.

    Args:
        name: as "gemnet_c".
        cell: a cell file, or the name of a shipped cell; read when the model is built.
        macs: the budget at 224x224 with 1,000 classes.
        params: at most, with 1,000 classes; None leaves them free.
        title: as people write the name; the name itself if empty.
        residual: add a cell's input to its output where both have the same channels.
        source: what the budget is from.
        network: widths, depths, head_width and stem_width of the network; without widths, `fit` chooses for the budget.

    Raises:
        UserError: for a name that no function may have, or that another model has, and for other settings of a network.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"register_model: name={name!r}: expected letters, digits and underscores, as 'gemnet_c'")
    if name == "gemnet" or (name not in MODELS and (is_model(name) or name in globals())):
        raise UserError(f"register_model: name={name!r} is taken; expected another, as 'gemnet_c'")
    unknown = [key for key in network if key not in ("widths", "depths", "head_width", "stem_width")]
    if unknown:
        raise UserError(f"register_model: unknown {unknown[0]!r}; expected widths, depths, head_width or stem_width")
    entry = ModelEntry(name, title or name, cell, macs, params, residual=residual, source=source, **network)
    default_cfgs.update(generate_default_cfgs({f"{name}.untrained": _cfg()}))
    MODELS[name] = entry
    _entry_point(entry)


@register_with_timm
def gemnet(
    pretrained: bool = False,
    cell: Cell | Mapping[str, Any] | str | os.PathLike[str] = "gemnet_a",
    target_macs: float = 463e6,
    target_params: float | None = None,
    residual: bool = False,
    **kwargs: Any,
) -> GEMNet:
    """Build the ImageNet network of any cell, fitted to a budget.

    Args:
        pretrained: as timm's; there are no weights to be had.
        cell: a Cell, a cell file or what it holds, or the name of a shipped cell.
        target_macs: at 224x224 with 1,000 classes.
        target_params: with 1,000 classes; None leaves them free.
        residual: add a cell's input to its output where both have the same channels.
        kwargs: `create_model`'s and `GEMNet`'s.

    Raises:
        CellError: for a cell that is not valid.
        BudgetError: for a budget out of reach.
        UnknownSettingError: for any other argument.
    """
    fitted = fit(Cell.resolve(cell), target_macs, target_params, residual=residual).architecture
    return _gemnet("gemnet", pretrained, fitted, **kwargs)
