"""The models by name, as data: all that timm, MMDetection, export, benchmark and trial know of them is read from here.

A model more is one entry of MODELS beside its cell in `gemnet/cells`, or, outside of the package, a call of
`gemnet.register_model`.
"""

from __future__ import annotations

import os
from typing import NamedTuple


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


PAPER = "NASGEM, AAAI 2021, Table 1"
MODELS = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "gemnet_a", "GEMNet-A", "gemnet_a", macs=463e6, params=4.3e6, source=PAPER,
            widths=(16, 32, 136, 280, 552), depths=(1, 1, 1, 5, 1), head_width=1032,
        ),
        ModelEntry(
            "gemnet_b", "GEMNet-B", "gemnet_b", macs=563e6, params=4.5e6, source=PAPER,
            widths=(8, 24, 88, 168, 336), depths=(1, 1, 2, 6, 1), head_width=1040,
        ),
    )
}  # fmt: skip
"""The models that ship, then those that are registered."""


def short_names() -> dict[str, str]:
    """The names by which MMDetection's users call the models, as "a" -> "gemnet_a"."""
    return {name.removeprefix("gemnet_"): name for name in MODELS}
