"""Prepared data: written whole or not at all, found again while nothing has changed, and nothing of the user's is touched."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_detection import boxes_in, photo, photos, truth, write_coco, write_csv, write_voc

from gemnet.core.errors import DataError
from gemnet.detection.data import check, prepare, prepared, write_page

BOXES = truth(12)


@pytest.fixture
def folder(tmp_path):
    photos(tmp_path / "a", BOXES)
    write_voc(tmp_path / "a", BOXES)
    return tmp_path / "a"


def state(folder):
    """All that can be told of the files in a folder."""
    paths = [folder, *folder.rglob("*")]
    return {path.relative_to(folder): (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in paths}


def test_unchanged_data_are_found_again_without_reading_them(folder, tmp_path, monkeypatch):
    first = prepare(folder, tmp_path / "work")
    before = state(tmp_path / "work")
    monkeypatch.setattr(prepared, "load", lambda *_: pytest.fail("the data are read again"))
    assert prepare(folder, tmp_path / "work") == first
    assert prepare(Path(os.path.relpath(folder)), tmp_path / "work") == first
    assert state(tmp_path / "work") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, work: photo(folder / "p000.jpg", 77, quality=50),
        lambda folder, work: (folder / "p000.xml").unlink(),
        lambda folder, work: (work / "data/val.json").write_text("{}"),
        lambda folder, work: (work / "data/test.json").unlink(),
        lambda folder, work: (work / "data/prepared.json").write_text("{"),
    ],
)
def test_what_has_changed_is_prepared_anew(folder, tmp_path, change):
    prepare(folder, tmp_path / "work")
    change(folder, tmp_path / "work")
    again = prepare(folder, tmp_path / "work")
    assert boxes_in(again) == boxes_in(prepare(folder, tmp_path / "fresh"))


def test_the_same_data_give_the_same_bytes(folder, tmp_path):
    first, second = (prepare(folder, tmp_path / name) for name in ("one", "two"))
    assert [file.read_bytes() for file in first.files.values()] == [file.read_bytes() for file in second.files.values()]


def test_a_work_dir_in_the_folder_is_not_part_of_the_data(folder):
    first = prepare(folder, folder / "work")
    photo(folder / "work/pictures/p000.jpg", 0)
    write_coco(folder / "work/predictions.json", BOXES)
    assert prepare(folder, folder / "work") == first


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_call_that_is_stopped_or_meets_a_full_disk_leaves_the_files_of_the_last_one(folder, tmp_path, monkeypatch, error):
    first = prepare(folder, tmp_path / "work")
    before, written = state(tmp_path / "work"), Path.write_text

    def fails(path, *arguments, **more):
        if path.name == "test.json":
            written(path, "[{")
            raise error
        return written(path, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(type(error)):
        prepare(folder, tmp_path / "work", seed=1)
    left = state(tmp_path / "work")
    assert {path: content for path, (_, content) in left.items()} == {path: content for path, (_, content) in before.items()}
    monkeypatch.undo()
    assert prepare(folder, tmp_path / "work") == first


def test_ctrl_c_between_the_renaming_of_old_and_new_files_brings_the_old_ones_back(folder, tmp_path, monkeypatch):
    prepare(folder, tmp_path / "work")
    before, rename = boxes_in(prepare(folder, tmp_path / "work")), os.rename

    def stopped(source, target):
        if str(source).endswith(".part"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "work", seed=1)
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["data"]
    assert boxes_in(prepare(folder, tmp_path / "work")) == before


def test_nothing_is_written_to_a_folder_that_may_only_be_read(folder, tmp_path):
    before = state(folder)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        prepare(folder, tmp_path / "work")
        write_page(check(folder), tmp_path / "page.html")
        assert state(folder) == before
    finally:
        folder.chmod(0o755)


def test_a_folder_that_may_not_be_read_is_told(folder, tmp_path, monkeypatch):
    (folder / "more").mkdir()
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(DataError, match=r"more: this folder cannot be read .*change its permissions"):
        prepare(folder, tmp_path / "work")


def test_links_to_folders_are_followed_once(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/photos").symlink_to(folder)
    (tmp_path / "linked/again").symlink_to(tmp_path / "linked")
    assert sum(prepare(tmp_path / "linked", tmp_path / "work").images.values()) == len(BOXES)


def test_many_files_are_read_in_processes_and_give_the_same(folder, tmp_path):
    """In a process of its own: it forks."""
    script = (
        "import sys; from pathlib import Path\n"
        "from gemnet.detection.data import parallel, prepare\n"
        "parallel.FEW, parallel.CHUNK = 1, 2\n"
        "parallel.os.sched_getaffinity = lambda _: {0, 1}\n"
        "print(prepare(Path(sys.argv[1]), Path(sys.argv[2])).images)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, folder, tmp_path / "work"], capture_output=True, text=True, check=True)
    alone = prepare(folder, tmp_path / "alone")
    assert done.stdout.strip() == str(dict(alone.images))
    for file in alone.files.values():
        assert (tmp_path / "work/data" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_processes_that_read_files_end_with_the_first_one(number):
    script = (
        "import time; from gemnet.detection.data import parallel\n"
        "parallel.FEW, parallel.CHUNK = 1, 1\n"
        "parallel.os.sched_getaffinity = lambda _: {0, 1}\n"
        "print('ready', flush=True)\n"
        "parallel.mapped(time.sleep, [0.2] * 400)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    send = os.killpg if number == signal.SIGINT else os.kill  # Ctrl-C reaches the group, the kernel's end of memory one
    send(process.pid, number)
    _, told = process.communicate(timeout=30)  # the pipes close when the last process has ended
    assert process.returncode == (-number if number == signal.SIGKILL else -signal.SIGINT)
    assert told.count("Traceback") == (number == signal.SIGINT)


def test_the_work_dir_gets_names_relative_to_the_folder_and_its_classes_in_order(folder, tmp_path):
    found = prepare(folder, tmp_path / "work")
    content = json.loads(found.files["train"].read_text())
    assert found.root == folder
    assert all(not os.path.isabs(image["file_name"]) for image in content["images"])
    assert [category["name"] for category in content["categories"]] == list(found.classes)


def test_the_same_photo_in_two_splits_is_told(tmp_path):
    photos(tmp_path / "a", BOXES)
    for split, boxes in (("train", BOXES), ("val", truth(4)), ("test", truth(2, 10))):
        write_csv(tmp_path / f"a/{split}.csv", boxes)
    notes = prepare(tmp_path / "a", tmp_path / "work").notes
    assert "4 images are in train and val alike, first p000.jpg: what is measured is too good" in notes
