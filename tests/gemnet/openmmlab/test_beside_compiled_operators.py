"""An environment whose mmcv has compiled operators, as upstream's: the core leaves them alone, and works with them.

The compiled module is made for the test: it offers every operator by name, and would fail if one were computed.
"""

import pytest
from fresh import run_code

COMPILED = """
import sys
from types import ModuleType

class Compiled(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None

compiled = sys.modules["mmcv._ext"] = Compiled("mmcv._ext")
"""


def run(code):
    result = run_code(COMPILED + code)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_mmdet_imports_with_its_own_operators_beside_the_core():
    pytest.importorskip("mmdet")
    code = (
        "import gemnet, mmcv.ops, mmdet.models; from mmcv.ops import nms, roi_align; "
        "print([sys.modules[f'mmcv.ops.{name}'].ext_module is compiled for name in ('nms', 'roi_align')], "
        "[name for name in sys.modules if name.startswith('gemnet.openmmlab')])"
    )
    assert run(code) == "[True, True] []"


def test_the_backbone_is_built_by_name_and_the_operators_stay_the_compiled_ones():
    pytest.importorskip("mmdet")
    code = (
        "import gemnet, mmcv.ops; from mmdet.registry import MODELS; from gemnet.backbone import out_channels; "
        "backbone = MODELS.build(dict(type='gemnet.GEMNet', arch='a')); made = mmcv.ops.RoIAlignRotated(7, 0.25); "
        "print(list(backbone.out_channels) == out_channels('a'), sys.modules['mmcv.ops.nms'].ext_module is compiled, "
        "type(made).__name__)"
    )
    assert run(code) == "True True RoIAlignRotated"
