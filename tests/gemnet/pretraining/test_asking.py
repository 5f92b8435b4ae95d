"""A teacher is asked about each view once: by commands that stop, that share a cache, and on a disk that fills."""

import fcntl
import os
import shutil
import signal
import threading
from collections import namedtuple

import numpy as np
import pytest
import timm
import torch
from made_photos import CLASSES, SIZE

from gemnet.core.errors import DataError, UserError
from gemnet.images.pixels import read_image
from gemnet.pretraining import asking as asking_module
from gemnet.pretraining.asking import ask
from gemnet.pretraining.parts import CutView
from gemnet.pretraining.targets import WHOLE, Targets, record_type
from gemnet.pretraining.teachers import load_teacher


def files(photos):
    return sorted(str(path) for path in photos.rglob("*.*"))


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
    monkeypatch.setattr(asking_module, "BATCH", 4)
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

    monkeypatch.setattr(asking_module, "_answers", full)
    with pytest.raises(UserError, match=r"view_0.bin: No space left on device; make room or name another --cache"):
        ask(teacher, files(photos), [0], tmp_path, size=SIZE)


def test_answers_that_are_not_whole_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"view_0.bin: cannot be read"):
        Targets(tmp_path, 3, 4).read(0)
    np.zeros(2, record_type(4)).tofile(tmp_path / "view_0.bin")
    with pytest.raises(DataError, match="has 2 of 3 answers; ask again"):
        Targets(tmp_path, 3, 4).read(0)


def test_answers_have_the_pooled_features_where_they_are_asked_for(teacher, photos, tmp_path):
    images = files(photos)
    found, plain = (ask(teacher, images, [0], tmp_path, size=SIZE, features=wanted) for wanted in (True, False))
    assert found.folder != plain.folder
    answers = found.read(0)
    assert np.array_equal(answers["classes"], plain.read(0)["classes"])
    number = next(index for index, path in enumerate(images) if not path.endswith("broken.jpg"))
    shown = CutView(SIZE).transform({"img": read_image(images[number]), "image": number, "view": 0})["img"]
    pooled = torch.from_numpy(answers[number]["features"].astype(np.float32))
    with torch.no_grad():
        scores = teacher.model.get_classifier()(pooled).softmax(0)
    assert torch.allclose(scores, teacher(shown[None])[0], atol=2e-3)
    assert found.size(1) == len(images) * (32 * 4 + 2 * teacher.features)


def test_a_view_that_another_command_asks_about_is_waited_for(teacher, photos, tmp_path, capfd):
    images = files(photos)[:3]
    whole = ask(teacher, images, [0, 1], tmp_path / "whole", size=SIZE)
    first = ask(teacher, images, [1], tmp_path / "shared", size=SIZE).file(0)
    with open(first, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waits = threading.Event()
        arguments = (teacher, images, [0, 1], tmp_path / "shared", 0, SIZE, lambda done, total: waits.set())
        second = threading.Thread(target=ask, args=arguments)
        second.start()
        assert waits.wait(30)
        assert second.is_alive()
        other.write(whole.file(0).read_bytes()[: whole.kind.itemsize])  # it dies after one answer
    second.join(30)
    assert first.read_bytes() == whole.file(0).read_bytes()
    assert f"{first}: another process asks about this view; waiting for it" in capfd.readouterr().err


def test_a_command_that_was_killed_leaves_no_lock(teacher, photos, tmp_path):
    images = files(photos)[:2]
    file = ask(teacher, images, [0], tmp_path, size=SIZE).file(1)
    child = os.fork()
    if not child:
        fcntl.flock(os.open(file, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(ask(teacher, images, [1], tmp_path, size=SIZE).read(1)) == 2


@pytest.mark.slow  # starts a process
def test_processes_that_ask_together_have_the_answers_of_one(teacher, photos, tmp_path):
    images = files(photos)
    alone = ask(teacher, images, [0, 1, 2], tmp_path / "alone", size=SIZE)
    together = ask(teacher, images, [0, 1, 2], tmp_path / "together", size=SIZE, devices=["cpu"])
    for number in range(3):
        assert np.array_equal(alone.read(number)["classes"][:, 0], together.read(number)["classes"][:, 0])
        assert together.read(number)["scores"] == pytest.approx(alone.read(number)["scores"], abs=1e-3)


def test_a_disk_without_room_is_told_before_anything_is_asked(teacher, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "total used free")(10, 9, 1))
    with pytest.raises(UserError, match=r"the teacher's answers need 0\.00 GB more, and 0\.00 GB are free; make room or name"):
        ask(teacher, files(photos), [0], tmp_path, size=SIZE)
    assert not list(tmp_path.rglob("*.bin"))
