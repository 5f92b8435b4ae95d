"""Averaged weights (EMA): that they suit any length of run, learn, are told beside the raw ones, and go on after a stop."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook as PlainEMAHook
from mmengine.registry import HOOKS
from PIL import Image
from torch import nn

from gemnet.core.errors import UserError
from gemnet.openmmlab import engine
from gemnet.openmmlab.averaging import EMAHook, WarmedUpEMA, tell_reach
from gemnet.weights import load_weights, read_checkpoint, read_state_dict

ROOT = Path(__file__).parents[3]
CONFIG = str(ROOT / "configs/gemnet_a_image_folder.py")
COLOURS = {
    "blue": (30, 30, 220),
    "grey": (128, 128, 128),
    "green": (30, 200, 30),
    "red": (220, 30, 30),
    "yellow": (220, 220, 30),
}


def write_colours(root, counts=(("train", 20), ("val", 4))):
    """Five nearly plain colours, 100 images to train on."""
    rng = np.random.default_rng(0)
    for split, count in counts:
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.array(colour) + rng.integers(-20, 20, 3) + rng.integers(-10, 10, (40, 40, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{number}.png")
    return root


def options(root, **more):
    settings = {
        "data_root": str(root), "image_size": 32, "batch_size": 10, "epochs": 4, "default_hooks.logger.interval": 5,
        "train_dataloader.num_workers": 0, "val_dataloader.num_workers": 0, "model.head.in_channels": None,
        "model.backbone.arch": None, "model.backbone.cell": "gemnet_a", "model.backbone.target_macs": 3e7,
        "model.backbone.target_params": 3e5,
    }  # fmt: skip
    return {**settings, **more}


def log(folder):
    return "".join(path.read_text() for path in sorted(folder.glob("*/*.log")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The data and the work directory of a run of 40 iterations on 100 images."""
    root, work = write_colours(tmp_path_factory.mktemp("images")), tmp_path_factory.mktemp("work")
    engine.train(CONFIG, str(work), options=options(root))
    return root, work


def test_a_run_on_a_hundred_images_learns_through_its_averaged_weights(trained):
    rows = [json.loads(line) for path in trained[1].glob("*/vis_data/scalars.json") for line in path.read_text().splitlines()]
    found = [(row["accuracy/top1"], row["raw/accuracy/top1"]) for row in rows if "accuracy/top1" in row]
    assert len(found) == 4
    averaged, raw = found[-1]
    assert raw >= 80
    assert averaged >= raw - 10


def test_the_log_tells_both_accuracies_and_which_weights_are_kept(trained):
    text = log(trained[1])
    assert "averaged weights (EMA): over about 2 of 40 iterations" in text
    assert "judged by save_best and saved as state_dict" in text
    told = re.findall(r"accuracy/top1: ([\d.]+) averaged weights \(EMA\), which save_best judges; ([\d.]+) raw weights", text)
    assert len(told) == 4
    assert re.search(rf"Epoch\(val\) \[4\].* accuracy/top1: {told[3][0]}  raw/accuracy/top1: {told[3][1]}", text)
    assert "far behind" not in text
    best = max(float(averaged) for averaged, _ in told)
    assert f"The best checkpoint with {best:0.4f} accuracy/top1" in text


def test_a_checkpoint_holds_the_averaged_weights_as_its_weights_and_the_raw_ones_beside_them(trained):
    file = trained[1] / "epoch_4.pth"
    stored = read_checkpoint(file)
    averaged, raw = stored["state_dict"], stored["ema_state_dict"]
    assert raw["steps"] == 40
    assert {f"module.{key}" for key in averaged} | {"steps"} == set(raw)
    assert any(not torch.equal(value, raw[f"module.{key}"]) for key, value in averaged.items())
    assert all(torch.equal(value, averaged[key]) for key, value in read_state_dict(file).items())


def test_figures_in_the_log_are_those_of_the_weights_that_they_name(trained, tmp_path):
    """Each set of weights, loaded alone, gets the accuracy that the log tells of it."""
    root, work = trained
    told = re.findall(r"accuracy/top1: ([\d.]+) averaged weights.*; ([\d.]+) raw weights", log(work))[-1]
    stored = read_checkpoint(work / "epoch_4.pth")
    raw = {key.removeprefix("module."): value for key, value in stored["ema_state_dict"].items() if key != "steps"}
    for number, state in enumerate((stored["state_dict"], raw)):
        torch.save({"state_dict": state}, tmp_path / "weights.pth")
        found = engine.evaluate(
            CONFIG, str(tmp_path / "weights.pth"), str(tmp_path / "test"), options=options(root) | NO_WORKERS
        )
        assert found["accuracy/top1"] == pytest.approx(float(told[number]), abs=1e-3)


NO_WORKERS = {"test_dataloader.num_workers": 0}


def test_a_resumed_run_goes_on_with_averaged_and_raw_weights_bit_for_bit(trained, tmp_path):
    root, work = trained
    shutil.copy(work / "epoch_2.pth", tmp_path)
    engine.train(CONFIG, str(tmp_path), resume="auto", options=options(root))
    alone, resumed = (read_checkpoint(folder / "epoch_4.pth") for folder in (work, tmp_path))
    for part in ("state_dict", "ema_state_dict"):
        assert alone[part].keys() == resumed[part].keys()
        assert all(torch.equal(alone[part][key], resumed[part][key]) for key in alone[part])


def test_a_run_is_not_resumed_at_another_length(trained, tmp_path):
    root, work = trained
    shutil.copy(work / "epoch_2.pth", tmp_path)
    with pytest.raises(UserError, match=r"--resume: the schedule is not the checkpoint's: .*load_from=CHECKPOINT"):
        engine.train(CONFIG, str(tmp_path), resume="auto", options=options(root, epochs=8))


def test_an_average_that_reaches_back_too_far_is_warned_of(trained, tmp_path):
    """As mmengine's own does with ImageNet's momentum, which needs no warm-up of the decay to be far behind."""
    root, _ = trained
    given = options(root, epochs=3)
    hook = "custom_hooks.1"
    given |= {f"{hook}.ema_type": "ExponentialMovingAverage", f"{hook}.share": 0.999, f"{hook}.momentum": 1e-4}
    engine.train(CONFIG, str(tmp_path), options=given)
    assert re.search(r"WARNING - accuracy/top1: the averaged weights are far behind the raw ones", log(tmp_path))


def test_each_of_two_runs_within_a_second_has_its_log(trained, tmp_path):
    root, _ = trained
    for name in ("first", "second"):
        config = engine.load_config(CONFIG, options(root, epochs=1), str(tmp_path / name))
        engine.build_runner(config).logger.info(f"the {name} run")
    for name in ("first", "second"):
        assert re.findall(r"the (\w+) run", log(tmp_path / name)) == [name]


@pytest.mark.long
def test_two_processes_validate_both_weights_on_all_images(trained, tmp_path):
    root, _ = trained
    command = ["tools/dist_train.sh", CONFIG, "2", "--work-dir", str(tmp_path), "--cfg-options"]
    command += [f"{key}={value}" for key, value in options(root, batch_size=5, epochs=3).items()]
    folder = str(Path(sys.executable).parent)
    variables = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    text = log(tmp_path)
    assert "over about 2 of 30 iterations" in text
    told = re.findall(r"accuracy/top1: ([\d.]+) averaged weights \(EMA\), which save_best judges; ([\d.]+) raw weights", text)
    assert len(told) == 3
    for share in (float(value) / 100 for pair in told for value in pair):
        assert share * 20 == pytest.approx(round(share * 20))  # of 20 images
    assert read_checkpoint(tmp_path / "epoch_3.pth")["ema_state_dict"]["steps"] == 30


def average(hook, iterations):
    """The averaged model that a hook makes of a small model in a run of so many iterations."""
    loop = SimpleNamespace(max_iters=iterations)
    hook.before_run(SimpleNamespace(model=nn.Linear(2, 1), max_iters=iterations, _train_loop=loop))
    return hook.ema_model


@pytest.mark.parametrize(
    ("iterations", "momentum"),
    [(375_300, 1e-4), (200_000, 1e-4), (100_000, 2e-4), (1_000, 0.02), (40, 0.5), (4, 1.0), (1, 1.0)],
)
def test_the_average_reaches_back_a_twentieth_of_a_run_and_on_imagenet_as_far_as_before(iterations, momentum):
    assert average(EMAHook(momentum=1e-4), iterations).momentum == pytest.approx(momentum)


@pytest.mark.parametrize("iterations", [1, 7, 100, 5_000])
def test_nothing_is_left_of_the_random_start_at_the_end_of_a_run_however_short(iterations):
    """The weights stand at 0 in the beginning and at 1 from the first step on."""
    hook = EMAHook(momentum=1e-4)
    averaged, model = average(hook, iterations), nn.Linear(2, 1)
    nn.init.zeros_(averaged.module.weight)
    nn.init.ones_(model.weight)
    for _ in range(iterations):
        averaged.update_parameters(model)
    torch.testing.assert_close(averaged.module.weight, torch.ones(1, 2), rtol=0, atol=1e-3)


def test_the_decay_warms_up_as_timms_and_tensorflows_do():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    averaged = WarmedUpEMA(model, momentum=0.01)
    expected = None
    for step in range(2000):
        nn.init.normal_(model.weight)
        averaged.update_parameters(model)
        decay = min(0.99, (1 + step) / (10 + step))
        weight = model.weight.detach().double()
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
    torch.testing.assert_close(averaged.module.weight.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_hook_is_mmengines_and_is_found_by_its_name():
    hook = HOOKS.build({"type": "gemnet.EMAHook", "momentum": 1e-4, "priority": "ABOVE_NORMAL"})
    assert isinstance(hook, EMAHook)
    assert isinstance(hook, PlainEMAHook)
    for name, value in (("momentum", 0), ("momentum", float("nan")), ("share", 2), ("share", True), ("share", "a")):
        with pytest.raises(UserError, match=f"EMAHook: {name}=.*expected a number above 0"):
            EMAHook(**{name: value})


def test_mmengines_own_hook_is_warned_of_where_it_averages_over_most_of_the_run():
    said = []
    plain, ours = PlainEMAHook(momentum=1e-4), EMAHook(momentum=1e-4)
    for hooks, iterations in (([plain], 200), ([plain], 100_000), ([ours], 200)):
        said.append([])
        logger = SimpleNamespace(warning=said[-1].append)
        tell_reach(SimpleNamespace(hooks=hooks, max_iters=iterations, logger=logger))
    assert [len(lines) for lines in said] == [1, 0, 0]
    assert "averages over 10000 iterations, and the run has 200" in said[0][0]


def test_the_averaged_weights_are_the_ones_that_timm_gets(trained):
    settings = engine.load_config(CONFIG, options(trained[0]))
    engine.complete(settings)
    from mmengine.registry import MODELS

    model = MODELS.build({**copy.deepcopy(settings.model), "_scope_": "mmpretrain"})
    load_weights(model, trained[1] / "epoch_4.pth", prefix="")
    stored = read_checkpoint(trained[1] / "epoch_4.pth")["state_dict"]
    assert all(torch.equal(value, stored[key]) for key, value in model.state_dict().items())
