"""OpenMMLab's own inferencers and tools with the configs here."""

import importlib.util
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import mmcv
import pytest
import torch
from fresh import run_code
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.datasets import CocoDataset, get_loading_pipeline
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from gemnet.__main__ import main, program
from gemnet.core.errors import UserError
from gemnet.detection.made import write_made_coco
from gemnet.openmmlab.backbone import GEMNet
from gemnet.openmmlab.engine import load_config
from gemnet.openmmlab.images import LoadImage

ROOT = Path(__file__).parents[3]
TOOLS = Path(importlib.util.find_spec("mmdet").origin).parent / ".mim/tools"


@pytest.fixture(autouse=True)
def scopes(monkeypatch):
    """An inferencer's scope is the process's from then on; here, of one test."""
    monkeypatch.setattr(DefaultScope, "_instance_dict", OrderedDict())


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_made_coco(tmp_path_factory.mktemp("made") / "coco", train=2, val=1)


@pytest.fixture(scope="module")
def config(coco):
    """A config as a user writes one, over one of those here, on small images."""
    file = coco.parent / "mine.py"
    file.write_text(
        f"""_base_ = "{ROOT}/configs/retinanet_gemnet_a.py"
data_root = "{coco}/"
train_dataloader = dict(dataset=dict(data_root=data_root), num_workers=0)
val_dataloader = dict(dataset=dict(data_root=data_root), num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
"""
    )
    settings = Config.fromfile(file)
    for loader in (settings.val_dataloader, settings.test_dataloader):
        loader.dataset.pipeline[1].scale = (128, 96)
    settings.dump(file)
    return file


@pytest.fixture(scope="module")
def checkpoint(config):
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(config)).model)
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": CocoDataset.METAINFO}}, config.parent / "it.pth")
    return str(config.parent / "it.pth")


@pytest.fixture
def image(coco):
    return str(next((coco / "val2017").iterdir()))


def test_mmdets_inferencers_take_the_config_with_a_path_and_with_an_array(config, checkpoint, image):
    inferencer = DetInferencer(model=str(config), weights=checkpoint, device="cpu", show_progress=False)
    assert type(inferencer.pipeline.transforms[0].from_file) is LoadImage  # the same pixels as in training
    detector = init_detector(str(config), checkpoint, device="cpu")
    found = [inference_detector(detector, image).pred_instances]
    found += [inference_detector(init_detector(str(config), checkpoint, device="cpu"), mmcv.imread(image)).pred_instances]
    found += [
        inferencer(given, return_datasamples=True)["predictions"][0].pred_instances for given in (image, mmcv.imread(image))
    ]
    for other in found[1:]:
        assert torch.equal(other.bboxes, found[0].bboxes)
        assert torch.equal(other.scores, found[0].scores)
    written = inferencer(str(Path(image).parent), out_dir=str(config.parent / "out"), no_save_pred=False)
    assert len(written["predictions"]) == 1
    assert len(list((config.parent / "out").rglob("*.j*"))) == 2


def test_mmpretrains_inferencer_takes_a_classifiers_config_with_a_path_and_with_an_array(image):
    from mmpretrain.apis import ImageClassificationInferencer

    torch.manual_seed(0)
    infer = ImageClassificationInferencer(str(ROOT / "configs/gemnet_a_imagenet.py"), pretrained=False, device="cpu")
    one, other = (infer(given)[0] for given in (image, mmcv.imread(image)))
    assert one["pred_scores"].shape == (1000,)
    assert (one["pred_scores"] == other["pred_scores"]).all()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_steps_that_load_are_found_and_built_as_ours(config, split):
    pipeline = Config.fromfile(config)[f"{split}_dataloader"].dataset.pipeline
    with DefaultScope.overwrite_default_scope("mmdet"):
        load, annotations = get_loading_pipeline(pipeline)
    assert (load["type"], annotations["type"]) == ("LoadImageFromFile", "LoadAnnotations")
    from mmdet.registry import TRANSFORMS

    assert type(TRANSFORMS.build(load)) is LoadImage


def test_a_config_runs_on_mmengines_runner_alone(config, tmp_path):
    settings = Config.fromfile(config)
    settings.work_dir = str(tmp_path)
    settings.experiment_name = "alone"
    runner = Runner.from_cfg(settings)
    assert isinstance(runner.model.backbone, GEMNet)
    assert len(runner.build_dataloader(settings.train_dataloader).dataset) == 2


def test_a_config_in_pure_python_is_read(tmp_path):
    (tmp_path / "base.py").write_text(
        "from gemnet.openmmlab.backbone import GEMNet\nbackbone = dict(type=GEMNet, arch='a', out_indices=(2, 3, 5))\n"
    )
    (tmp_path / "mine.py").write_text(
        """from mmengine.config import read_base
with read_base():
    from .base import *
from mmdet.models import FPN, RetinaNet
from gemnet.detection.head import RetinaHead
model = dict(
    type=RetinaNet, backbone=backbone, neck=dict(type=FPN, in_channels=[272, 560, 1032], out_channels=8, num_outs=5),
    bbox_head=dict(
        type=RetinaHead, num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1,
        anchor_generator=dict(type="AnchorGenerator", ratios=[1.0], strides=[8, 16, 32, 64, 128], scales=[4]),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
    ),
)
"""
    )
    model = MODELS.build(load_config(str(tmp_path / "mine.py")).model)
    assert type(model.backbone) is GEMNet
    assert model.neck.in_channels == list(model.backbone.out_channels)


def run(*command, code=0):
    result = subprocess.run([sys.executable, "-W", "ignore", *map(str, command)], capture_output=True, text=True, timeout=600)
    assert result.returncode == code, result.stderr[-2000:]
    return result


@pytest.mark.long
def test_a_tool_that_imports_mmdets_models_first_runs_through_python_m_gemnet(config, tmp_path):
    tool = "mmdet::tools/analysis_tools/browse_dataset.py"
    run("-m", "gemnet", tool, config, "--output-dir", tmp_path / "seen", "--not-show")
    assert len(list((tmp_path / "seen").iterdir())) == 2


@pytest.mark.long
def test_a_program_that_reads_the_config_before_it_builds_gets_the_operators_without_it(config, checkpoint, image):
    code = (
        "import sys; from mmdet.apis import DetInferencer; from mmdet.structures.mask import structures as s; "
        "d = DetInferencer(sys.argv[1], sys.argv[2], device='cpu', show_progress=False); import mmcv.ops; "
        "print(len(d(sys.argv[3])['predictions']), s.roi_align is mmcv.ops.roi_align)"
    )
    result = run_code(code, str(config), str(checkpoint), str(image))
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "1 True"


def test_a_programs_name_is_a_file_or_one_that_a_package_brings_along(tmp_path):
    (tmp_path / "a.py").touch()
    assert program(str(tmp_path / "a.py")) == tmp_path / "a.py"
    assert program("mmdet::tools/test.py") == TOOLS / "test.py"
    for name, message in (
        ("nowhere.py", r"nowhere\.py: no such program$"),
        ("mmdet::browse_dataset.py", r"there is .*mmdet::tools/analysis_tools/browse_dataset\.py"),
        ("mmnothing::tools/test.py", "mmnothing is not installed"),
    ):
        with pytest.raises(UserError, match=message):
            program(name)


def test_a_program_gets_its_arguments_and_its_folder_and_what_the_user_can_mend_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "beside.py").write_text("value = 7\n")
    (tmp_path / "tool.py").write_text(
        "import sys\nfrom beside import value\nfrom gemnet.core.errors import UserError\nprint(__name__, sys.argv[1:], value)\n"
        "if '--wrong' in sys.argv:\n    raise UserError('data: no such folder')\n"
    )
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main([str(tmp_path / "tool.py"), "config.py"]) == 0
    assert capsys.readouterr().out == "__main__ ['config.py'] 7\n"
    assert main([str(tmp_path / "tool.py"), "--wrong"]) == 1
    assert capsys.readouterr().err == "tool.py: data: no such folder\n"
    assert (main([]), main(["--help"])) == (2, 0)
    assert "python -m gemnet tools/test.py" in capsys.readouterr().out
