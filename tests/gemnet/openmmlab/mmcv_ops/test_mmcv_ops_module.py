"""The stand-in as a module: what it offers, where it is used, and what it says of the rest."""

import importlib.util
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from fresh import run_code

import gemnet
from gemnet.core.errors import UserError
from gemnet.openmmlab.mmcv_ops import EXTENSION, OPERATORS, Extension, Finder
from gemnet.openmmlab.mmcv_ops.missing import replace_fallbacks

ROOT = Path(__file__).parents[4]


def test_an_operator_that_is_not_offered_names_itself_and_how_to_compile():
    extension = Extension(EXTENSION)
    with pytest.raises(NotImplementedError, match=r"'nms_rotated' is not offered(.|\n)*MMCV_WITH_OPS=1 pip install"):
        extension.nms_rotated(torch.zeros(1), multi_label=False)
    with pytest.raises(AttributeError):
        _ = extension.__wrapped__


def test_every_operator_is_offered_under_its_name():
    extension = Extension(EXTENSION)
    assert {"nms", "softnms", "roi_align_forward", "roi_align_backward"} <= OPERATORS.keys()
    assert {"sigmoid_focal_loss_forward", "sigmoid_focal_loss_backward"} <= OPERATORS.keys()
    assert all(getattr(extension, name) is operator for name, operator in OPERATORS.items())
    assert isinstance(extension.get_compiler_version() + extension.get_compiling_cuda_version(), str)


@pytest.mark.parametrize(
    ("kind", "arguments", "operator"),
    [
        ("RoIAlignRotated", {"output_size": 7, "spatial_scale": 0.25}, "roi_align_rotated_forward"),
        ("BorderAlign", {"pool_size": 10}, "border_align_forward"),
        ("PrRoIPool", {"output_size": 7}, "prroi_pool_forward"),
        ("Correlation", {}, "correlation_forward"),
        ("SubMConv3d", {"in_channels": 4, "out_channels": 4, "kernel_size": 3}, "indice_conv_forward"),
    ],
)
def test_a_module_that_needs_a_missing_operator_says_so_when_it_is_made(use, kind, arguments, operator):
    import mmcv.ops

    with pytest.raises(UserError, match=rf"{kind} needs .*'{operator}'.*not offered(.|\n)*MMCV_WITH_OPS=1"):
        getattr(mmcv.ops, kind)(**arguments)


def test_it_says_so_through_mmdets_registry_too(use):
    from mmdet.registry import MODELS

    layer = {"type": "RoIAlignRotated", "output_size": 7, "sampling_ratio": 2}
    extractor = {"type": "SingleRoIExtractor", "roi_layer": layer, "out_channels": 8, "featmap_strides": [4]}
    with pytest.raises(NotImplementedError, match=r"RoIAlignRotated needs .*'roi_align_rotated_forward'"):
        MODELS.build(extractor)


def test_modules_whose_operators_are_there_or_not_needed_on_the_cpu_are_made(use):
    import mmcv.ops

    assert mmcv.ops.FusedBiasLeakyReLU(4).bias.shape == (4,)
    assert mmcv.ops.CornerPool("top")(torch.rand(1, 2, 3, 3)).shape == (1, 2, 3, 3)
    assert mmcv.ops.SAConv2d(4, 4, 3, padding=1)(torch.rand(1, 4, 5, 5)).shape == (1, 4, 5, 5)


def test_what_mmdet_put_in_place_of_operators_is_replaced_by_them(use, monkeypatch):
    import mmcv.ops
    from mmdet.structures.mask import structures

    def roi_align(*args, **kwargs):
        raise RuntimeError("roi_align requires mmcv to be compiled with ops. Please reinstall onedl-mmcv with CUDA support.")

    roi_align.__module__ = structures.__name__
    monkeypatch.setattr(structures, "roi_align", roi_align)
    own = structures.BitmapMasks
    replace_fallbacks()
    assert structures.roi_align is mmcv.ops.roi_align
    assert structures.BitmapMasks is own


def test_importing_the_room_imports_nothing_of_openmmlab_and_mmdet_imports_after_it():
    code = "import sys, gemnet.openmmlab; print(*{name.split('.')[0] for name in sys.modules} & {'mmcv', 'mmengine', 'mmdet'})"
    there = importlib.util.find_spec("mmdet") is not None
    if there:
        code += "; import mmcv.ops, mmdet.models; print(mmdet.models.RetinaNet.__name__)"
    result = run_code(code, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "\n" + "RetinaNet\n" * there


@pytest.mark.parametrize("there", [True, False])
def test_the_stand_in_is_used_only_where_there_is_no_compiled_extension(tmp_path, monkeypatch, there):
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv/__init__.py").touch()
    if there:
        (tmp_path / "mmcv/_ext.py").write_text("nms = 'compiled'")
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.split(".")[0] == "mmcv"]:
            del sys.modules[name]
        monkeypatch.syspath_prepend(tmp_path)
        extension = importlib.import_module(EXTENSION)
    assert isinstance(extension, Extension) is not there
    assert extension.nms == ("compiled" if there else OPERATORS["nms"])


def test_a_second_install_adds_no_second_finder(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, Finder)])
    before = list(sys.meta_path)
    gemnet.openmmlab.mmcv_ops.install()
    gemnet.openmmlab.mmcv_ops.install()
    assert sys.meta_path[:-1] == before
    assert isinstance(sys.meta_path[-1], Finder)


def test_the_finder_is_for_one_module():
    gemnet.openmmlab.mmcv_ops.install()
    (finder,) = (finder for finder in sys.meta_path if isinstance(finder, Finder))
    assert finder.find_spec("mmcv.ops") is None
    assert finder.find_spec("_ext") is None
    assert finder.find_spec(EXTENSION).loader is finder
