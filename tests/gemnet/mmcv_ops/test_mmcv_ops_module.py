"""The stand-in as a module: what it offers, where it is used, and what it says of the rest."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmcv_ops_cases import (
    draw_rois,
)

import gemnet
from gemnet.mmcv_ops import EXTENSION, OPERATORS, Extension, Finder

ROOT = Path(__file__).parents[3]


def test_an_operator_that_is_not_offered_names_itself_and_how_to_compile():
    extension = Extension(EXTENSION)
    with pytest.raises(NotImplementedError, match=r"'carafe_forward' is not offered(.|\n)*MMCV_WITH_OPS=1 pip install"):
        extension.carafe_forward(torch.zeros(1), up_kernel=5)
    with pytest.raises(AttributeError):
        _ = extension.__wrapped__


def test_every_operator_is_offered_under_its_name():
    extension = Extension(EXTENSION)
    assert {"nms", "softnms", "roi_align_forward", "roi_align_backward"} <= OPERATORS.keys()
    assert {"sigmoid_focal_loss_forward", "sigmoid_focal_loss_backward"} <= OPERATORS.keys()
    assert all(getattr(extension, name) is operator for name, operator in OPERATORS.items())
    assert isinstance(extension.get_compiler_version() + extension.get_compiling_cuda_version(), str)


def test_max_pooling_in_roi_align_is_not_offered(use):
    import mmcv.ops

    features, rois = torch.randn(1, 2, 8, 8), draw_rois("inside", 2, 0, images=1)
    with pytest.raises(NotImplementedError, match=r"roi_align_forward with pool_mode='max'(.|\n)*MMCV_WITH_OPS=1 pip install"):
        mmcv.ops.roi_align(features, rois, 7, 0.25, 2, "max")
    with pytest.raises(NotImplementedError, match=r"roi_align_backward with pool_mode='max'"):
        OPERATORS["roi_align_backward"](features, rois, features, features, features, 7, 7, 0.25, 2, 0, True)


def test_carafe_in_mmcv_ops_says_that_it_is_not_offered(use):
    import mmcv.ops

    with pytest.raises(NotImplementedError, match="carafe_forward"):
        mmcv.ops.carafe(torch.zeros(1, 1, 2, 2), torch.zeros(1, 9, 4, 4), 3, 1, 2)


def test_importing_gemnet_imports_nothing_of_openmmlab_and_mmdet_imports_after_it():
    code = "import sys, gemnet; print(*{name.split('.')[0] for name in sys.modules} & {'mmcv', 'mmengine', 'mmdet'})"
    there = importlib.util.find_spec("mmdet") is not None
    if there:
        code += "; import mmcv.ops, mmdet.models; print(mmdet.models.RetinaNet.__name__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
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
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, Finder)])
    before = list(sys.meta_path)
    gemnet.mmcv_ops.install()
    gemnet.mmcv_ops.install()
    assert sys.meta_path[:-1] == before
    assert isinstance(sys.meta_path[-1], Finder)


def test_importing_gemnet_has_installed_the_finder_for_one_module():
    (finder,) = (finder for finder in sys.meta_path if isinstance(finder, Finder))
    assert finder.find_spec("mmcv.ops") is None
    assert finder.find_spec("_ext") is None
    assert finder.find_spec(EXTENSION).loader is finder
