"""The configs of the package are found by their names, on a command line and as a `_base_` in another project."""

from pathlib import Path

import pytest
from fresh import run_code

from gemnet.core.configs import FOLDER, config_path, packaged, read_config
from gemnet.core.errors import UserError
from gemnet.openmmlab.engine import load_config
from search.configuration.settings import load_settings

ROOT = Path(__file__).parents[3]


def test_the_package_has_the_configs_of_the_repository():
    ours = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py"))
    assert ours
    assert all((FOLDER / path).read_text() == (ROOT / "configs" / path).read_text() for path in ours)


def test_a_config_is_a_file_or_a_name_in_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path("gemnet::search/digits.py") == str(FOLDER / "search/digits.py")
    assert config_path("digits", "search") == str(FOLDER / "search/digits.py")
    assert config_path("retinanet_gemnet_a") == str(FOLDER / "retinanet_gemnet_a.py")
    assert [config_path(name) for name in ("digits", "configs/digits.py", "digits.py")] == [
        "digits",
        "configs/digits.py",
        "digits.py",
    ]
    Path("digits").touch()  # the user's own comes first
    assert config_path("digits", "search") == "digits"


@pytest.mark.parametrize("name", ["gemnet::retinanet_gemnet_c.py", "gemnet::../cell.py", "gemnet::", "gemnet::x/y.py"])
def test_a_name_that_there_is_not_is_told_with_those_there_are(name):
    with pytest.raises(UserError, match=r"no such config"):
        packaged(name)
    with pytest.raises(UserError, match=r"there are .*gemnet::search/digits\.py"):
        packaged("gemnet::search/digitz.py")


BASED = '_base_ = ["gemnet::retinanet_gemnet_a.py"]\nepochs = 2\nmodel = dict(bbox_head=dict(num_classes=3))\n'


def test_a_config_of_another_project_inherits_one_of_ours(tmp_path):
    (tmp_path / "mine.py").write_text(BASED)
    mine, ours = load_config(str(tmp_path / "mine.py")), load_config("gemnet::retinanet_gemnet_a.py")
    assert (mine.model.bbox_head.num_classes, ours.model.bbox_head.num_classes) == (3, 80)
    assert mine.train_cfg.max_epochs == 2
    assert (mine.model.backbone, mine.default_scope) == (ours.model.backbone, "mmdet")
    assert mine.model.bbox_head.type == ours.model.bbox_head.type
    assert "_scope_" not in mine.model.bbox_head
    assert (mine.work_dir, ours.work_dir) == ("work_dirs/mine", "work_dirs/retinanet_gemnet_a")


def test_configs_of_other_packages_are_found_as_before(tmp_path):
    (tmp_path / "mine.py").write_text(
        '_base_ = ["mmdet::_base_/datasets/coco_detection.py", "gemnet::_base_/tiny_imagenet.py"]\n'
    )
    (tmp_path / "wrong.py").write_text('_base_ = ["gemnet::retinanet.py"]\n')
    with pytest.raises(KeyError, match="Duplicate key"):  # both were found
        read_config(tmp_path / "mine.py")
    with pytest.raises(UserError, match=r"gemnet::retinanet\.py: no such config; there are .*retinanet_gemnet_a"):
        read_config(tmp_path / "wrong.py")


def test_a_searchs_config_of_another_project_inherits_one_of_ours(tmp_path):
    (tmp_path / "mine.py").write_text('_base_ = ["gemnet::search/digits.py"]\nsearch = dict(rounds=1)\n')
    mine, ours = load_settings(tmp_path / "mine.py"), load_settings(FOLDER / "search/digits.py")
    assert mine == {**ours, "search": {**ours["search"], "rounds": 1}}


@pytest.mark.parametrize("first", ["mmengine.config", "gemnet.openmmlab"])
def test_mmengine_alone_finds_them_once_the_room_is_imported(first, tmp_path):
    (tmp_path / "mine.py").write_text(BASED)
    code = (
        f"import {first}, gemnet.openmmlab; from mmengine.config import Config; config = Config.fromfile('mine.py'); "
        "print(config.model.backbone.type, Config._get_cfg_path('mmdet::_base_/default_runtime.py', 'x')[1])"
    )
    told = run_code(code, cwd=tmp_path)
    assert told.stdout == "gemnet.GEMNet mmdet\n", told.stderr
