"""Models of timm and torchvision by one kind of name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torchvision
from timm.models.efficientnet import (  # private to timm: no public function takes any width
    _gen_efficientnet,
    _gen_mobilenet_v1,
    _gen_mobilenet_v2,
)
from timm.models.mobilenetv3 import _gen_mobilenet_v4
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gemnet.core.errors import UserError


def create_library_model(model: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build the model `timm/NAME` or `torchvision/NAME`; kwargs are its own. Raises UserError for a name that is not known."""
    library, _, name = model.partition("/")
    try:
        if library == "timm":
            return timm.create_model(name, pretrained=pretrained, **kwargs)
        if library == "torchvision":
            return torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None, **kwargs)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"model={model!r}: {error}") from error
    raise UserError(f"model={model!r}: expected timm/NAME or torchvision/NAME")


def set_bn_momentum(model: nn.Module, momentum: float) -> nn.Module:
    """Give all batch normalisation of `model` this momentum, in place: torchvision's MnasNet has .0003 of its own, with which a
    short training ends before its statistics have moved."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = momentum
    return model


SCALABLE: dict[str, Callable[[float, int], nn.Module]] = {
    "timm/mobilenetv2_100": lambda width, classes: _gen_mobilenet_v2("mobilenetv2_100", width, num_classes=classes),
    "timm/mobilenetv1_100": lambda width, classes: _gen_mobilenet_v1("mobilenetv1_100", width, num_classes=classes),
    "timm/efficientnet_b0": lambda width, classes: _gen_efficientnet("efficientnet_b0", width, num_classes=classes),
    "timm/mobilenetv4_conv_small": lambda width, classes: _gen_mobilenet_v4(
        "mobilenetv4_conv_small", width, num_classes=classes
    ),
    "torchvision/mnasnet1_0": lambda width, classes: torchvision.models.MNASNet(width, num_classes=classes, dropout=0.0),
}
"""Models that can be had in any width, by name: made with a factor on their channels for a number of classes."""


def create_scaled_model(model: str, width: float, num_classes: int, in_chans: int = 3) -> nn.Module:
    """Build one of SCALABLE for small images: its first convolution has stride 1.

    Args:
        model: its name.
        width: the factor on its channels.
        num_classes: of its classifier.
        in_chans: channels of an image, 3 or 1.
    """
    network = SCALABLE[model](width, num_classes)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    first.stride = (1, 1)
    if in_chans == 1:  # as timm has it: what it would give for a grey image in three channels
        first.weight, first.in_channels = nn.Parameter(first.weight.detach().sum(1, keepdim=True)), 1
    return network
