"""The methods that are compared: each one's recipe, a step of each, and, slowly, whole small trainings."""

import json
import math
import multiprocessing
import time

import pytest
import torch
from made_detection import photos, truth, write_coco

from gemnet.core.errors import UserError
from search.experiments.detectors import mm, record, speed, ssdlite, tasks, training
from search.experiments.detectors.budget import Pace, cpu_seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set with a file for each split."""
    place = tmp_path_factory.mktemp("detectors") / "photos"
    for split, count, first in (("train", 9, 0), ("valid", 3, 20), ("test", 3, 30)):
        boxes = truth(count, first)
        photos(place / split, boxes)
        write_coco(place / split / "_annotations.coco.json", boxes)
    return place


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    return tasks.prepared_data("photos", folder, tmp_path_factory.mktemp("prepared"))


def test_rtmdet_has_its_authors_recipe_as_shares_of_the_run(prepared, tmp_path):
    config = mm.rtmdet_config(prepared, tmp_path, epochs=60, seed=5)
    assert config.model.backbone.type == "CSPNeXt"
    assert (config.model.backbone.init_cfg, config.randomness.seed) == (None, 5)
    assert config.model.bbox_head.num_classes == 2
    warm, cosine = config.param_scheduler
    assert warm.end == 60 * 2 // 20
    assert (cosine.begin, cosine.end, cosine.T_max) == (30, 60, 30)
    assert (config.train_cfg.max_epochs, config.train_cfg.val_interval) == (60, 6)
    rate = config.optim_wrapper.optimizer.lr
    assert rate == pytest.approx(0.004 * math.sqrt(mm.BATCH / 256), rel=0.01)
    assert cosine.eta_min == pytest.approx(0.05 * rate)
    (switch,) = [hook for hook in config.custom_hooks if hook.type == "PipelineSwitchHook"]
    assert switch.switch_epoch == 56
    (average,) = [hook for hook in config.custom_hooks if hook.type == "EMAHook"]
    assert average.momentum == 0.0002
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert steps["CachedMosaic"].img_scale == steps["RandomCrop"].crop_size == steps["Pad"].size == (320, 320)
    assert (steps["RandomResize"].scale, steps["CachedMixUp"].img_scale) == ((640, 640), (320, 320))
    assert "640" not in str([config.test_dataloader.dataset.pipeline, switch.switch_pipeline])


def test_a_short_run_of_rtmdet_ends_without_mixtures_and_the_warm_up_is_all_of_them(prepared, tmp_path):
    for epochs, switch in ((1, 1), (4, 3), (30, 28)):
        config = mm.rtmdet_config(prepared, tmp_path, epochs, 0)
        assert next(hook.switch_epoch for hook in config.custom_hooks if hook.type == "PipelineSwitchHook") == switch


def test_the_process_of_a_warm_up_has_ended_and_its_seconds_are_not_the_trainings():
    start = cpu_seconds()
    assert mm.apart(Pace, 1.0, 2.0) == Pace(1.0, 2.0)
    told = cpu_seconds()
    assert told - start > 0.1  # starting Python alone takes as long
    time.sleep(0.3)
    assert cpu_seconds() - told < 0.1
    assert multiprocessing.active_children() == []


def test_bfloat16_is_not_emulated(prepared, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(mm, "has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="gemnet_small_bfloat16: this CPU has no instructions for bfloat16; leave this"):
        mm.train_gemnet(tasks.Task("photos", folder, "gemnet_small_bfloat16", 0, 60.0, tmp_path), prepared)
    assert not any(tmp_path.iterdir())


@pytest.mark.long
def test_a_step_of_ssdlite_changes_all_its_weights(prepared, folder, tmp_path):
    run = ssdlite.Run(tasks.Task("photos", folder, "ssdlite320", 0, 60.0, tmp_path), prepared)
    before = [parameter.clone() for parameter in run.model.parameters()]
    assert run.step(next(iter(run.loader))) > 0
    assert (run.images, run.steps) == (8, 1)
    changed = [not torch.equal(old, new) for old, new in zip(before, run.model.parameters())]
    assert all(changed)


def test_ssdlite_learns_faster_in_the_middle_than_at_either_end(prepared, folder, tmp_path, monkeypatch):
    run = ssdlite.Run(tasks.Task("photos", folder, "ssdlite320", 0, 60.0, tmp_path), prepared)
    rates = []
    monkeypatch.setattr(run, "step", lambda batch: rates.append(run.optimizer.param_groups[0]["lr"]) or 1.0)
    for epoch in range(4):
        run.epoch(epoch, 4)
    full = ssdlite.RATE * ssdlite.BATCH / ssdlite.OF_BATCH
    assert rates == pytest.approx(
        [full / ssdlite.WARM_UP, full * (1 + math.sqrt(0.5)) / 2, full / 2, full * (1 - math.sqrt(0.5)) / 2]
    )


def test_boxes_for_torchvision_are_corners_within_the_changed_image(prepared):
    torch.manual_seed(0)
    for images in (
        ssdlite.CocoImages(prepared.files["train"], prepared.root, ssdlite.training_transform()),
        ssdlite.CocoImages(prepared.files["val"], prepared.root, ssdlite.test_transform()),
    ):
        for pixels, target in images:
            height, width = pixels.shape[1:]
            boxes = target["boxes"]
            assert pixels.dtype == torch.float32
            assert 0 <= pixels.min() <= pixels.max() <= 1
            assert len(boxes) == len(target["labels"])
            if len(boxes):
                assert (boxes[:, 2:] > boxes[:, :2]).all()
                assert (boxes[:, ::2].max(), boxes[:, 1::2].max()) <= (width, height)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gemnet_a", "ssdlite320", "rtmdet_tiny"])
def test_a_small_training_keeps_its_budget_and_leaves_its_row(method, folder, tmp_path):
    budget = 60.0
    found = training.train(tasks.Task("photos", folder, method, 0, budget, tmp_path / "work"))
    assert record.parse(json.loads((tmp_path / "work" / training.ROW).read_text())) == found
    assert found["cpu_seconds"] == pytest.approx(budget, rel=0.3)  # short runs are noisy
    assert found["images"] <= 9 * found["epochs"]
    assert found["validation"][-1][0] == found["epochs"]
    assert 10 <= len(found["validation"]) <= 12


@pytest.mark.slow
def test_networks_are_exported_counted_and_timed(tmp_path):
    found = speed.measured(["gemnet_a", "ssdlite320", "rtmdet_tiny"], tmp_path, rounds=2)
    params = {name: round(one["params"] / 1e6, 1) for name, one in found["methods"].items()}
    macs = {name: round(one["macs"] / 1e9, 1) for name, one in found["methods"].items()}
    assert params == {"gemnet_a": 2.7, "ssdlite320": 3.3, "rtmdet_tiny": 4.9}
    assert macs == {"gemnet_a": 1.3, "ssdlite320": 0.6, "rtmdet_tiny": 2.0}
    for one in found["methods"].values():
        assert 0 < one["seconds"]["fastest"] <= one["seconds"]["median"] <= one["seconds"]["slowest"]
