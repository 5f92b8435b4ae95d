"""Settings that several encoders have, described once, and the check of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch

from gemnet.core.settings import Setting
from search.core.types import SearchError

MAX_WIDTH = 65_536
"""Of a layer: no saved description may ask for more."""

Dim = Annotated[int, Setting("length d of a cell's vector", at_least=1, at_most=MAX_WIDTH)]
Hidden = Annotated[
    Sequence[int],
    Setting(
        "widths of the layers between what is read and the vector, mirrored in the decoder",
        item=Setting("", int, at_least=1, at_most=MAX_WIDTH),
    ),
]
Iterations = Annotated[int, Setting("Adam steps of the training", at_least=1)]
Batch = Annotated[int, Setting("cells of a step", at_least=1)]
LearningRate = Annotated[float, Setting("learning rate at its highest", above=0)]
Epochs = Annotated[int, Setting("passes over the cells", at_least=1)]
H = Annotated[int, Setting("iterations of the Weisfeiler-Lehman kernel", at_least=0)]
Device = Annotated[str, Setting("where torch trains and embeds, such as 'cpu' or 'cuda:0'")]


def check_device(device: str) -> None:
    """Raises SearchError where torch cannot compute on `device`."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SearchError(f"encoder: device: {device!r} cannot be used: {str(error).splitlines()[0]}") from None
