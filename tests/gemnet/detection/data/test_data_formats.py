"""Data sets as people have them: each form gives the same boxes, splits and classes."""

import json
import os
from pathlib import Path

import pytest
from made_detection import CLASSES, as_read, boxes_in, photo, photos, truth, voc, write_coco, write_csv, write_voc, write_yolo
from pycocotools.coco import COCO

from gemnet.core.errors import DataError, UserError
from gemnet.detection.data import prepare

TRAIN, VAL, TEST = truth(12), truth(6, 12), truth(5, 18)
ALL = {**TRAIN, **VAL, **TEST}
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}
EXPORTED = {"train": TRAIN, "valid": VAL, "test": TEST}


def coco_tree(root):
    for split, boxes in SPLITS.items():
        photos(root / f"{split}2017", boxes)
        write_coco(root / f"annotations/instances_{split}2017.json", boxes)
        write_coco(
            root / f"annotations/captions_{split}2017.json", boxes, annotations=[{"id": 1, "image_id": 1, "caption": "a"}]
        )


def coco_exported(root):
    for split, boxes in EXPORTED.items():
        photos(root / split, boxes)
        write_coco(root / split / "_annotations.coco.json", boxes)


def coco_with_other_ids(root):
    coco_exported(root)
    write_coco(root / "valid/_annotations.coco.json", VAL, categories={"blue": 7, "red": 3})


def coco_with_paths_of_another_machine(root):
    photos(root / "images", ALL)
    for split, boxes in SPLITS.items():
        write_coco(root / f"{split}.json", boxes, prefix="C:\\Users\\me\\photos\\")


def voc_tree(root):
    photos(root / "JPEGImages", ALL)
    write_voc(root / "Annotations", ALL)
    (root / "ImageSets/Main").mkdir(parents=True)
    for split, boxes in SPLITS.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name[:-4]}\n" for name in boxes))
    (root / "ImageSets/Main/trainval.txt").write_text("".join(f"{name[:-4]}\n" for name in [*TRAIN, *VAL]))
    (root / "ImageSets/Main/red_train.txt").write_text("".join(f"{name[:-4]} -1\n" for name in TRAIN))


def voc_beside_images(root):
    for split, boxes in EXPORTED.items():
        photos(root / split, boxes)
        write_voc(root / split, boxes)


def yolo_exported(root):
    for split, boxes in EXPORTED.items():
        photos(root / split / "images", boxes)
        write_yolo(root / split / "labels", boxes, polygons=True)
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['red', 'blue']\n"
    (root / "data.yaml").write_text(text)


def yolo_tree(root):
    for split, boxes in SPLITS.items():
        photos(root / "images" / split, boxes)
        write_yolo(root / "labels" / split, {name: own for name, own in boxes.items() if own})  # none for those without boxes
    text = "path: /datasets/mine\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n  0: red\n  1: blue\n"
    (root / "mine.yaml").write_text(text)


def yolo_lists(root):
    photos(root / "obj", ALL)
    write_yolo(root / "obj", ALL)
    (root / "obj.names").write_text("red\nblue\n")
    for split, boxes in SPLITS.items():
        (root / f"{split}.txt").write_text("".join(f"data/obj/{name}\n" for name in boxes))


def csv_files(root):
    photos(root / "images", ALL)
    for split, boxes in SPLITS.items():
        write_csv(root / f"data/{split}_labels.csv", boxes)
    write_csv(root / "data/all_labels.csv", ALL)


def csv_of_ids(root):
    photos(root / "photos", ALL)
    for split, boxes in EXPORTED.items():
        write_csv(root / f"{split}.csv", boxes, "image_id,label,bbox")


FORMS = {
    "coco": (coco_tree, coco_exported, coco_with_other_ids, coco_with_paths_of_another_machine),
    "voc": (voc_tree, voc_beside_images),
    "yolo": (yolo_exported, yolo_tree, yolo_lists),
    "csv": (csv_files, csv_of_ids),
}


def given(name):
    """A folder of real data; skips the test where it is not there."""
    folder = Path(os.environ.get("GEMNET_DATA") or Path(__file__).resolve().parents[5] / "shared" / "data") / name
    if not folder.is_dir():
        pytest.skip(f"{name}/ is neither in GEMNET_DATA nor in shared/data beside the repository")
    return folder


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind, forms in FORMS.items() for form in forms])
def test_every_form_gives_the_same_boxes_in_the_same_splits(tmp_path, kind, form):
    form(tmp_path / "data set")
    prepared = prepare(tmp_path / "data set", tmp_path / "work")
    assert prepared.format == kind
    assert prepared.classes == CLASSES
    assert boxes_in(prepared) == {split: as_read(boxes) for split, boxes in SPLITS.items()}
    assert prepared.images == {split: len(boxes) for split, boxes in SPLITS.items()}
    assert prepared.boxes == {split: sum(map(len, boxes.values())) for split, boxes in SPLITS.items()}
    for file in prepared.files.values():
        api = COCO(str(file))
        assert all((prepared.root / image["file_name"]).is_file() for image in api.dataset["images"])
        assert [category["id"] for category in api.dataset["categories"]] == [1, 2]


def test_ids_of_images_and_boxes_are_unique_over_all_splits(tmp_path):
    coco_exported(tmp_path / "a")
    contents = [json.loads(file.read_text()) for file in prepare(tmp_path / "a", tmp_path / "work").files.values()]
    for key, count in (("images", len(ALL)), ("annotations", sum(map(len, ALL.values())))):
        assert len({entry["id"] for content in contents for entry in content[key]}) == count


def test_classes_that_are_numbered_otherwise_in_another_split_are_told(tmp_path):
    coco_with_other_ids(tmp_path / "a")
    notes = prepare(tmp_path / "a", tmp_path / "work").notes
    assert any("numbers classes otherwise" in note and "valid/_annotations.coco.json" in note for note in notes)


def test_a_super_class_without_boxes_is_left_out_aloud(tmp_path):
    photos(tmp_path / "a", ALL)
    below = [{"id": number, "name": name, "supercategory": "cells"} for number, name in enumerate(CLASSES, 1)]
    write_coco(tmp_path / "a/labels.json", ALL, categories={"cells": 0, "red": 1, "blue": 2})
    content = json.loads((tmp_path / "a/labels.json").read_text())
    (tmp_path / "a/labels.json").write_text(json.dumps({**content, "categories": [{"id": 0, "name": "cells"}, *below]}))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert prepared.classes == CLASSES
    assert prepared.repairs["super-classes without a box, left out"] == 1


def test_yolo_without_names_has_the_numbers_as_classes_in_their_order(tmp_path):
    photos(tmp_path / "a", ALL)
    write_yolo(tmp_path / "a", ALL)
    (tmp_path / "a/p000.txt").write_text("10 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.2 0.2\n")
    assert prepare(tmp_path / "a", tmp_path / "work").classes == ("0", "1", "2", "10")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2 .5 .5 .2 .2", "classes beyond the 2 names .*train/labels/p000.txt, line 1: 2"),
        ("0 50 50 20 20", r"no fractions of the image.*train/labels/p000.txt, line 1: \[50.0, 50.0"),
        ("0 .5 .5 .2 .2 .9", "neither a box .* nor a polygon.*train/labels/p000.txt, line 1"),
        ("0 .5 nan .2 .2", "not a finite number.*line 1: .*'nan'"),
        ("red .5 .5 .2 .2", "do not begin with the number of a class.*line 1: .*'red'"),
    ],
)
def test_a_line_of_yolo_that_means_nothing_is_refused_by_file_line_and_value(tmp_path, line, told):
    yolo_exported(tmp_path / "a")
    (tmp_path / "a/train/labels/p000.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=told):
        prepare(tmp_path / "a", tmp_path / "work")


def test_csv_in_fractions_is_taken_times_the_size_of_the_images(tmp_path):
    photos(tmp_path / "a", ALL)
    lines = ["ImageID,LabelName,XMin,YMin,XMax,YMax"]
    for name, own in ALL.items():
        lines += [f"{name},{label},{x / 96},{y / 64},{(x + w) / 96},{(y + h) / 64}" for label, (x, y, w, h) in own]
    (tmp_path / "a/boxes.csv").write_text("\n".join(lines))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert "boxes are fractions of their image, taken times its size" in prepared.notes
    read = {name: own for images in boxes_in(prepared).values() for name, own in images.items()}
    for name, own in as_read({name: own for name, own in ALL.items() if own}).items():
        assert [label for label, _ in read[name]] == [label for label, _ in own]
        assert [box for _, box in read[name]] == [pytest.approx(box, abs=0.01) for _, box in own]


def test_csv_without_names_of_columns_is_read_as_retinanet_has_it(tmp_path):
    photos(tmp_path / "a", ALL)
    lines = [f"{n},{x},{y},{x + w},{y + h},{label}" for n, own in ALL.items() for label, (x, y, w, h) in own]
    (tmp_path / "a/boxes.csv").write_text("\n".join([*lines, "p009.jpg,,,,,"]))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert sum(prepared.boxes.values()) == len(lines)
    assert sum(prepared.images.values()) == sum(map(bool, ALL.values())) + 1


def test_corners_in_the_wrong_order_are_turned_round_and_counted(tmp_path):
    voc_tree(tmp_path / "a")
    (tmp_path / "a/Annotations/p000.xml").write_text(voc("p000.jpg", [("red", (40, 30, -20, -10))]))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert boxes_in(prepared)["train"]["p000.jpg"] == [("red", [20, 20, 20, 10])]
    assert prepared.repairs["boxes with the second corner before the first, turned round"] == 1


@pytest.mark.parametrize("size", [(0, 0), (64, 96)])
def test_sizes_that_are_zero_or_swapped_are_taken_from_the_image_and_counted(tmp_path, size):
    voc_tree(tmp_path / "a")
    (tmp_path / "a/Annotations/p000.xml").write_text(voc("p000.jpg", TRAIN["p000.jpg"], size))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert boxes_in(prepared)["train"] == as_read(TRAIN)
    assert [count for kind, count in prepared.repairs.items() if "taken from the file" in kind] == [1]


def test_an_xml_file_that_names_another_image_belongs_to_that_of_its_own_name(tmp_path):
    voc_tree(tmp_path / "a")
    (tmp_path / "a/Annotations/p001.xml").write_text(voc("p000.jpg", TRAIN["p001.jpg"]))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert boxes_in(prepared)["train"] == as_read(TRAIN)
    assert any("name another image" in kind for kind in prepared.repairs)


def test_objects_marked_difficult_are_crowds(tmp_path):
    voc_tree(tmp_path / "a")
    path = tmp_path / "a/Annotations/p000.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert prepared.boxes["train"] == sum(map(len, TRAIN.values())) - 1


def test_two_formats_at_once_are_refused_and_one_of_them_can_be_chosen(tmp_path):
    voc_tree(tmp_path / "a")
    write_csv(tmp_path / "a/train.csv", TRAIN)
    with pytest.raises(
        DataError, match=r"labels of 2 formats \(voc: 23 files.*csv: train.csv\); choose one with format=voc or csv"
    ):
        prepare(tmp_path / "a", tmp_path / "work")
    assert prepare(tmp_path / "a", tmp_path / "work", format="voc").images["test"] == len(TEST)
    assert prepare(tmp_path / "a", tmp_path / "work", format="csv").format == "csv"
    with pytest.raises(DataError, match="has no YOLO text files; it has Pascal VOC XML"):
        prepare(tmp_path / "a", tmp_path / "work", format="yolo")
    with pytest.raises(UserError, match="'labelme': expected one of coco, voc, yolo, csv"):
        prepare(tmp_path / "a", tmp_path / "work", format="labelme")


def test_bccd_has_its_364_photos_with_all_boxes_that_have_an_area(tmp_path):
    prepared = prepare(given("bccd"), tmp_path)
    assert prepared.images == {"train": 205, "val": 87, "test": 72}
    assert set(prepared.classes) == {"RBC", "WBC", "Platelets"}
    assert prepared.repairs == {"boxes thinner than a pixel, left out": 2}
    assert sum(prepared.boxes.values()) == 4888 - 2


@pytest.mark.parametrize("format", ["voc", "csv"])
def test_raccoon_has_its_200_photos_and_217_boxes(tmp_path, format):
    prepared = prepare(given("raccoon"), tmp_path, format=format)
    assert sum(prepared.images.values()) == 200
    assert sum(prepared.boxes.values()) == 217
    if format == "csv":
        assert prepared.images["test"] == 40
        assert prepared.boxes["test"] == 44


def test_a_photo_beside_labels_in_capitals_is_found(tmp_path):
    photos(tmp_path / "a/images", ALL)
    photo(tmp_path / "a/images/IMG_1.JPG", 99)
    write_csv(tmp_path / "a/labels.csv", {**ALL, "img_1.jpg": [("red", (1, 1, 20, 20))]})
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert any("IMG_1.JPG" in images for images in boxes_in(prepared).values())
    assert prepared.repairs["images whose file has another name than the labels have"] == 1


def test_images_that_no_label_file_names_are_left_out_aloud(tmp_path):
    for write in (voc_tree, coco_exported, csv_files):
        write(tmp_path / write.__name__)
        photo(tmp_path / write.__name__ / "images/more/extra.jpg", 500)
        prepared = prepare(tmp_path / write.__name__, tmp_path / f"work {write.__name__}")
        assert sum(prepared.images.values()) == len(ALL)
        assert any(note.startswith("1 images") and "left out, first images/more/extra.jpg" in note for note in prepared.notes)


def test_a_list_that_names_files_that_are_not_there_is_counted(tmp_path):
    voc_tree(tmp_path / "a")
    with (tmp_path / "a/ImageSets/Main/train.txt").open("a") as file:
        file.write("p999\n")
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert prepared.images["train"] == len(TRAIN)
    assert prepared.repairs["lines of split lists that no XML file has the name of, left out"] == 1


def test_classes_come_in_the_order_of_the_data_with_those_of_other_splits_behind(tmp_path):
    coco_exported(tmp_path / "a")
    other = {**VAL, "p012.jpg": [("late", (1, 1, 20, 20))]}
    write_coco(tmp_path / "a/valid/_annotations.coco.json", other, categories={"late": 1, "blue": 2, "red": 3})
    write_coco(tmp_path / "a/train/_annotations.coco.json", TRAIN, categories={"blue": 5, "red": 1})
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert prepared.classes == ("blue", "red", "late")
    assert boxes_in(prepared) == {"train": as_read(TRAIN), "val": as_read(other), "test": as_read(TEST)}
    assert any("1 of 3 classes have boxes to validate or test with, but none to train on: late" in n for n in prepared.notes)
