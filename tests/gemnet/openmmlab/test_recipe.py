"""One number each for a run's length, batch, image size and data: what follows from it, what stays, what is refused."""

import copy
import os
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from PIL import Image

from gemnet.core.errors import UserError
from gemnet.openmmlab import schedule
from gemnet.openmmlab.engine import load_config, merge, use_pretrained
from gemnet.openmmlab.images import LoadImage

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*.py"))
FOLDER, RETINANET, TINY = (
    f"configs/{name}.py" for name in ("gemnet_a_image_folder", "retinanet_gemnet_a", "gemnet_a_tiny_imagenet")
)


@lru_cache
def read(name):
    return load_config(str(ROOT / name))


def changed(name, options):
    """A shipped config with options over it."""
    settings = copy.deepcopy(read(name))
    merge(settings, options)
    return settings


def config(name, **options):
    return changed(name, {key.replace("__", "."): value for key, value in options.items()})


def own(folder, base, text):
    """A user's config that inherits one of ours."""
    path = folder / "own.py"
    path.write_text(f"_base_ = {os.path.relpath(ROOT / base, folder)!r}\n{text}\n")
    return load_config(str(path))


def loaders(settings):
    return [settings[f"{split}_dataloader"] for split in ("train", "val", "test")]


def rates(settings, length):
    """The learning rate of every iteration of a run with epochs of `length` iterations, relative to the config's."""
    epochs = settings.train_cfg.max_epochs

    class Loop:
        dataloader = [None] * length
        max_epochs = epochs
        max_iters = epochs * length

    class Log:
        info = warning = staticmethod(lambda text: None)

    class Stub:
        train_loop, logger, param_schedulers = Loop, Log, settings.param_scheduler

    schedule.fit(Stub)
    optimizer = OptimWrapper(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0))
    built = []
    for one in Stub.param_schedulers:
        one = dict(one)
        one.setdefault("end", epochs if one.get("by_epoch", True) else Loop.max_iters)
        built.append(PARAM_SCHEDULERS.build(one, default_args={"optimizer": optimizer, "epoch_length": length}))
    found = []
    for iteration in range(Loop.max_iters):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for one in built:
            if not one.by_epoch or (iteration + 1) % length == 0:
                one.step()
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_by_default_what_its_file_says(name):
    plain, settings = Config.fromfile(ROOT / name), config(name)
    settings.pop("work_dir")
    assert settings.to_dict() == plain.to_dict()
    assert {name: plain[name] for name in plain.recipe if name != "val_interval"} == {
        name: value for name, value in plain.recipe.items() if name != "val_interval"
    }
    assert plain.recipe.epochs == plain.train_cfg.max_epochs
    own_schedule = plain.train_cfg.get("type") == "gemnet.TimedTrainLoop"
    assert schedule.span(plain.param_scheduler) == (None if own_schedule else plain.recipe.epochs)
    assert plain.recipe.batch_size == plain.train_dataloader.batch_size


def test_the_shipped_recipes_are_the_ones_documented():
    imagenet, coco = config("configs/gemnet_a_imagenet.py"), config(RETINANET)
    assert [one.get("end", one.get("T_max")) for one in imagenet.param_scheduler] == [5, 295]
    assert (imagenet.train_cfg.max_epochs, imagenet.train_dataloader.batch_size) == (300, 128)
    assert [step.get("scale", step.get("crop_size")) for step in imagenet.val_dataloader.dataset.pipeline[1:3]] == [256, 224]
    assert (coco.train_cfg.max_epochs, coco.train_cfg.val_interval, coco.param_scheduler[1].milestones) == (72, 4, [60, 68])
    assert coco.val_dataloader.dataset.data_root == "data/coco/"
    assert coco.val_evaluator.ann_file is None  # the data set's own
    assert [one.get("T_max") for one in config(FOLDER).param_scheduler] == [None, 95]
    assert [one.get("T_max") for one in config(TINY).param_scheduler] == [None, 2]


@pytest.mark.parametrize("name", [FOLDER, RETINANET, TINY, "configs/gemnet_a_imagenet.py"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 400])
def test_at_any_length_the_learning_rate_rises_to_its_full_height_and_falls_at_the_end(name, epochs):
    found = rates(config(name, epochs=epochs), 30)
    highest = found.index(max(found))
    assert found[highest] == pytest.approx(1, abs=0.05)
    assert highest <= max(1, 0.34 * len(found))
    assert found[0] < 0.2 or len(found) < 40
    assert found[-1] < 0.11
    assert all(a >= b for a, b in zip(found[highest:], found[highest + 1 :]))


@pytest.mark.parametrize("name", [FOLDER, RETINANET, TINY])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_run_of_a_few_iterations_has_a_schedule(name, length):
    found = rates(config(name, epochs=2), length)
    assert len(found) == 2 * length
    assert all(0 <= rate <= 1 for rate in found)
    assert max(found) > 0.4


def test_the_schedule_keeps_its_shares_of_the_run():
    assert config(RETINANET, epochs=144).param_scheduler[1].milestones == [120, 136]
    assert config(RETINANET, epochs=12).param_scheduler[1].milestones == [10, 11]
    warm, cosine = config(FOLDER, epochs=20).param_scheduler
    assert (warm.end, cosine.begin, cosine.T_max) == (2, 2, 18)  # a warm-up of a tenth
    warm, cosine = config(FOLDER, epochs=400).param_scheduler
    assert (warm.end, cosine.begin, cosine.T_max) == (5, 5, 395)
    assert [config(RETINANET, epochs=n).train_cfg.val_interval for n in (144, 72, 36, 18, 3, 1)] == [4, 4, 2, 1, 1, 1]


@pytest.mark.parametrize("name", [FOLDER, RETINANET])
def test_mmengines_name_of_the_length_is_the_same_number(name):
    one, other = config(name, epochs=9), config(name, train_cfg__max_epochs=9)
    assert one.to_dict() == other.to_dict()
    assert one.epochs == one.train_cfg.max_epochs == 9
    with pytest.raises(UserError, match=r"epochs=9, but train_cfg.max_epochs=8: they are one number"):
        config(name, epochs=9, train_cfg__max_epochs=8)


def test_what_an_option_names_itself_is_left_to_it():
    settings = config(RETINANET, epochs=12, param_scheduler__1__milestones=[3, 6], train_cfg__val_interval=5)
    assert settings.param_scheduler[1].milestones == [3, 6]
    assert settings.param_scheduler[1].end == 72
    assert settings.train_cfg.val_interval == 5
    settings = config(
        FOLDER, batch_size=8, val_dataloader__batch_size=100, data_root="a", val_dataloader__dataset__data_root="b"
    )
    assert [loader.batch_size for loader in loaders(settings)] == [8, 100, 8]
    assert [loader.dataset.data_root for loader in loaders(settings)] == ["a", "b", "a"]
    settings = config(FOLDER, image_size=64, val_dataloader__dataset__pipeline__1__scale=99)
    assert settings.val_dataloader.dataset.pipeline[1].scale == 99


def test_one_number_is_the_batch_the_size_and_the_data_everywhere():
    settings = config(FOLDER, batch_size=9, image_size=112, data_root="photos")
    assert [loader.batch_size for loader in loaders(settings)] == [9] * 3
    assert [loader.dataset.data_root for loader in loaders(settings)] == ["photos"] * 3
    assert settings.train_dataloader.dataset.pipeline[1].scale == 112
    for loader in loaders(settings)[1:]:
        assert [step.get("scale", step.get("crop_size")) for step in loader.dataset.pipeline[1:3]] == [128, 112]
    settings = config(RETINANET, batch_size=4, image_size=[600, 1000], data_root=2017)
    assert [loader.batch_size for loader in loaders(settings)] == [4, 1, 1]
    scales = [step.scale for loader in loaders(settings) for step in loader.dataset.pipeline if step.type == "Resize"]
    assert scales == [(600, 1000)] * 3
    assert [loader.dataset.data_root for loader in loaders(settings)] == ["2017"] * 3
    assert settings.val_evaluator.ann_file is settings.test_evaluator.ann_file is None  # the data set's own
    assert config(RETINANET, image_size=640).train_dataloader.dataset.pipeline[2].scale == (640, 640)
    steps = config(TINY, image_size=32).train_dataloader.dataset.pipeline
    assert (steps[1].scale, steps[2].crop_size, steps[2].padding) == (32, 32, 3)


def test_resizing_tiny_imagenets_images_to_their_own_size_changes_no_pixel(tmp_path):
    from mmengine.registry import TRANSFORMS

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    step = TRANSFORMS.build({**config(TINY).test_dataloader.dataset.pipeline[1], "_scope_": "mmpretrain"})
    loaded = LoadImage()({"img_path": str(tmp_path / "a.png")})
    assert np.array_equal(step(dict(loaded))["img"], pixels[..., ::-1])


def test_a_config_that_inherits_sets_a_number_by_either_name_and_keeps_what_it_sets_itself(tmp_path):
    for text in ("epochs = 36", "train_cfg = dict(max_epochs=36)", "epochs = 36\ntrain_cfg = dict(max_epochs=36)"):
        settings = own(tmp_path, RETINANET, text)
        assert (settings.epochs, settings.train_cfg.max_epochs, settings.train_cfg.val_interval) == (36, 36, 2)
        assert settings.param_scheduler[1].milestones == [30, 34]
    with pytest.raises(UserError, match=r"own.py: epochs=36, but train_cfg.max_epochs=30"):
        own(tmp_path, RETINANET, "epochs = 36\ntrain_cfg = dict(max_epochs=30)")

    steps = "[dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1)]"
    for text in ("train_cfg = dict(max_epochs=12, val_interval=6)", "epochs = 12\ntrain_cfg = dict(val_interval=6)"):
        settings = own(tmp_path, RETINANET, f"{text}\nparam_scheduler = {steps}")
        assert settings.param_scheduler[0].milestones == [8, 11]
        assert settings.train_cfg.val_interval == 6
        assert settings.train_cfg.max_epochs == settings.epochs == 12
        merge(settings, {"epochs": 24})  # from there on the one number counts from the user's own values
        assert settings.param_scheduler[0].milestones == [16, 22]

    settings = own(
        tmp_path, FOLDER, "batch_size = 16\ndata_root = 'a'\nval_dataloader = dict(batch_size=7, dataset=dict(data_root='b'))"
    )
    assert [loader.batch_size for loader in loaders(settings)] == [16, 7, 16]
    assert [loader.dataset.data_root for loader in loaders(settings)] == ["a", "b", "a"]


def test_the_shorter_schedule_of_pretrained_weights_follows_the_number_and_is_never_the_longer(tmp_path):
    def pretrained(settings):
        use_pretrained(settings, "weights.pth")
        return settings

    settings = pretrained(config(RETINANET))
    assert (settings.epochs, settings.train_cfg.max_epochs, settings.train_cfg.val_interval) == (24, 24, 1)
    assert (settings.param_scheduler[0].end, settings.param_scheduler[1].milestones) == (500, [16, 22])
    merge(settings, {"train_cfg.max_epochs": 12})
    assert (settings.epochs, settings.param_scheduler[1].milestones) == (12, [8, 11])
    settings = pretrained(own(tmp_path, RETINANET, "epochs = 6"))
    assert (settings.epochs, settings.param_scheduler[1].milestones, settings.param_scheduler[1].end) == (6, [4, 5.5], 6)


@pytest.mark.parametrize(
    ("batch", "images", "enable", "told"),
    [
        (64, 1000, False, []),
        (
            16,
            1000,
            False,
            ["for batches of 64 images, and stays with this run's 16; --auto-scale-lr would multiply it by 0.25"],
        ),
        (16, 1000, True, []),
        (128, 100, True, ["a batch of 128 is more than the 100 images to train on"]),
    ],
)
def test_the_log_tells_a_learning_rate_for_another_batch_and_a_batch_beyond_the_data(batch, images, enable, told):
    settings, said = config(FOLDER, batch_size=batch), []
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=range(images)))
    scaling = {**settings.auto_scale_lr, "enable": enable}
    logger = SimpleNamespace(warning=said.append)
    schedule.tell_batch(SimpleNamespace(auto_scale_lr=scaling, cfg=settings, train_loop=loop, logger=logger))
    assert len(said) == len(told)
    assert all(expected in line for expected, line in zip(told, said))


def test_the_number_may_be_changed_in_a_copy_of_a_config_too(tmp_path):
    for epochs in (3, 5, 30):
        text = (ROOT / FOLDER).read_text().replace("epochs = 100", f"epochs = {epochs}")
        path = tmp_path / f"copy_{epochs}.py"
        path.write_text(
            text.replace("./gemnet_a_imagenet.py", os.path.relpath(ROOT / "configs/gemnet_a_imagenet.py", tmp_path))
        )
        found = rates(load_config(str(path)), 20)
        assert len(found) == 20 * epochs
        assert max(found) == pytest.approx(1)
        assert found[-1] < 0.01


def test_a_detectors_warm_up_is_at_most_a_tenth_of_its_run():
    found = rates(config(RETINANET, epochs=10), 20)
    assert found[18] < 1 == pytest.approx(found[19])
    found = rates(config(RETINANET, epochs=2), 10_000)
    assert found[998] < 1 == pytest.approx(found[999])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (FOLDER, {"epochs": 2.5}, r"^epochs: expected a whole number from 1 to 100000, found 2.5"),
        (FOLDER, {"train_cfg.max_epochs": 2.5}, r"^train_cfg.max_epochs: expected a whole number from 1"),
        (FOLDER, {"train_cfg.max_epochs": True}, r"train_cfg.max_epochs: expected a whole number from 1 .*found True"),
        (FOLDER, {"epochs": 0}, "epochs: expected a whole number from 1"),
        (FOLDER, {"epochs": "ten"}, "epochs: expected a whole number from 1"),
        (FOLDER, {"epochs": float("inf")}, "epochs=inf: expected finite numbers"),
        (FOLDER, {"batch_size": 1.5}, "batch_size: expected a whole number from 1"),
        (RETINANET, {"train_dataloader.batch_size": 1.5}, "train_dataloader.batch_size: expected a whole number from 1"),
        (FOLDER, {"train_dataloader.num_workers": -1}, "train_dataloader.num_workers: expected a whole number from 0"),
        (FOLDER, {"image_size": [224, 320]}, "image_size: expected a whole number from 1"),
        (RETINANET, {"image_size": [640]}, "image_size: expected a list of 2 whole numbers from 1"),
        (RETINANET, {"image_size": [640, 0.5]}, "image_size: value 2: expected a whole number"),
        (FOLDER, {"data_root": ["a"]}, "data_root: expected a text"),
        (FOLDER, {"optim_wrapper.optimizer.lr": -1}, "optim_wrapper.optimizer.lr: expected a number above 0"),
        (FOLDER, {"optim_wrapper.optimizer.lr": float("nan")}, "optim_wrapper.optimizer.lr=nan: expected finite"),
        (FOLDER, {"randomness.seed": 1.5}, "randomness.seed: expected a whole number from 0"),
        (RETINANET, {"train_dataloader.dataset.filter_cfg.min_size": float("nan")}, "min_size=nan: expected finite numbers"),
        (RETINANET, {"model.backbone.out_indices": "234"}, r"model.backbone.out_indices='234': expected a list"),
        (RETINANET, {"train_dataloader.persistent_workers": 1}, "persistent_workers=1: expected True or False"),
        (RETINANET, {"train_cfg": 3}, "train_cfg=3: expected settings by name, as train_cfg.type"),
        (FOLDER, {"train_cfg.max_epoch": 3}, r"has no train_cfg.max_epoch; did you mean train_cfg.max_epochs\?"),
        (FOLDER, {"optim_wraper.optimizer.lr": 3}, r"has no optim_wraper; did you mean optim_wrapper.optimizer.lr\?"),
        (FOLDER, {"optim_wrapper.optimiser.lr": 3}, r"did you mean optim_wrapper.optimizer.lr\?"),
        (FOLDER, {"epoch": 3}, r"has no epoch; did you mean epochs\?"),
        (FOLDER, {"max_epochs": 3}, r"has no max_epochs; did you mean train_cfg.max_epochs\?"),
        (FOLDER, {"lr": 3}, r"has no lr; did you mean optim_wrapper.optimizer.lr\?"),
        (RETINANET, {"train_dataloader.dataset.pipeline.2.scales": 3}, r"did you mean \S+pipeline.2.scale\?"),
        (FOLDER, {"nonsense": 3}, "has no nonsense; expected one of"),
    ],
)
def test_settings_that_no_training_has_are_refused_by_name(name, options, message):
    with pytest.raises(UserError, match=message):
        changed(name, options)


@pytest.mark.parametrize(
    "text", ["epochs = 2.5", "train_cfg = dict(max_epochs=2.5)", "optim_wrapper = dict(optimizer=dict(lr=-1))"]
)
def test_settings_of_a_config_are_checked_as_options_are(text, tmp_path):
    with pytest.raises(UserError, match=r"own.py: \S+: expected a"):
        own(tmp_path, FOLDER, text)


def test_new_names_that_resemble_nothing_and_those_of_another_type_pass():
    settings = config(
        RETINANET, model__backbone__frozen_stages=1, load_from="a.pth", optim_wrapper__accumulative_counts=4,
        optim_wrapper__paramwise_cfg__bias_lr_mult=2.0, train_dataloader__drop_last=True,
    )  # fmt: skip
    assert settings.model.backbone.frozen_stages == 1
    place = "train_dataloader.dataset.pipeline.2"
    settings = changed(RETINANET, {f"{place}.type": "RandomChoiceResize", f"{place}.scales": [[640, 480], [480, 320]]})
    assert settings.train_dataloader.dataset.pipeline[2].scales == [[640, 480], [480, 320]]


def test_a_size_that_a_pipeline_of_ones_own_does_not_follow_is_refused(tmp_path):
    steps = "[dict(type='gemnet.LoadImage'), dict(type='RandomResize', scale=[(1, 2), (3, 4)]), dict(type='PackDetInputs')]"
    settings = own(tmp_path, RETINANET, f"train_dataloader = dict(dataset=dict(pipeline={steps}))")
    with pytest.raises(UserError, match=r"image_size=\[640, 640\]: no step of train_dataloader's pipeline has scale"):
        merge(settings, {"image_size": 640})


def test_a_config_without_our_numbers_is_stretched_all_the_same(tmp_path):
    """One of MMDetection's own."""
    path = tmp_path / "plain.py"
    path.write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    settings = load_config(str(path), {"train_cfg.max_epochs": 24, "data_root": "photos", "batch_size": 3})
    assert (settings.train_cfg.max_epochs, settings.param_scheduler[1].milestones) == (24, [16, 22])
    assert [loader.dataset.data_root for loader in loaders(settings)] == ["photos"] * 3
    assert settings.val_evaluator.ann_file == "photos/annotations/instances_val2017.json"
    with pytest.raises(UserError, match=r"image_size=64: nothing in .*plain.py follows this number"):
        load_config(str(path), {"image_size": 64})
