"""Initialisations of convolutions and linear layers, by name: `GEMNet.init_weights` takes the name.

The default is the first. The others are for comparison: `gemnet recipe` trains with each of them.
"""

from __future__ import annotations

import math

from torch import nn

from gemnet.core.errors import UserError

SCHEMES = ("fan_out", "fan_in", "pytorch", "small_branch")
"""fan_out: He's, by the outputs that a weight feeds; a channel of a depthwise convolution feeds k x k. fan_in: He's, by the
inputs of an output. pytorch: as the layers of PyTorch start. small_branch: fan_out, and residual branches start at
BRANCH_SCALE."""
BRANCH_SCALE = 0.2
"""Of the last normalisation of a residual branch. Not 0: most operators end in a ReLU, which then passes no gradient on."""


def check_scheme(scheme: str) -> None:
    """Raises UserError, a ValueError, for a name that is not in SCHEMES."""
    if scheme not in SCHEMES:
        raise UserError(f"initialisation {scheme!r}: expected one of {', '.join(SCHEMES)}")


def initialise(module: nn.Module, scheme: str) -> None:
    """Draw the weights of one layer, and nothing of those in it; normalisation is reset with its statistics.

    Args:
        module: any; what is no layer stays.
        scheme: one of SCHEMES; `small_branch` is `fan_out` here.
    """
    if isinstance(module, (nn.Conv2d, nn.Linear)) and scheme == "pytorch":
        module.reset_parameters()
    elif isinstance(module, nn.Conv2d):
        ends = module.in_channels if scheme == "fan_in" else module.out_channels
        fan = module.kernel_size[0] * module.kernel_size[1] * ends // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif (reset := getattr(module, "reset_parameters", None)) is not None:
        reset()


def scale_last_normalisation(branch: nn.Module, scale: float) -> None:
    """Set the weights of the last normalisation in `branch` to `scale`; where there is none, nothing."""
    norms = [module for module in branch.modules() if getattr(module, "running_var", None) is not None]
    weight = getattr(norms[-1], "weight", None) if norms else None
    if isinstance(weight, nn.Parameter):
        nn.init.constant_(weight, scale)
