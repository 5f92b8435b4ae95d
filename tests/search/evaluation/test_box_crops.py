"""Crops of a detection data set: what is cut, from which split, what is left out, what is refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from made_detection import CLASSES, SIZE, photo, photos, truth, write_coco, write_csv, write_voc, write_yolo
from PIL import Image

from gemnet.core.settings import settings_of
from gemnet.images.pixels import ImageError, read_image
from search.core.types import SearchError
from search.evaluation.box_crops import BACKGROUND, FREE, box_crops
from search.evaluation.data import ProxyData, build_data

TRAIN, VAL, TEST = truth(12), truth(8, 12), truth(6, 20)
ALL = {**TRAIN, **VAL, **TEST}


def write_splits(root: Path, splits: dict) -> Path:
    for split, boxes in splits.items():
        photos(root / split, boxes)
        write_coco(root / split / "_annotations.coco.json", boxes)
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_splits(tmp_path / "photos", {"train": TRAIN, "valid": VAL, "test": TEST})


def crops(root: Path, **settings: object) -> ProxyData:
    return build_data("box_crops", root=str(root), **{"size": 24, "min_side": 4, **settings})


def contents(data: ProxyData) -> dict[str, dict[str, list[bytes]]]:
    """By split and class the pixels of each crop, sorted."""
    found: dict[str, dict[str, list[bytes]]] = {}
    for split in ("train", "val"):
        images, labels = getattr(data, f"{split}_images"), getattr(data, f"{split}_labels")
        found[split] = {
            name: sorted(image.numpy().tobytes() for image in images[labels == label])
            for label, name in enumerate(data.classes)
        }
    return found


def cut_by_hand(file: Path, box: tuple[int, int, int, int], size: int) -> bytes:
    x, y, width, height = box
    side = min(round(1.2 * max(width, height)), *SIZE)
    left = min(max(round(x + width / 2 - side / 2), 0), SIZE[0] - side)
    top = min(max(round(y + height / 2 - side / 2), 0), SIZE[1] - side)
    with Image.open(file) as image:
        piece = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.ascontiguousarray(np.array(piece).transpose(2, 0, 1)).tobytes()


def test_crops_are_those_that_pillow_cuts_by_hand_and_of_the_training_and_validation_split_alone(folder):
    found = contents(crops(folder))
    for split, name, boxes in (("train", "train", TRAIN), ("val", "valid", VAL)):
        by_hand: dict[str, list[bytes]] = {label: [] for label in CLASSES}
        for file, own in boxes.items():
            for label, box in own:
                by_hand[label].append(cut_by_hand(folder / name / file, box, 24))
        assert {label: found[split][label] for label in CLASSES} == {label: sorted(own) for label, own in by_hand.items()}
    assert not {piece for own in found["train"].values() for piece in own} & {p for own in found["val"].values() for p in own}


def test_a_large_jpeg_is_decoded_at_a_fraction_and_gives_nearly_the_same_crop(tmp_path):
    write_splits(tmp_path / "p", {"train": TRAIN, "valid": VAL, "test": TEST})
    photo(tmp_path / "p/train/large.jpg", 7, (960, 640), quality=95)
    content = json.loads((tmp_path / "p/train/_annotations.coco.json").read_text())
    content["images"].append({"id": 99, "file_name": "large.jpg", "width": 960, "height": 640})
    entry = {"id": 99, "image_id": 99, "category_id": 1, "bbox": [200, 100, 400, 300], "area": 120000, "iscrowd": 0}
    content["annotations"].append(entry)
    before = crops(tmp_path / "p")
    (tmp_path / "p/train/_annotations.coco.json").write_text(json.dumps(content))
    after = crops(tmp_path / "p")
    ours = set(contents(after)["train"]["red"]) - set(contents(before)["train"]["red"])
    with Image.open(tmp_path / "p/train/large.jpg") as image:
        whole = np.array(image.resize((24, 24), Image.Resampling.BICUBIC, box=(160, 10, 640, 490)), float)
    near = np.frombuffer(ours.pop(), np.uint8).reshape(3, 24, 24).transpose(1, 2, 0)
    assert 0 < np.abs(whole - near).mean() < 2


def test_the_same_seed_draws_the_same_crops_and_another_seed_others(folder):
    few = {"train_per_class": 3, "val_per_class": 2}
    same, again, other = (contents(crops(folder, seed=seed, **few)) for seed in (1, 1, 2))
    assert same == again
    assert all(same["train"][name] != other["train"][name] for name in ("red", BACKGROUND))
    assert {name: len(own) for name, own in same["train"].items()} == {"red": 3, "blue": 3, BACKGROUND: 3}
    assert {name: len(own) for name, own in same["val"].items()} == {"red": 2, "blue": 2, BACKGROUND: 2}


SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}


def in_coco(root: Path) -> None:
    for split, boxes in SPLITS.items():
        write_coco(root / split / "labels.json", boxes, categories={"blue": 1, "red": 2})


def in_voc(root: Path) -> None:
    for split, boxes in SPLITS.items():
        write_voc(root / split, boxes)


def in_yolo(root: Path) -> None:
    for split, boxes in SPLITS.items():
        write_yolo(root / split, boxes)
    (root / "data.yaml").write_text("train: train\nval: val\ntest: test\nnames: [red, blue]\n")


def in_csv(root: Path) -> None:
    for split, boxes in SPLITS.items():
        write_csv(root / split / "labels.csv", dict(reversed(boxes.items())))


def test_the_same_photos_give_the_same_crops_in_each_format_with_classes_and_boxes_in_any_order(tmp_path):
    found = {}
    for form in (in_coco, in_voc, in_yolo, in_csv):
        root = tmp_path / form.__name__
        for split, boxes in SPLITS.items():
            photos(root / split, boxes)
        form(root)
        found[form.__name__] = contents(crops(root, train_per_class=5, val_per_class=2))
    assert len(found["in_coco"]["train"][BACKGROUND]) == 5
    assert [name for name, each in found.items() if each != found["in_coco"]] == []


def test_background_crops_lie_outside_of_all_boxes_crowds_and_tiny_ones_too(tmp_path):
    boxes = {f"p{index:03d}.png": [("red", (10 + index, 5, 30, 30)), ("red", (60, 40, 30, 20))] for index in range(20)}
    for split, chosen in (("train", list(boxes)[:12]), ("valid", list(boxes)[12:16]), ("test", list(boxes)[16:])):
        for name in chosen:
            pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            for _, (x, y, width, height) in boxes[name]:
                pixels[y : y + height, x : x + width] = 255
            (tmp_path / split).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / split / name)
        write_coco(tmp_path / split / "_annotations.coco.json", {name: boxes[name] for name in chosen})
    for split in ("train", "valid"):
        file = tmp_path / split / "_annotations.coco.json"
        content = json.loads(file.read_text())
        for entry in content["annotations"][1::2]:
            entry["iscrowd"] = 1
        file.write_text(json.dumps(content))
    data = crops(tmp_path)
    assert data.classes == ("red", BACKGROUND)
    for images, labels in ((data.train_images, data.train_labels), (data.val_images, data.val_labels)):
        white = images[labels == 1].float().mean((1, 2, 3)) / 255
        assert len(white) == (labels == 0).sum()
        assert white.max() < 2 * FREE + 0.02
        assert images[labels == 0].float().mean() / 255 > 0.5


def test_what_is_left_out_is_counted_aloud_and_nothing_is_written_to_the_folder(folder, capsys):
    file = folder / "train/_annotations.coco.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 9, "name": "gr\x1bey"})
    first, second, third = content["annotations"][:3]
    first["iscrowd"] = 1
    second["bbox"], second["area"] = [1, 1, 3, 3], 9
    third["bbox"], third["area"], third["category_id"] = [1, 1, 3, 3], 9, 9
    file.write_text(json.dumps(content))
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.rglob("*")) if path.is_file()}
    data = crops(folder)
    assert data.classes == ("red", "blue", BACKGROUND)
    told = capsys.readouterr().err
    counts = [Counter(labels.tolist()) for labels in (data.train_labels, data.val_labels)]
    pairs = [f"{name} {counts[0][label]} and {counts[1][label]}" for label, name in enumerate(data.classes)]
    assert f"to train and to validate with: {', '.join(pairs)}" in told
    assert "1 crowds are left out" in told
    assert "2 boxes are left out whose longer side is below 4 pixels" in told
    assert "1 classes are left out, for none of their boxes can be trained on: gr" in told
    assert "\x1b" not in told
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_images_of_both_splits_are_trained_on_alone(tmp_path, capsys):
    root = tmp_path / "p"
    photos(root / "images", ALL)
    for split, boxes in (("train", TRAIN), ("val", {**VAL, "p000.jpg": TRAIN["p000.jpg"]}), ("test", TEST)):
        write_coco(root / f"{split}.json", boxes)
    data = crops(root)
    assert (data.val_labels < 2).sum() == sum(map(len, VAL.values()))
    assert "1 validation images are left out, for they are training images as well" in capsys.readouterr().err


def test_a_truncated_image_costs_its_own_crops_alone(folder, capsys):
    whole = crops(folder)
    file = folder / "train/p000.jpg"
    file.write_bytes(file.read_bytes()[:-600])
    data = crops(folder)
    assert (data.train_labels < 2).sum() == (whole.train_labels < 2).sum() - len(TRAIN["p000.jpg"])
    assert "images that cannot be read, left out (mend them, or fetch them again): 1" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_any_more_costs_its_own_crops_alone(folder, capsys, monkeypatch):
    whole = crops(folder)

    def broken(path: Path, **given: object) -> np.ndarray:
        if path.name == "p000.jpg":
            raise ImageError(f"{path}: gone")
        return read_image(path, **given)

    monkeypatch.setattr("search.evaluation.box_crops.read_image", broken)
    data = crops(folder)
    assert data.skipped == len(whole.train_labels) - len(data.train_labels)
    assert (data.train_labels < 2).sum() == (whole.train_labels < 2).sum() - len(TRAIN["p000.jpg"])
    assert f"1 images cannot be read, and are left out with their crops; the first: {folder}" in capsys.readouterr().err


def of_one_class(boxes: dict, label: str = "red") -> dict:
    return {name: [box for box in own if box[0] == label] for name, own in boxes.items()}


def test_one_class_is_told_from_the_background(tmp_path):
    splits = {"train": of_one_class(TRAIN), "valid": of_one_class(VAL), "test": of_one_class(TEST)}
    data = crops(write_splits(tmp_path / "p", splits))
    assert data.classes == ("red", BACKGROUND)
    assert torch.bincount(data.train_labels).tolist() == [sum(map(len, splits["train"].values()))] * 2


def test_a_class_with_one_box_is_a_class(tmp_path):
    rare = {**of_one_class(TRAIN), "p001.jpg": TRAIN["p001.jpg"]}
    data = crops(write_splits(tmp_path / "p", {"train": rare, "valid": of_one_class(VAL), "test": of_one_class(TEST)}))
    label = data.classes.index("blue")
    assert (data.train_labels == label).sum() == 1
    assert (data.val_labels == label).sum() == 0


FULL = {name: [("red", (0, 0, *SIZE))] for name in TRAIN}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": {name: [] for name in TRAIN}, "valid": {name: [] for name in VAL}, "test": {}}, "there is not one box in"),
        ({"train": {name: [] for name in TRAIN}, "valid": VAL, "test": TEST}, r"no box to train on has a longer side of 4 pix"),
        ({"train": TRAIN, "valid": {name: [] for name in VAL}, "test": TEST}, "8 validation images have no box of a class"),
        ({"train": FULL, "valid": of_one_class(VAL), "test": TEST}, "its one class 'red' leaves no background to tell it from"),
    ],
    ids=["all background", "no box to train on", "no box to validate with", "no background"],
)
def test_what_cannot_be_classified_is_refused_in_a_sentence(tmp_path, splits, message):
    root = write_splits(tmp_path / "p", {split: boxes for split, boxes in splits.items() if boxes})
    with pytest.raises(SearchError, match=message):
        crops(root)


def test_boxes_that_are_all_tiny_are_refused_with_the_setting(folder):
    with pytest.raises(SearchError, match=r"longer side of 200 pixels or more; lower data\.min_side"):
        crops(folder, min_side=200)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": "nowhere"}, "no such folder"),
        ({"format": "xml"}, "data: format: expected one of coco, voc, yolo, csv"),
        ({"format": "voc"}, "has no Pascal VOC XML; it has COCO JSON"),
        ({"size": 0}, "data: size: expected a whole number from 1, found 0"),
        ({"margin": -1}, "data: margin: expected a number from 0, found -1"),
    ],
)
def test_wrong_settings_are_named(folder, settings, message):
    with pytest.raises(SearchError, match=message):
        build_data("box_crops", **{"root": str(folder), **settings})


def test_folders_within_the_folder_that_are_named_are_not_read(folder):
    before = contents(crops(folder))
    photos(folder / "work_dirs", truth(3, 40))
    write_coco(folder / "work_dirs/train.json", truth(3, 40))
    assert contents(crops(folder, without=[str(folder / "work_dirs")])) == before
    assert settings_of(box_crops)["without"].default == ("work_dirs",)
