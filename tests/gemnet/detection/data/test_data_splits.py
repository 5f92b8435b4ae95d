"""Splits that are made: the same everywhere, each class in each, and copies of a photo on one side."""

import shutil
from collections import Counter

import pytest
from made_detection import boxes_in, photo, photos, truth, write_coco, write_csv
from PIL import Image, ImageEnhance

from gemnet.core.errors import DataError
from gemnet.detection.data import prepare

BOXES = truth(60)


@pytest.fixture
def folder(tmp_path):
    photos(tmp_path / "a", BOXES)
    write_csv(tmp_path / "a/labels.csv", BOXES)
    return tmp_path / "a"


def splits(prepared):
    return {split: set(images) for split, images in boxes_in(prepared).items()}


def test_the_same_data_are_split_alike_wherever_they_lie_and_otherwise_with_another_seed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere/b")
    first = splits(prepare(folder, tmp_path / "work"))
    assert splits(prepare(tmp_path / "elsewhere/b", tmp_path / "other")) == first
    assert splits(prepare(folder, tmp_path / "third", seed=1)) != first
    assert {split: len(names) for split, names in first.items()} == {"train": 42, "val": 9, "test": 9}


def test_a_split_is_the_same_as_when_this_was_written(folder, tmp_path):
    found = splits(prepare(folder, tmp_path / "work"))
    assert sorted(name[1:4] for name in found["test"]) == ["012", "014", "022", "028", "037", "045", "050", "057", "059"]


def test_each_class_is_in_each_split_in_its_share(folder, tmp_path):
    rare = {**BOXES, **{f"p{i:03d}.jpg": [("rare", (1, 1, 20, 20))] for i in range(0, 60, 9)}}
    write_csv(folder / "labels.csv", rare)
    read = boxes_in(prepare(folder, tmp_path / "work"))
    counts = {split: Counter(label for own in images.values() for label, _ in own) for split, images in read.items()}
    assert [counts[split]["rare"] for split in ("train", "val", "test")] == [5, 1, 1]


def test_copies_of_a_photo_stay_together_also_when_saved_again_smaller_or_brighter(folder, tmp_path):
    more = dict(BOXES)
    for index in range(0, 30, 3):
        image = Image.open(folder / f"p{index:03d}.jpg")
        image.save(folder / f"saved{index}.jpg", quality=30)
        image.resize((72, 48)).save(folder / f"small{index}.png")
        ImageEnhance.Brightness(image).enhance(1.1).save(folder / f"bright{index}.jpg")
        for name in (f"saved{index}.jpg", f"bright{index}.jpg"):
            more[name] = BOXES[f"p{index:03d}.jpg"]
    write_csv(folder / "labels.csv", more, "filename,class,xmin,ymin,xmax,ymax")
    with (folder / "labels.csv").open("a") as file:
        file.writelines(f"small{index}.png,red,1,1,20,20\n" for index in range(0, 30, 3))
    found = splits(prepare(folder, tmp_path / "work"))
    for index in range(0, 30, 3):
        group = {f"p{index:03d}.jpg", f"saved{index}.jpg", f"small{index}.png", f"bright{index}.jpg"}
        assert sum(bool(group & names) for names in found.values()) == 1
    assert all(found.values())


def test_only_the_split_that_is_missing_is_made_from_the_training_images(tmp_path):
    for split, boxes in (("train", truth(20)), ("test", truth(6, 20))):
        photos(tmp_path / "a" / split, boxes)
        write_coco(tmp_path / "a" / split / "_annotations.coco.json", boxes)
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    found = splits(prepared)
    assert found["test"] == set(truth(6, 20))
    assert found["train"] | found["val"] == set(truth(20))
    assert len(found["val"]) == 3
    assert any("no split for val: val (3 images) taken from the training images, seed 0" in note for note in prepared.notes)


def test_photos_that_all_look_alike_are_split_aloud_though_copies_are_then_in_several(tmp_path):
    for index in range(20):
        photo(tmp_path / f"a/q{index}.jpg", 0)
    lines = [f"q{index}.jpg,red,1,1,20,20" for index in range(20)]
    (tmp_path / "a/labels.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *lines]))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert prepared.images == {"train": 14, "val": 3, "test": 3}
    assert any("look alike" in note and "too good" in note for note in prepared.notes)


def test_three_photos_are_enough_and_two_too_few(tmp_path):
    photos(tmp_path / "a", truth(3))
    write_csv(tmp_path / "a/labels.csv", truth(3))
    assert set(prepare(tmp_path / "a", tmp_path / "work").images.values()) == {1}
    write_csv(tmp_path / "a/labels.csv", truth(2))
    with pytest.raises(DataError, match="2 images are too few to train, validate and test with; expected at least 3"):
        prepare(tmp_path / "a", tmp_path / "work")


def test_data_to_test_with_alone_are_refused(tmp_path):
    photos(tmp_path / "a/test", truth(6))
    write_csv(tmp_path / "a/test/labels.csv", truth(6))
    with pytest.raises(DataError, match="images to validate or test with, but none to train on"):
        prepare(tmp_path / "a", tmp_path / "work")
