"""The models by name, as data: all that timm, MMDetection, export, benchmark and trial know of them is read from here.

A model more is one entry of MODELS beside its cell in `gemnet/cells`, or, outside of the package, a call of
`gemnet.register_model`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from gemnet.core.errors import UserError


class ModelEntry(NamedTuple):
    """A cell, and the network that is made of it.

    name: timm's, as "gemnet_a". title: as people write it. cell: the name of a shipped cell, or a cell file.
    macs, params: the budget, at 224x224 with 1,000 classes; params None: as many as come.
    widths, depths, head_width: of the network, see `gemnet.Architecture`; without widths, `gemnet.fit` chooses all three for
        the budget. stem_width, residual: of the network as well.
    source: what the budget is from.
    """

    name: str
    title: str
    cell: str | os.PathLike[str]
    macs: float
    params: float | None = None
    widths: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    head_width: int = 0
    stem_width: int = 32
    residual: bool = True
    source: str = ""
    weights: str = ""


DISTILLED = "tiny_imagenet_distilled"
PAPER = "NASGEM, AAAI 2021, Table 1"
MODELS = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "gemnet_a", "GEMNet-A", "gemnet_a", macs=463e6, params=4.3e6, source=PAPER, weights=DISTILLED,
            widths=(16, 32, 136, 280, 552), depths=(1, 1, 1, 5, 1), head_width=1032,
        ),
        ModelEntry(
            "gemnet_b", "GEMNet-B", "gemnet_b", macs=563e6, params=4.5e6, source=PAPER, weights=DISTILLED,
            widths=(8, 24, 88, 168, 336), depths=(1, 1, 2, 6, 1), head_width=1040,
        ),
        ModelEntry(
            "gemnet_a_small", "GEMNet-A small", "gemnet_a", macs=230e6, params=3e6, source="half of GEMNet-A's",
            weights=DISTILLED, widths=(8, 24, 48, 184, 360), depths=(1, 1, 1, 6, 1), head_width=1048, residual=False,
        ),
    )
}  # fmt: skip
"""The models that ship, then those that are registered."""


def short_names() -> dict[str, str]:
    """The names by which MMDetection's users call the models, as "a" -> "gemnet_a"."""
    return {name.removeprefix("gemnet_"): name for name in MODELS}


SCHEME = "gemnet"
"""Configs name a model's weights `gemnet://gemnet_a`, so that they hold on any machine."""


def shipped_weights() -> list[str]:
    """Names of the models whose weights ship."""
    return [name for name, entry in MODELS.items() if entry.weights]


def weights_file(name: str) -> Path:
    """The file of a model's weights. Raises UserError where none ship for it, with the models that have some."""
    if name not in shipped_weights():
        raise UserError(f"{name}: no weights ship for it; there are weights of {', '.join(shipped_weights())}")
    return Path(__file__).with_name("pretrained") / f"{name}.{MODELS[name].weights}.safetensors"


def weights_address(name: str) -> str:
    """What a config calls the weights of a model."""
    return f"{SCHEME}://{name}"
