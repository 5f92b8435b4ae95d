"""timm's entry points: `gemnet_a`, `gemnet_b`, and `gemnet` for any cell at any budget."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import fit

if TYPE_CHECKING:
    from gemnet.network import GEMNet


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000, "input_size": (3, 224, 224), "pool_size": (7, 7), "crop_pct": 0.875, "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD, "first_conv": "stem.conv", "classifier": "classifier",
        "license": "apache-2.0", "paper_ids": "arXiv:2007.04452", **kwargs,
    }  # fmt: skip


default_cfgs = generate_default_cfgs({"gemnet_a.untrained": _cfg(), "gemnet_b.untrained": _cfg(), "gemnet.untrained": _cfg()})


def _gemnet(variant: str, pretrained: bool, network: Architecture, **kwargs: Any) -> GEMNet:
    from gemnet.network import GEMNet  # here, so that timm can import this module while the network imports timm

    feature_cfg = {"flatten_sequential": True, **kwargs.pop("feature_cfg", {})}
    return build_model_with_cfg(GEMNet, variant, pretrained, architecture=network, feature_cfg=feature_cfg, **kwargs)


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
    cell: Cell | str | os.PathLike[str] = "gemnet_a",
    target_macs: float = 463e6,
    target_params: float | None = None,
    residual: bool = False,
    **kwargs: Any,
) -> GEMNet:
    """The ImageNet network of any cell, fitted to a budget.

    cell: a Cell, a cell file, or the name of a shipped cell. target_macs: at 224x224 with 1,000 classes; target_params: with
    1,000 classes. residual: add a cell's input to its output where both have the same channels. Raises CellError for a cell
    that is not valid, BudgetError for a budget out of reach.
    """
    fitted = fit(Cell.resolve(cell), target_macs, target_params, residual=residual).architecture
    return _gemnet("gemnet", pretrained, fitted, **kwargs)
