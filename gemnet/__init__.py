"""GEMNet: mobile backbones made of searched cells.

Importing is cheap: what is named here is imported when it is first asked for. timm knows the models as soon as both, timm and
gemnet, are imported, in whichever order; nothing else is changed. What is for OpenMMLab lies in `gemnet.openmmlab`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemnet.core.importing import watch
from gemnet.model_table import MODELS

if TYPE_CHECKING:
    from gemnet.architecture import Architecture
    from gemnet.cell import Cell, CellError
    from gemnet.complexity import BudgetError, fit, network_cost
    from gemnet.cost import Cost
    from gemnet.drawing import draw_cell
    from gemnet.fusion import fused
    from gemnet.models import register_model
    from gemnet.network import GEMNet
    from gemnet.operators import register_operator

__version__ = "0.1.0"
__all__ = [
    "Architecture", "BudgetError", "Cell", "CellError", "Cost", "GEMNet", "draw_cell", "fit", "fused", "network_cost",
    "register_model", "register_operator",
]  # fmt: skip
__all__.extend(MODELS)

_HOMES = {
    "Architecture": "architecture",
    "BudgetError": "complexity",
    "Cell": "cell",
    "CellError": "cell",
    "Cost": "cost",
    "GEMNet": "network",
    "draw_cell": "drawing",
    "fit": "complexity",
    "fused": "fusion",
    "network_cost": "complexity",
    "register_model": "models",
    "register_operator": "operators",
}
_MODULES = {*_HOMES.values(), "backbone"}


@contextmanager
def _models_after() -> Iterator[None]:
    yield
    import_module("gemnet.models")


watch({"timm": _models_after})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"gemnet.{name}")
    home = "models" if name in MODELS else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gemnet' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gemnet.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
