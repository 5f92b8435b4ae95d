"""Normalisation, activation and pooling by timm's names, as well as by class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from timm.layers import create_act_layer, get_norm_layer
from torch import nn

from gemnet.core.errors import UserError

POOLS = ("avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax", "")
"""timm's global poolings; '' for none."""
NORMS = (
    "batchnorm", "batchnorm2d", "groupnorm", "groupnorm1", "layernorm2d", "layernorm2dfp32", "rmsnorm2d", "rmsnorm2dfp32",
    "simplenorm2d", "simplenorm2dfp32", "frozenbatchnorm2d",
)  # fmt: skip
"""Of timm's normalisations those that take maps [B, C, H, W]."""
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "prelu", "celu", "selu", "gelu", "gelu_tanh", "quick_gelu", "silu", "swish", "mish",
    "sigmoid", "tanh", "hard_sigmoid", "hard_swish", "hard_mish", "identity",
)  # fmt: skip
"""Names to tell; timm's own list decides."""

Layer = Callable[..., nn.Module]


def activation(layer: str | Layer, device: Any = None, dtype: Any = None) -> Layer:
    """`layer` as a function of `inplace`: a name of timm's, or a callable, with an argument `inplace` or without.

    Raises UserError for a name that timm does not know, or what is neither.
    """
    if isinstance(layer, nn.Module) or not (isinstance(layer, str) or callable(layer)):
        raise UserError(f"act_layer={layer!r}: expected a name as 'relu', or a class as torch.nn.ReLU")

    def build(inplace: bool = True) -> nn.Module:
        return create_act_layer(layer, inplace=inplace).to(device=device, dtype=dtype)

    try:
        found = create_act_layer(layer)
    except KeyError:
        found = None
    if found is None:
        raise UserError(f"act_layer={layer!r}: {_near(str(layer), ACTIVATIONS)}")
    return build


def normalisation(layer: str | Layer) -> Layer:
    """`layer` as a function of the channels, `device` and `dtype`: a name of timm's, or a callable that takes the channels.

    Raises UserError for a name that is not in NORMS, and, when called, for channels that it does not take.
    """
    if isinstance(layer, nn.Module) or not (isinstance(layer, str) or callable(layer)):
        raise UserError(f"norm_layer={layer!r}: expected a name as 'batchnorm2d', or a class as torch.nn.BatchNorm2d")
    kind: Layer
    if isinstance(layer, str):
        name = layer.replace("_", "").lower()
        try:
            named = get_norm_layer(name) if name in NORMS else None
        except KeyError:  # an older timm
            named = None
        if named is None:
            raise UserError(f"norm_layer={layer!r}: {_near(layer, NORMS)}")
        kind = named
    else:
        kind = layer
    parameters = inspect.signature(kind).parameters.values()
    takes_place = any(p.name == "device" or p.kind is p.VAR_KEYWORD for p in parameters)

    def build(channels: int, device: Any = None, dtype: Any = None) -> nn.Module:
        try:
            if takes_place:
                return kind(channels, device=device, dtype=dtype)
            return kind(channels).to(device=device, dtype=dtype)
        except ValueError as error:
            raise UserError(f"norm_layer={layer!r}: not for {channels} channels ({error})") from error

    return build


def _near(found: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(str(found), known, 1)
    return "".join(f"did you mean {name!r}? " for name in near) + f"expected a class, or one of {', '.join(known)}"
