"""ImageNet's configs on a made image folder, and checkpoints that travel between timm, mmpretrain and mmdet."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from commands import run_tool
from made_folders import write_folder
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from gemnet.cli.calling import Call
from gemnet.cli.export import main as export
from gemnet.core.errors import UserError
from gemnet.core.options import named
from gemnet.deploy.trained_classifiers import trained_classifier
from gemnet.models import architecture
from gemnet.openmmlab.backbone import out_channels
from gemnet.openmmlab.engine import ConfigError, check_classes, check_parts, complete, load_config
from gemnet.openmmlab.images import DataError, ImageFolder
from gemnet.weights import WeightsError, convert, load_weights, read_checkpoint, read_state_dict

HEAD = architecture("gemnet_a").head_width
ROOT = Path(__file__).parents[3]
CONFIG = "configs/gemnet_a_imagenet.py"


def folder(root, split="train", **kwargs):
    return ImageFolder(data_root=str(root), split=split, pipeline=[], **kwargs)


def test_a_folder_is_read_by_its_sorted_classes_and_stray_files_are_left_out(tmp_path):
    root = write_folder(tmp_path)
    (root / "train/notes.txt").write_text("stray")
    (root / "train/dark/notes.txt").write_text("stray")
    (root / "train/.cache").mkdir()
    found = folder(root)
    assert found.metainfo["classes"] == ("bright", "dark")
    assert [found.get_data_info(i)["gt_label"] for i in range(len(found))] == [0] * 4 + [1] * 4


def test_hidden_files_and_folders_are_no_images(tmp_path):
    """As a Mac leaves them: `._0.jpg` is no JPEG."""
    root = write_folder(tmp_path)
    for name in (".DS_Store", "dark/._0.jpg", "dark/.jpg", "dark/Thumbs.db"):
        (root / "train" / name).write_bytes(b"stray")
    (root / "train/dark/.thumbnails").mkdir()
    (root / "train/dark/.thumbnails/0.png").write_bytes(b"stray")
    (root / "train/dark/folder.png").mkdir()
    assert [Path(item["img_path"]).name for item in folder(root).load_data_list()] == [f"{i}.png" for i in range(4)] * 2


def test_links_are_read_once_and_loops_of_links_end(tmp_path):
    root = write_folder(tmp_path / "images")
    (root / "train/dark").rename(tmp_path / "elsewhere")
    (root / "train/dark").symlink_to(tmp_path / "elsewhere")
    (root / "train/dark/loop").symlink_to(root / "train")
    (root / "train/itself").symlink_to("itself")
    found = folder(root)
    assert found.metainfo["classes"] == ("bright", "dark")
    assert len(found) == 8
    (root / "train/dark/dead.png").symlink_to("nowhere.png")
    found = ImageFolder(data_root=str(root), split="train", pipeline=[{"type": "gemnet.LoadImage"}])
    with pytest.raises(DataError, match=r"dark/dead\.png: No such file or directory; mend or remove it"):
        list(found)


def test_names_that_are_no_utf8_are_read_trained_with_and_told(tmp_path):
    root = write_folder(tmp_path)
    try:
        (root / "train/dark/0.png").rename(root / "train/dark" / os.fsdecode(b"\xff\xfe.png"))
    except OSError as error:
        pytest.skip(f"this file system takes no names that are not UTF-8 ({error})")
    for split in ("train", "val"):
        (root / split / "bright").rename(root / split / os.fsdecode(b"br\xfcght"))
    pipeline = [{"type": "gemnet.LoadImage"}]
    found = ImageFolder(data_root=str(root), split="train", pipeline=pipeline)
    assert len(folder(root, "val")) == 4
    assert {item["img"].shape for item in found} == {(32, 40, 3)}
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": dict(found.metainfo)}, tmp_path / "epoch_1.pth")
    assert read_checkpoint(tmp_path / "epoch_1.pth")["meta"]["classes"] == found.metainfo["classes"]
    (root / "train/dark" / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"junk")
    with pytest.raises(DataError, match="not an image") as error:
        list(found)
    print(error.value, file=sys.stderr)  # as the command line does


@pytest.mark.parametrize("content", [b"", b"junk", "half"])
def test_a_broken_image_in_a_folder_is_named(content, tmp_path):
    root = write_folder(tmp_path)
    file = root / "train/dark/2.jpg"
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(
        DataError, match=r"train/dark/2\.jpg: (not an image|cut off).*; mend or remove it, or set on_error='skip'"
    ):
        list(ImageFolder(data_root=str(root), split="train", pipeline=[{"type": "gemnet.LoadImage"}]))
    found = ImageFolder(data_root=str(root), split="train", pipeline=[{"type": "gemnet.LoadImage", "on_error": "skip"}])
    assert len(list(found)) == 9
    tested = ImageFolder(data_root=str(root), split="train", pipeline=[{"type": "gemnet.LoadImage"}], test_mode=True)
    with pytest.raises(DataError, match=r"train/dark/2\.jpg: .*; mend or remove it$"):  # testing skips none
        list(tested)


def test_folders_that_cannot_be_used_are_told(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/train: no such folder.*; set data_root, as --cfg-options data_root=FOLDER"):
        folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"one/train: 1 classes; expected"):
        folder(write_folder(tmp_path / "one", classes=("only",)))
    root = write_folder(tmp_path / "two")
    (root / "val/dark").rename(root / "val/dim")
    with pytest.raises(DataError, match=r"has other classes than .*: it has dim; lacks dark"):
        folder(root, "val")
    (root / "val/dim").rename(root / "val/dark")
    shutil.rmtree(root / "val/bright")
    with pytest.raises(DataError, match=r"two/val has other classes than .*two/train: it lacks bright"):
        folder(root, "val")
    (root / "val/bright").mkdir()
    with pytest.raises(DataError, match=r"val/bright: no images in this folder; expected files \.bmp"):
        folder(root, "val")
    shutil.rmtree(root / "val")
    (root / "val").write_text("stray")
    with pytest.raises(DataError, match=r"two/val: no such folder"):
        folder(root, "val")
    for file in (root / "train/dark").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"train/dark: no images"):
        folder(root)


def classifier(**head):
    model = load_config(str(ROOT / CONFIG)).model
    model.head.update(head)
    return MODELS.build({**model, "_scope_": "mmpretrain"})


@pytest.mark.parametrize("arch", ["a", "b"])
def test_the_imagenet_configs_fit_together(arch):
    config = load_config(str(ROOT / f"configs/gemnet_{arch}_imagenet.py"))
    model = MODELS.build({**config.model, "_scope_": "mmpretrain"})
    check_parts(model)
    check_classes(model, range(1000))
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in timm.create_model(f"gemnet_{arch}").parameters()
    )


def test_what_a_config_leaves_open_is_filled_in(tmp_path):
    write_folder(tmp_path / "images", classes=("a", "b", "c"))
    config = load_config(
        str(ROOT / "configs/gemnet_a_image_folder.py"), {"train_dataloader.dataset.data_root": tmp_path / "images"}
    )
    complete(config)
    assert (config.model.head.num_classes, config.data_preprocessor.num_classes) == (3, 3)
    cell = {"model.backbone.cell": "gemnet_b", "model.backbone.target_macs": 300e6, "model.backbone.target_params": None}
    config = load_config(str(ROOT / "configs/gemnet_cell_imagenet.py"), cell)
    complete(config)
    check_parts(MODELS.build({**config.model, "_scope_": "mmpretrain"}))
    config = load_config(str(ROOT / "configs/retinanet_gemnet_b.py"), {"model.neck.in_channels": None})
    complete(config)
    assert config.model.neck.in_channels == out_channels("b", (2, 3, 5))


def test_heads_that_do_not_fit_are_told_the_right_numbers():
    with pytest.raises(ConfigError, match=rf"head.in_channels=1280 does not fit the backbone; expected in_channels={HEAD}"):
        check_parts(classifier(in_channels=1280))
    with pytest.raises(ConfigError, match=r"model.head.num_classes=1000, but the data set has 2 classes"):
        check_classes(classifier(), ("bright", "dark"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training by the ImageNet config of two epochs on a made folder: its last checkpoint."""
    root, work = write_folder(tmp_path_factory.mktemp("images")), tmp_path_factory.mktemp("work")
    options = {
        "model.head.num_classes": 2,
        "data_preprocessor.num_classes": 2,
        "model.head.topk": "(1,)",
        "val_evaluator.topk": "(1,)",
        "train_cfg.max_epochs": 2,
        "param_scheduler.0.end": 1,
        "param_scheduler.1.begin": 1,
        "param_scheduler.1.T_max": 1,
        "train_dataloader.batch_size": 4,
        "train_dataloader.dataset.pipeline.1.scale": 32,
        "val_dataloader.dataset.pipeline.1.scale": 36,
        "val_dataloader.dataset.pipeline.2.crop_size": 32,
    }
    for split in ("train", "val"):
        options |= {f"{split}_dataloader.num_workers": 0, f"{split}_dataloader.dataset.data_root": root}
    command = ["train.py", CONFIG, "--work-dir", work, "--amp", "--cfg-options"]
    result = run_tool(*command, *(f"{key}={value}" for key, value in options.items()))
    assert result.returncode == 0, result.stderr[-3000:]
    assert "accuracy/top1" in result.stdout + result.stderr
    return work / "epoch_2.pth"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (3, r"epoch_2\.pth: .*it is for 2 classes and the model for 3: set num_classes"),
        (2, r"model\.head\.num_classes=2, but the data set has 3 classes; expected that"),
    ],
)
def test_a_checkpoint_or_a_folder_with_other_classes_is_not_tested(head, message, trained, tmp_path):
    root = write_folder(tmp_path / "images", classes=("a", "b", "c"))
    options = {"model.head.num_classes": head, "data_preprocessor.num_classes": head, "model.head.topk": "(1,)"}
    options |= {"test_dataloader.dataset.data_root": root, "test_dataloader.num_workers": 0}
    command = ["test.py", CONFIG, trained, "--work-dir", tmp_path / "work", "--cfg-options"]
    result = run_tool(*command, *(f"{key}={value}" for key, value in options.items()))
    assert result.returncode == 1
    assert re.search(rf"^test: .*{message}", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr


def test_a_trained_checkpoint_travels_to_timm_and_back(trained, tmp_path):
    classifier_model = classifier(num_classes=2, topk=(1,))
    load_weights(classifier_model, trained, prefix="")
    convert(trained, tmp_path / "timm.safetensors", "timm")
    model = timm.create_model("gemnet_a", num_classes=2, checkpoint_path=str(tmp_path / "timm.safetensors")).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), classifier_model.eval()(x, mode="tensor"))

    convert(tmp_path / "timm.safetensors", tmp_path / "back.pth", "mmpretrain")
    state, original = read_state_dict(tmp_path / "back.pth"), read_state_dict(trained)
    assert state.keys() == original.keys()
    assert all(torch.equal(state[key], original[key]) for key in state)


SMALL = ("test_dataloader.dataset.pipeline.1.scale=36", "test_dataloader.dataset.pipeline.2.crop_size=32")


@pytest.mark.long
def test_a_work_directory_is_exported_and_its_script_tells_what_mmpretrain_does(trained, tmp_path):
    photo = tmp_path / "photo.png"
    Image.effect_noise((50, 41), 90).convert("RGB").save(photo)
    settings = load_config(str(trained.parent / "gemnet_a_imagenet.py"), named(SMALL))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build({**settings.model, "data_preprocessor": settings.data_preprocessor}).eval()
        load_weights(model, trained, prefix="")
        data = Compose(settings.test_dataloader.dataset.pipeline)({"img_path": str(photo)})
    with torch.no_grad():
        scores = model.test_step({"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]})[0].pred_score
    arguments = [str(trained.parent), str(tmp_path / "a.pt"), "--to", "torchscript", "--checkpoint", str(trained)]
    assert export(Call([*arguments, "--cfg-options", *SMALL], "gemnet", "gemnet export", ROOT)) == 0
    script = [sys.executable, str(tmp_path / "run_a_pt.py"), str(photo)]
    told = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    found = {line.split("\t")[1]: float(line.split("\t")[2]) for line in told.splitlines()}
    expected = {name: score for name, score in zip(("bright", "dark"), scores.tolist()) if score >= 0.01}
    assert found == pytest.approx(expected, abs=2e-4)


def test_the_best_weights_of_a_work_directory_are_taken_else_the_last(trained, tmp_path):
    for name in ("gemnet_a_imagenet.py", "last_checkpoint"):
        shutil.copy(trained.parent / name, tmp_path)
    with pytest.raises(UserError, match=r"last_checkpoint names epoch_2\.pth, which is not there; give weights with --checkp"):
        trained_classifier(str(tmp_path))
    shutil.copy(trained, tmp_path)
    found = trained_classifier(str(tmp_path), options=named(SMALL))
    assert (found.name, found.num_classes, found.size) == ("gemnet_a", 2, (32, 32))
    assert found.checkpoint == str(tmp_path / "epoch_2.pth")
    assert found.preprocessing["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert found.preprocessing["crop_pct"] == pytest.approx(32 / 36)
    shutil.copy(trained, tmp_path / "best_accuracy_top1_epoch_1.pth")
    assert trained_classifier(str(tmp_path)).checkpoint == str(tmp_path / "best_accuracy_top1_epoch_1.pth")
    assert trained_classifier(str(tmp_path), "mine.pth").checkpoint == "mine.pth"
    assert trained_classifier(str(ROOT / "configs/retinanet_gemnet_a.py")) is None


def test_what_a_config_says_is_not_said_again_to_export(trained, capsys):
    with pytest.raises(SystemExit):
        export(Call([str(trained.parent), "--num-classes", "3"], "gemnet", "gemnet export", ROOT))
    assert f"--num-classes is what the config of {trained.parent} says; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_takes_a_converted_file_as_pretrained_weights(suffix, trained, tmp_path):
    file = tmp_path / f"weights{suffix}"
    convert(trained, file, "timm")
    overlay = {"file": str(file), "num_classes": 2}
    weights = read_state_dict(file)
    same = timm.create_model("gemnet_a", pretrained=True, num_classes=2, pretrained_cfg_overlay=overlay)
    assert torch.equal(same.classifier.weight, weights["classifier.weight"])
    other = timm.create_model("gemnet_a", pretrained=True, num_classes=5, pretrained_cfg_overlay=overlay)
    assert other.classifier.weight.shape == (5, HEAD)
    assert torch.equal(other.stem.conv.weight, weights["stem.conv.weight"])
    grey = timm.create_model("gemnet_a", pretrained=True, in_chans=1, num_classes=2, pretrained_cfg_overlay=overlay)
    torch.testing.assert_close(grey.stem.conv.weight, weights["stem.conv.weight"].sum(1, keepdim=True))
    stages = timm.create_model("gemnet_a", pretrained=True, features_only=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(stages.state_dict()["stem.conv.weight"], weights["stem.conv.weight"])
    assert len(stages(torch.zeros(1, 3, 64, 64))) == 5


@pytest.mark.parametrize("form", ["timm", "mmpretrain", "mmdet"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_detector_starts_from_any_form(form, suffix, trained, tmp_path):
    file = tmp_path / f"weights{suffix}"
    convert(trained, file, form)
    init = {"type": "Pretrained", "checkpoint": str(file)}
    backbone = MODELS.build({"type": "gemnet.GEMNet", "arch": "a", "out_indices": (2, 3, 5), "init_cfg": init})
    backbone.init_weights()
    expected = read_state_dict(trained)
    assert all(torch.equal(value, expected[f"backbone.{key}"]) for key, value in backbone.state_dict().items())


def test_what_cannot_be_converted_is_told_and_leaves_nothing(trained, tmp_path):
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "other.pth")
    for source, target, form, message in (
        (tmp_path / "other.pth", tmp_path / "out.pth", "timm", "no weights of a GEMNet"),
        (trained, tmp_path / "out.onnx", "timm", r"expected a file \.safetensors or \.pth"),
        (trained, tmp_path / "out.pth", "keras", "expected timm, mmpretrain, mmdet"),
        (tmp_path / "none.pth", tmp_path / "out.pth", "timm", "no such checkpoint"),
    ):
        with pytest.raises(WeightsError, match=message):
            convert(source, target, form)
    assert not list(tmp_path.glob("out*"))
