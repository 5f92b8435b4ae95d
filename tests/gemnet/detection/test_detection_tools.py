"""The command lines of detection as a user gives them, on a made COCO set, with two processes."""

import json
import logging
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import run_tool, start_tool
from PIL import Image

from gemnet.detection.made import write_made_coco
from gemnet.detection.overfit import losses_picture
from gemnet.drawing.palette import adaptive_svg

ROOT = Path(__file__).parents[3]
RETINANET = "configs/retinanet_gemnet_a.py"


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_made_coco(tmp_path_factory.mktemp("made") / "coco", train=8, val=2)


SLIM = {f"model.{name}": 32 for name in ("neck.out_channels", "bbox_head.in_channels", "bbox_head.feat_channels")}


def options(coco, of_retinanet=SLIM, **more):
    """Small images, two epochs, everything in one process a rank, few channels behind the backbone."""
    settings = {
        **of_retinanet,
        "train_dataloader.num_workers": 0,
        "train_dataloader.dataset.pipeline.2.scale": "(64,64)",
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 2,
        "default_hooks.logger.interval": 1,
    }
    for split in ("train", "val", "test"):
        settings[f"{split}_dataloader.dataset.data_root"] = coco
    for split in ("val", "test"):
        settings[f"{split}_dataloader.num_workers"] = 0
        settings[f"{split}_dataloader.persistent_workers"] = False
        settings[f"{split}_dataloader.dataset.pipeline.1.scale"] = "(64,64)"
    return ["--cfg-options", *(f"{key}={value}" for key, value in {**settings, **more}.items())]


def environment():
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(*command, code=0, **variables):
    command, variables = [str(part) for part in command], environment() | variables
    if command[0].endswith(".py"):
        result = run_tool(*command, env=variables)
    else:
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, timeout=600)
    assert result.returncode == code, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def weights(path):
    return torch.load(path, map_location="cpu", weights_only=False)["state_dict"]


def furthest(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)


def distance(one, other):
    """The Euclidean distance of two checkpoints' weights."""
    one, other = weights(one), weights(other)
    return sum((one[key].double() - other[key].double()).square().sum() for key in one if key.endswith("weight")).sqrt().item()


def losses(text):
    """Gradient norms and losses in an mmengine log, in order."""
    return [
        (float(norm), float(loss)) for norm, loss in re.findall(r"Epoch\(train\).*grad_norm: ([\d.]+).* loss: ([\d.]+)", text)
    ]


def recording(folder, *names):
    """A PATH on which commands of these names write their arguments, one a line, into `folder`, and do nothing."""
    for name in names:
        (folder / name).write_text(f'#!/bin/bash\n[ "$1" = -c ] && echo 0 || printf "%s\\n" "$@" > {folder}/{name}.asked\n')
        (folder / name).chmod(0o755)
    return f"{folder}:{environment()['PATH']}"


def in_two(script, *arguments, **variables):
    """What the processes of ranks 0 and 1 print. variables: of the environment, with {rank} in the place of the rank."""
    started = [
        start_tool(script, *arguments, env=environment() | {name: text.format(rank=rank) for name, text in variables.items()})
        for rank in range(2)
    ]
    ended = [process.end() for process in started]
    assert [each.returncode for each in ended] == [0, 0], ended[0].stderr[-3000:] + ended[1].stderr[-3000:]
    return "".join(each.stdout + each.stderr for each in ended)


@pytest.fixture(scope="module")
def two_processes(coco, tmp_path_factory):
    """A run of two gloo processes, without flips: its work directory, its output, and what Slurm was asked for.

    The two tasks that srun is asked to start are forks here, as on a machine without GPUs. tools/dist_train.sh with two
    processes is for test_averaging.py.
    """
    folder, fake = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("bin")
    path = recording(fake, "srun")
    slurm = ["tools/slurm_train.sh", "gpu", "job", RETINANET, "--work-dir", folder, *options(coco, **NO_FLIP)]
    run(*slurm, GPUS="2", PATH=path)
    asked = (fake / "srun.asked").read_text().splitlines()
    at = asked.index("python")
    python, unbuffered, script, *arguments = asked[at:]
    assert (python, unbuffered, script) == ("python", "-u", "tools/train.py")
    (fake / "scontrol").write_text("#!/bin/bash\necho localhost\n")
    (fake / "scontrol").chmod(0o755)
    variables = {"SLURM_NTASKS": "2", "SLURM_NODELIST": "here", "SLURM_NTASKS_PER_NODE": "2", "MASTER_PORT": "29633"}
    log = in_two("train.py", *arguments, **variables, SLURM_PROCID="{rank}", SLURM_LOCALID="{rank}", PATH=path)
    return folder, log, " ".join(asked[:at])


NO_FLIP = {"train_dataloader.dataset.pipeline.3.prob": 0.0, "param_scheduler.0.start_factor": 0.1}


def test_two_processes_train_as_one_with_the_doubled_batch(two_processes, coco, tmp_path):
    folder, log, _ = two_processes
    batch = {"train_dataloader.batch_size": 4}
    single = run("train.py", RETINANET, "--work-dir", tmp_path, *options(coco, **NO_FLIP, **batch))
    ours, theirs = losses(log), losses(single.stdout + single.stderr)
    assert len(ours) == len(theirs) == 4
    for step, other in zip(ours, theirs):
        assert step == pytest.approx(other, rel=2e-3)  # gradient norm and loss
    apart = distance(folder / "epoch_2.pth", tmp_path / "epoch_2.pth")
    moved = distance(tmp_path / "epoch_1.pth", tmp_path / "epoch_2.pth")
    print(f"in norm, the weights are {apart:.1e} apart after four steps, and moved {moved:.1e} in the last two")
    assert apart < moved / 20  # rounding, which each step amplifies; test_distributed.py has the equality in double precision


def test_slurm_starts_one_process_a_task(two_processes):
    _, log, asked = two_processes
    assert "-p gpu --job-name=job --gres=gpu:2 --ntasks=2 --ntasks-per-node=2" in asked
    assert len(losses(log)) == 4  # two epochs of 8 images in 2 processes x 2


def test_a_trained_checkpoint_is_tested_and_predicts(two_processes, coco, tmp_path):
    checkpoint = two_processes[0] / "epoch_2.pth"
    fake = tmp_path / "bin"
    fake.mkdir()
    run(
        "tools/dist_test.sh", RETINANET, checkpoint, 2, "--work-dir", tmp_path / "test", "--out", tmp_path / "found",
        "--show-dir", tmp_path / "shown", *options(coco), "model.test_cfg.score_thr=0.0", PATH=recording(fake, "python"),
    )  # it is sure of nothing yet  # fmt: skip
    *launcher, script = (asked := (fake / "python.asked").read_text().splitlines())[:6]
    assert launcher == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert script == str(ROOT / "tools/test.py")
    where = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29634"}
    tested = in_two("test.py", *asked[6:], RANK="{rank}", LOCAL_RANK="{rank}", **where)
    assert list((tmp_path / "shown").rglob("*.jpg"))
    assert "coco/bbox_mAP:" in tested
    boxes = json.loads((tmp_path / "found.bbox.json").read_text())
    assert {box["image_id"] for box in boxes} == {1, 2}
    assert all(min(box["bbox"]) >= 0 and 0 < box["score"] < 1 for box in boxes)

    photos = tmp_path / "photos"
    shutil.copytree(coco / "val2017", photos / "val")
    (photos / "broken.jpg").write_bytes(b"broken")
    rotated = Image.Exif()
    rotated[0x0112] = 6  # stored lying, shown upright
    Image.new("RGB", (128, 96)).save(photos / "rotated.jpg", exif=rotated)
    predicted = run(
        "predict.py", RETINANET, checkpoint, photos, coco / "train2017/000000000001.jpg", "--out-dir", tmp_path / "out",
        "--score", "0.0", *options(coco), "model.test_cfg.score_thr=0.0", code=1,
    )  # fmt: skip
    assert "broken.jpg: not an image" in predicted.stderr
    assert "4 images in" in predicted.stdout
    assert "1 images could not be predicted on" in predicted.stdout
    records = json.loads((tmp_path / "out/predictions.json").read_text())
    names = ("rotated", "val/000000000001", "val/000000000002", "000000000001")
    assert [Path(record["image"]).stem for record in records] == [Path(name).name for name in names]
    for record, name in zip(records, names):
        with Image.open(tmp_path / "out" / f"{name}.jpg") as picture:
            assert picture.size == (record["width"], record["height"]) == ((96, 128) if name == "rotated" else (128, 96))
        assert record["objects"]
        for found in record["objects"]:
            assert 0 <= found["score"] <= 1
            assert len(found["box"]) == 4


@pytest.mark.long
def test_a_killed_run_resumed_ends_in_the_weights_of_one_left_alone(coco, tmp_path):
    arguments = options(coco, **{"train_dataloader.num_workers": 1, "train_cfg.max_epochs": 3, "train_cfg.val_interval": 3})
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    run("train.py", RETINANET, "--work-dir", alone, *arguments)
    process = start_tool("train.py", RETINANET, "--work-dir", killed, *arguments, env=environment())
    deadline = time.monotonic() + 300
    while not (killed / "epoch_2.pth").exists() and time.monotonic() < deadline:  # seen while it is written, or just after
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "epoch_3.pth").exists()
    log = run("train.py", RETINANET, "--work-dir", killed, "--resume", *arguments)
    assert "resumed epoch: " in log.stdout + log.stderr
    assert furthest(alone / "epoch_3.pth", killed / "epoch_3.pth") == 0


@pytest.mark.long
def test_mixed_precision_trains_on_the_cpu(coco, tmp_path):
    config = "configs/faster_rcnn_gemnet_a.py"
    short = {"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1}
    short |= {"model.train_cfg.rcnn.sampler.num": 16, "model.test_cfg.rpn.max_per_img": 16}  # some CPUs emulate bfloat16
    short |= {"model.roi_head.bbox_head.fc_out_channels": 64}
    few = ("neck.out_channels", "rpn_head.in_channels", "rpn_head.feat_channels", "roi_head.bbox_roi_extractor.out_channels")
    short |= {f"model.{name}": 32 for name in (*few, "roi_head.bbox_head.in_channels")}
    command = ["train.py", config, "--amp", "--auto-scale-lr", "--work-dir", tmp_path]
    result = run(*command, *options(coco, of_retinanet={}, **short))
    found = losses(result.stdout + result.stderr)
    assert len(found) == 4
    assert all(0 < loss < 100 for _, loss in found)
    assert "BFloat16OptimWrapper" in next(tmp_path.glob("*.py")).read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train.py", "configs/retinanet_gemnet_c.py"], "no such config; there are .*configs/retinanet_gemnet_a.py"),
        (["train.py", "configs/gemnet_cell_imagenet.py", "--pretrained"], "no weights of this gemnet.GEMNet ship"),
        (["train.py", RETINANET, "--resume", "none.pth"], "--resume: none.pth: no such checkpoint"),
        (["train.py", "configs/_base_/coco.py"], "has no model; expected a config for training"),
        (["train.py", RETINANET, "--launcher", "pytorch"], "start it with tools/dist_train.sh"),
        (["predict.py", RETINANET, "none.pth", "nothing.jpg"], "nothing.jpg: no such image or folder"),
        (["predict.py", RETINANET, "none.pth", "docs"], "none.pth: no such checkpoint"),
        (["export.py", "gemnet_a", "{tmp}/a.onnx", "--format", "keras"], "'keras' is not offered; expected onnx, openvino"),
        (
            ["export.py", "gemnet_c", "{tmp}/c.onnx"],
            "'gemnet_c' is not offered; expected gemnet_a, gemnet_b, gemnet_a_small or gemnet",
        ),
        (["export.py", "gemnet_a", "{tmp}/a.onnx", "--checkpoint", "none.pth"], "none.pth: no such checkpoint"),
        (["convert_checkpoint.py", "configs/model_zoo.json", "{tmp}/a.pth"], "model_zoo.json: not a checkpoint that can be"),
        (["overfit.py", "--data", "nowhere"], "nowhere/annotations/instances_train2017.json"),
        (["complexity.py", RETINANET, "--cfg-options", "model=7"], "model=7: expected a model's settings"),
        (
            ["train.py", RETINANET, "--cfg-options", "train_dataloader.dataset.pipeline.99.scale=7"],
            "pipeline.99.scale: does not",
        ),
        (["train.py", RETINANET, "--cfg-options", "train_cfg.max_epoch=3"], r"did you mean train_cfg.max_epochs\?"),
        (["train.py", RETINANET, "--cfg-options", "epochs=2.5"], "epochs: expected a whole number from 1 to 100000, found 2.5"),
        (
            ["train.py", RETINANET, "--cfg-options", "model.backbone.sides=3", "work_dir={tmp}"],
            "the config: GEMNet got an unexpected keyword argument 'sides'",
        ),
        (
            ["train.py", RETINANET, "--cfg-options", "model.backbone.type=gemnet.GEMNed", "work_dir={tmp}"],
            "the config: gemnet.GEMNed is not in the .* registry",
        ),
        (
            ["train.py", RETINANET, "--cfg-options", "model.backbone.arch=c", "work_dir={tmp}"],
            "expected 'a' or 'b' or 'a_small'",
        ),
    ],
)
def test_a_careless_command_gets_one_clear_message(command, message, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(logging, "raiseExceptions", False)  # mmengine keeps the logger of a former case, whose stream is closed
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", [part.format(tmp=tmp_path) for part in command])
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools" / command[0]), run_name="__main__")
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(  # a launcher and a process of its own
            ["tools/dist_train.sh", RETINANET, "1"],
            "data/coco/annotations/instances_train2017.json: no such",
            marks=pytest.mark.slow,
        ),
        (["train.py", RETINANET], "data/coco/annotations/instances_train2017.json: no such"),
        (["test.py", RETINANET, "none.pth"], "none.pth: no such checkpoint"),
    ],
)
def test_a_missing_data_set_or_checkpoint_is_told_by_the_tool(command, message, coco, tmp_path):
    more = options(coco) if "none.pth" in command else []
    result = run(*command, "--work-dir", tmp_path, *more, code=1)
    assert re.search(message, result.stderr)
    told = [line for line in result.stderr.splitlines() if line.startswith(("train", "test"))]
    assert len(told) == 1


@pytest.mark.long
def test_a_broken_image_stops_training_and_is_named_even_by_a_worker(tmp_path):
    coco = write_made_coco(tmp_path / "coco")
    (coco / "train2017/000000000004.jpg").write_bytes(b"broken")
    workers = {"train_dataloader.num_workers": 1}
    result = run("train.py", RETINANET, "--work-dir", tmp_path / "w", *options(coco, **workers), code=1)
    assert re.search(r"train: \S*000000000004.jpg: not an image", result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.long
def test_the_overfit_proof_leaves_figures_and_pictures(coco, tmp_path):
    run(
        "overfit.py", "configs/faster_rcnn_gemnet_b.py", "--data", coco, "--work-dir", tmp_path, "--images", 2,
        "--size", 64, "--iterations", 2,
    )  # fmt: skip
    figures = json.loads((tmp_path / "overfit.json").read_text())
    assert figures["images"] == 2
    assert 0 <= figures["coco/bbox_mAP"] <= 1
    assert len(list((tmp_path / "pictures").glob("*.jpg"))) == 2
    with Image.open(tmp_path / "boxes.jpg") as picture:
        assert min(picture.size) >= 64
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert losses["iterations"] == [1]
    assert {"loss", "loss_bbox", "loss_rpn_cls"} <= set(losses["losses"])
    assert (tmp_path / "losses.svg").read_text() == adaptive_svg(losses_picture(losses))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["retinanet_gemnet_a", "retinanet_gemnet_b", "faster_rcnn_gemnet_a", "faster_rcnn_gemnet_b"])
def test_every_gemnet_detector_learns(config, coco, tmp_path):
    run(
        "overfit.py", f"configs/{config}.py", "--data", coco, "--work-dir", tmp_path, "--images", 4, "--size", 128,
        "--iterations", 150,
    )  # fmt: skip
    assert json.loads((tmp_path / "overfit.json").read_text())["coco/bbox_mAP"] >= 0.5


def test_complexity_prints_the_parts_and_the_whole():
    lines = run("complexity.py", "configs/faster_rcnn_gemnet_a.py", "--shape", "64", "96").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["backbone", "neck", "rpn_head", "roi_head", "whole"]
    params = [int(line.split()[1].replace(",", "")) for line in lines[2:]]
    assert sum(params[:-1]) == params[-1]
