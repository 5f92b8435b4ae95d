"""Folders of images: every image is found by training and search alike, and what is passed over is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_images import made as make_all
from PIL import Image

from gemnet.core.errors import DataError
from gemnet.deploy.int8.images import labelled_files
from gemnet.images.folders import class_images, find_images, image_files
from gemnet.openmmlab.images import ImageFolder
from search.core.types import SearchError
from search.evaluation.data import ImageFolder as SearchFolder

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path, "PNG")
    return path


def other(path: Path, content: bytes = b"0 0.5 0.5 0.1 0.1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_training_search_and_calibration_find_the_same_images_by_one_list_of_suffixes(tmp_path):
    for label in ("train/a", "train/b"):
        for name, (content, _) in make_all().items():
            other(tmp_path / label / "deep er" / name, content)
        for name in (
            "x.jpeg",
            "x.JPG",
            "x.jfif",
            "x.gif",
            "x.tiff",
            "x.J2K",
            "x.apng",
            ".hidden.png",
            "notes.txt",
            ".cache/a.png",
        ):
            other(tmp_path / label / name)
        os.mkfifo(tmp_path / label / "fifo.jpg")  # named as an image: told when it is read
    training = [
        Path(item["img_path"]) for item in ImageFolder(data_root=str(tmp_path), split="train", pipeline=[]).load_data_list()
    ]
    assert len(training) == 2 * (len(make_all()) + 8)
    assert SearchFolder(tmp_path / "train", 8).files == training
    assert labelled_files(tmp_path / "train")[0] == training


def test_what_is_passed_over_is_told_once_with_what_it_is_and_the_remedy(tmp_path, capfd):
    for label in ("a", "b"):
        image(tmp_path / label / "0.png")
        other(tmp_path / label / "photo.HEIC", HEIC)
        other(tmp_path / label / "0.txt")
    other(tmp_path / "a/film.mp4")
    image(tmp_path / "a/0.png.bak")
    other(tmp_path / "b/LICENSE")
    (tmp_path / "b/linked").symlink_to(tmp_path / "a")
    for _ in range(2):
        assert [len(files) for files in class_images(tmp_path, "ab")] == [1, 1]
    (line,) = capfd.readouterr().err.splitlines()
    start, _, told = line.partition(": 8 files are passed over: ")
    assert start == str(tmp_path)
    assert "a/photo.HEIC and 1 more (HEIC: convert it to JPEG or PNG)" in told
    assert "a/film.mp4 (a video: save its frames as JPEG or PNG)" in told
    assert "a/0.png.bak (an image, but named as none: rename it, as to .jpg)" in told
    assert "a/0.txt and 2 more (no image)" in told
    assert "b/linked (a folder behind a link: copy it here, or link each class's folder)" in told


def test_a_folder_of_images_alone_makes_no_noise(tmp_path, capfd):
    image(tmp_path / "0.png")
    other(tmp_path / ".DS_Store")
    assert image_files(tmp_path) == [tmp_path / "0.png"]
    assert capfd.readouterr() == ("", "")


def test_one_process_of_several_tells_what_is_passed_over(tmp_path, capfd, monkeypatch):
    image(tmp_path / "0.png")
    other(tmp_path / "0.mov")
    monkeypatch.setenv("RANK", "1")
    image_files(tmp_path)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    image_files(tmp_path)
    assert "0.mov (a video" in capfd.readouterr().err


def test_an_image_without_a_suffix_is_found_and_other_files_without_one_are_not(tmp_path):
    image(tmp_path / "n01")
    other(tmp_path / "README", b"about these images")
    os.mkfifo(tmp_path / "pipe")
    found = find_images(tmp_path)
    assert found.files == [tmp_path / "n01"]
    assert found.passed_over == {
        ("no image", ""): [tmp_path / "README"],
        ("is a FIFO, not a file", "mend or remove it"): [tmp_path / "pipe"],
    }


UNREAD = {
    "a.heic": "HEIC: convert it to JPEG or PNG",
    "a.mp4": "a video: save its frames as JPEG or PNG",
    "a.MOV": "a video",
    "a.CR2": "a raw photo of a camera: develop it to JPEG, PNG or TIFF",
    "a.svg": "an SVG drawing: draw it to PNG",
    "a.pdf": "a document: save its pages",
    "a.dcm": "a DICOM image",
    "a.zip": "an archive: unpack it",
    "a.txt": "no image",
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_folder_with_nothing_that_is_read_is_refused_naming_what_is_there(name, tmp_path):
    for label in ("train/a", "train/b"):
        other(tmp_path / label / name)
    message = rf"train/a: no images in this folder; expected files \.bmp .*; passed over: {name} \({UNREAD[name]}"
    with pytest.raises(DataError, match=message):
        ImageFolder(data_root=str(tmp_path), split="train", pipeline=[]).load_data_list()
    with pytest.raises(DataError, match=message):
        image_files(tmp_path / "train/a")
    with pytest.raises(SearchError, match=message):
        SearchFolder(tmp_path / "train", 8)


def test_images_beside_the_folders_of_classes_are_told(tmp_path, capfd):
    for name in ("a/0.png", "b/0.png", "loose.jpg"):
        image(tmp_path / name)
    other(tmp_path / "labels.csv")
    class_images(tmp_path, "ab")
    told = "1 file is passed over: loose.jpg (an image in no class's folder: move it into one)"
    assert capfd.readouterr().err == f"{tmp_path}: {told}\n"


def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    image(tmp_path / "a/0.png")
    (tmp_path / "a").chmod(0)
    if os.access(tmp_path / "a", os.R_OK):
        pytest.skip("this user may read every folder")
    with pytest.raises(DataError, match=r"a: this folder cannot be read \(Permission denied\)"):
        image_files(tmp_path)


def test_of_files_with_one_unknown_suffix_the_first_alone_is_opened(tmp_path):
    other(tmp_path / "0.labels")
    for number in range(1, 4):
        image(tmp_path / f"{number}.labels")  # if one were opened, it would be told as an image with a wrong name
    os.mkfifo(tmp_path / "4.labels")
    assert find_images(tmp_path).passed_over == {("no image", ""): [tmp_path / f"{number}.labels" for number in range(5)]}
