"""Models of timm and torchvision by one kind of name."""

from __future__ import annotations

from typing import Any

import timm
import torchvision
from torch import nn

from gemnet.errors import UserError


def create_library_model(model: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The model `timm/NAME` or `torchvision/NAME`; kwargs are its own. Raises UserError for a name that is not known."""
    library, _, name = model.partition("/")
    try:
        if library == "timm":
            return timm.create_model(name, pretrained=pretrained, **kwargs)
        if library == "torchvision":
            return torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None, **kwargs)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"model={model!r}: {error}") from error
    raise UserError(f"model={model!r}: expected timm/NAME or torchvision/NAME")
