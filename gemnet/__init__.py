"""GEMNet: mobile backbones made of searched cells.

Importing registers the models with timm, and offers mmcv's operators to an mmcv without compiled ones; it imports nothing of
OpenMMLab.
"""

from gemnet import mmcv_ops
from gemnet.architecture import Architecture
from gemnet.cell import Cell, CellError
from gemnet.complexity import BudgetError, fit, network_cost
from gemnet.fusion import fused
from gemnet.models import gemnet_a, gemnet_b
from gemnet.network import GEMNet

mmcv_ops.install()

__version__ = "0.1.0"
__all__ = [
    "Architecture", "BudgetError", "Cell", "CellError", "GEMNet", "fit", "fused", "gemnet_a", "gemnet_b", "network_cost",
]  # fmt: skip
