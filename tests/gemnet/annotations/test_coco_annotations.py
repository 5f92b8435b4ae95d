"""COCO files with every kind of fault: all parts have the same boxes, or the file is refused by name."""

import copy
import json
import os
import re
import unicodedata

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image
from pycocotools import mask as masks

from gemnet.annotations.coco import read_coco
from gemnet.core.errors import DataError
from gemnet.detection.coco_dataset import CocoDataset
from gemnet.detection.evaluation import CocoMetric

BOX = [16, 16, 40, 32]
WIDTH, HEIGHT = 96, 64


def content():
    """Four images of 96 x 64, one box on each, red and blue in turn."""
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in (1, 2, 3, 4)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 2 - i % 2, "bbox": list(BOX), "area": 1280, "iscrowd": 0}
            for i in (1, 2, 3, 4)
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
    }


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for number in (1, 2, 3, 4):
        Image.new("RGB", (WIDTH, HEIGHT), (40 * number, 0, 0)).save(tmp_path / f"images/{number}.jpg")
    return tmp_path


def write(root, changed):
    data = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    (root / "a.json").write_bytes(data)


def dataset(root, **settings):
    init_default_scope("mmdet")
    return CocoDataset(
        data_root=str(root), ann_file="a.json", data_prefix={"img": "images/"}, pipeline=[], serialize_data=False, **settings
    )


def boxes_of(data):
    """Sorted (image id, label, box) of all boxes that count."""
    infos = map(data.get_data_info, range(len(data)))
    return sorted(
        (info["img_id"], i["bbox_label"], *i["bbox"]) for info in infos for i in info["instances"] if not i["ignore_flag"]
    )


def perfect(data, metric):
    """COCO's figures for predictions that are the data set's own boxes."""
    metric.dataset_meta = data.metainfo
    for index in range(len(data)):
        info = data.get_data_info(index)
        true = [i for i in info["instances"] if not i["ignore_flag"]]
        predicted = {
            "bboxes": torch.tensor([i["bbox"] for i in true], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([i["bbox_label"] for i in true], dtype=torch.long),
            "scores": torch.ones(len(true)),
        }
        sample = {"img_id": info["img_id"], "ori_shape": (info["height"], info["width"]), "pred_instances": predicted}
        metric.process({}, [sample])
    return metric.evaluate(len(data))


def each(key, **fields):
    """A change of every entry of a list; None takes a field away."""

    def change(data, root):
        for entry in data[key]:
            for name, value in fields.items():
                if value is None:
                    entry.pop(name, None)
                else:
                    entry[name] = value(entry, data) if callable(value) else value

    return change


def first(key, **fields):
    """A change of the first entry of a list."""

    def change(data, root):
        data[key][0].update(copy.deepcopy(fields))

    return change


def added(key, **fields):
    def change(data, root):
        data[key].append({**data[key][0], **fields})

    return change


def renamed(given, stored="1.jpg"):
    """The first image is written as `given` and stored as `stored`."""

    def change(data, root):
        data["images"][0]["file_name"] = given.format(root=root)
        if stored != "1.jpg":
            (root / "images" / stored).parent.mkdir(exist_ok=True)
            (root / "images/1.jpg").rename(root / "images" / stored)

    return change


def linked(data, root):
    (root / "elsewhere").mkdir()
    (root / "images/1.jpg").rename(root / "elsewhere/1.jpg")
    (root / "images/sub").symlink_to(root / "elsewhere")
    data["images"][0]["file_name"] = "sub/1.jpg"


def turned(data, root):
    """An image that its EXIF orientation shows upright, annotated as it is shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(root / "images/1.jpg", exif=exif)


def turned_without_size(data, root):
    turned(data, root)
    each("images", width=None, height=None)(data, root)


def one_with(**fields):
    return lambda data, root: data["annotations"].append({"id": 9, "image_id": 1, "category_id": 1, "iscrowd": 0, **fields})


def rle(counts):
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[16:48, 16:56] = 1
    if counts is str:
        found = masks.encode(mask)
        return {"size": [HEIGHT, WIDTH], "counts": found["counts"].decode()}
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, flat.size]).tolist()}


POLYGON = [[16, 16, 56, 16, 56, 48, 16, 48]]
SAME = [(i, (i - 1) % 2, 16, 16, 56, 48) for i in (1, 2, 3, 4)]
REPAIRED = {
    "as it should be": (lambda data, root: None, None),
    "no iscrowd": (each("annotations", iscrowd=None), "without iscrowd, taken as 0: 4"),
    "iscrowd null": (first("annotations", iscrowd=None), "without iscrowd"),
    "iscrowd false": (first("annotations", iscrowd=False), "iscrowd written as .*, read as 0 or 1: 1, .*False"),
    "iscrowd as text": (each("annotations", iscrowd="0"), "iscrowd written as .*, read as 0 or 1: 4, .*'0'"),
    "iscrowd as a fraction": (first("annotations", iscrowd=0.0), "iscrowd written as .*, read as 0 or 1: 1, .*0.0"),
    "no area": (each("annotations", area=None), "without an area, taken from the box: 4"),
    "area 0": (first("annotations", area=0), "whose area is not above 0 .*: 1"),
    "area NaN": (first("annotations", area=float("nan")), "whose area is not above 0"),
    "area negative": (first("annotations", area=-7), "whose area is not above 0"),
    "area beyond all ranges": (first("annotations", area=1e13), "whose area is not above 0 and at most their box's"),
    "no annotation ids": (each("annotations", id=None), r"without an id above 0 .*: 4, first annotations\[0\]"),
    "annotation ids from 0": (each("annotations", id=lambda a, d: a["id"] - 1), "without an id above 0 .*: 1"),
    "annotation ids twice": (each("annotations", id=7), "without an id above 0 .*: 3"),
    "annotation ids negative": (each("annotations", id=lambda a, d: -a["id"]), "without an id above 0"),
    "annotation ids that are texts": (each("annotations", id=lambda a, d: f"a{a['id']}"), "without an id above 0"),
    "annotation ids huge": (each("annotations", id=lambda a, d: 10**400 + a["id"]), "without an id above 0"),
    "an exact copy": (added("annotations"), r"exact copies of annotations left out: 1, first annotations\[4\]"),
    "no sizes": (each("images", width=None, height=None), r"without a size above 0, taken from the file: 4"),
    "no sizes, EXIF": (turned_without_size, "without a size above 0, taken from the file: 4"),
    "EXIF, annotated as shown": (turned, None),
    "size 0": (first("images", width=0), "without a size above 0"),
    "size swapped": (first("images", width=HEIGHT, height=WIDTH), "width and height were swapped.*: 1"),
    "sizes as texts": (each("images", width="96", height=64.0), "sizes of images written as text or fractions.*: 4"),
    "category ids as texts": (each("annotations", category_id=lambda a, d: str(a["category_id"])), "category_id written.*: 4"),
    "category ids as fractions": (each("categories", id=lambda c, d: float(c["id"])), "id of categories written as.*: 2"),
    "image ids as texts": (each("annotations", image_id=lambda a, d: f" {a['image_id']}"), "image_id written as.*: 4"),
    "ids of images as texts": (each("images", id=lambda i, d: str(i["id"])), "id of images written as.*: 4"),
    "an image twice": (added("images"), "exact copies of images left out: 1"),
    "a category twice": (added("categories"), "exact copies of categories left out: 1"),
    "super-class 0": (
        lambda data, root: data["categories"].insert(0, {"id": 0, "name": "things"}),
        "super-classes without a box, left out: 1, .*'things'",
    ),
    "super-class by name": (
        lambda data, root: (data["categories"].append({"id": 5, "name": "c"}), data["categories"][0].update(supercategory="c")),
        "super-classes without a box, left out: 1",
    ),
    "./": (renamed("./1.jpg"), None),
    "../": (renamed("../images/1.jpg"), None),
    "absolute": (renamed("{root}/images/1.jpg"), None),
    "outside": (renamed("../1.jpg", stored="../1.jpg"), "images outside of .*: 1, first images.0. .id 1.: '../1.jpg'"),
    "backslashes": (renamed("sub\\1.jpg", stored="sub/1.jpg"), "written for another file system"),
    "a link to a folder": (linked, None),
    "spaces and other scripts": (renamed("ünï 图.jpg", stored="ünï 图.jpg"), None),
    "NFD for NFC": (
        renamed(unicodedata.normalize("NFD", "é.jpg"), stored=unicodedata.normalize("NFC", "é.jpg")),
        "written for another file system",
    ),
    "NFC for NFD": (
        renamed(unicodedata.normalize("NFC", "é.jpg"), stored=unicodedata.normalize("NFD", "é.jpg")),
        "written for another file system",
    ),
    "numbers as texts": (first("annotations", bbox=["16", "16.0", "4e1", " 32"]), "numbers written as text.*: 1"),
    "box from a polygon": (first("annotations", bbox=None, segmentation=POLYGON), "taken from their segmentation: 1"),
    "box from runs": (first("annotations", bbox=[], segmentation=rle(list)), "taken from their segmentation: 1"),
    "box from text of runs": (first("annotations", bbox=None, segmentation=rle(str)), "taken from their segmentation: 1"),
    "box outside": (one_with(bbox=[200, 200, 40, 32], area=9), r"outside of their image, left out: 1, .*\[200, 200, 40, 32\]"),
    "box beside": (one_with(bbox=[96, 0, 10, 10], area=9), "outside of their image, left out: 1"),
    "box without width": (one_with(bbox=[5, 5, 0, 10], area=9), "thinner than a pixel, left out: 1"),
    "box of half a pixel": (one_with(bbox=[5, 5, 0.5, 10], area=9), "thinner than a pixel, left out: 1"),
    "a sliver inside": (one_with(bbox=[-20, 5, 20.5, 10], area=9), "thinner than a pixel, left out: 1"),
    "crowd": (one_with(bbox=[0, 0, 90, 60], area=9, iscrowd=1), None),
    "ignored": (one_with(bbox=[1, 1, 9, 9], area=9, ignore=1), "marked 'ignore', taken as crowds.*: 1"),
    "an image without boxes": (lambda data, root: Image.new("RGB", (9, 9)).save(root / "images/5.png"), None),
}  # fmt: skip


def check(root, expected=SAME):
    """Training, validation and COCO's evaluation have the same boxes, those expected, and the expected ones score 1."""
    trained, tested = dataset(root, filter_cfg={"filter_empty_gt": True}), dataset(root, test_mode=True)
    assert boxes_of(trained) == boxes_of(tested) == expected
    assert trained.metainfo["classes"] == tested.metainfo["classes"]
    assert perfect(tested, CocoMetric())["coco/bbox_mAP"] == 1
    return trained


@pytest.mark.parametrize("kind", REPAIRED)
def test_what_has_one_meaning_is_repaired_aloud_and_perfect_predictions_score_1(kind, root):
    change, note = REPAIRED[kind]
    data = content()
    change(data, root)
    write(root, data)
    check(root)
    notes = "\n".join(map(str, read_coco(root / "a.json", root / "images").notes))
    assert (notes == "") if note is None else re.search(note, notes), notes


@pytest.mark.parametrize(
    ("encoding", "start"),
    [("utf-8", b"\xef\xbb\xbf"), ("utf-16", b""), ("utf-16-le", b""), ("utf-16-be", b""), ("utf-32", b"")],
)
def test_every_unicode_encoding_is_read(encoding, start, root):
    data = content()
    data["categories"][0]["name"] = "röt"
    write(root, start + json.dumps(data, ensure_ascii=False).encode(encoding))
    assert check(root).metainfo["classes"] == ("röt", "blue")


def test_a_box_is_clipped_to_its_image_for_all(root):
    data = content()
    data["annotations"][0].update(bbox=[-20, -20, 300, 300], area=90000)
    data["annotations"][1].update(bbox=[80, 40, 40, 40.5], area=1600)
    write(root, data)
    check(root, [(1, 0, 0, 0, 96, 64), (2, 1, 80, 40, 96, 64), *SAME[2:]])
    notes = read_coco(root / "a.json", root / "images").notes
    assert [note.kind for note in notes] == ["boxes that reach out of their image, clipped to it"]
    assert notes[0].count == 2


def corner_notes(root, *boxes):
    """What is told of a file with these boxes, the last of them on all images that are left."""
    data = content()
    for index, annotation in enumerate(data["annotations"]):
        annotation.update(bbox=boxes[min(index, len(boxes) - 1)], area=4)
    write(root, data)
    return "\n".join(map(str, read_coco(root / "a.json", root / "images").notes))


def test_a_file_whose_boxes_are_corners_is_refused(root):
    message = (
        r"a\.json: boxes that reach out of their image, in a file whose boxes all fit as corners .*"
        r"expected \[x, y, width, height\]: write x2 - x1.*: 3, first annotations\[1\] \(id 2\): \[50, 30, 90, 60\]"
    )
    with pytest.raises(DataError, match=message):
        corner_notes(root, [8, 8, 20, 20], [50, 30, 90, 60])


@pytest.mark.parametrize("box", [[-10, 8, 20, 80], [50, 30, 97, 60], [50, 30, 90, 65], [90, 30, 50, 60], [50, 60, 90, 60]])
def test_a_box_that_cannot_be_corners_is_clipped_and_nobody_asks_whether_it_is(box, root):
    assert "corners" not in corner_notes(root, box)
    assert "boxes that reach out of their image, clipped to it: 4" in corner_notes(root, box)


def test_boxes_that_may_be_corners_among_others_that_cannot_are_asked_about(root):
    assert "are boxes such as [50, 30, 90, 60] corners [x1, y1, x2, y2]?" in corner_notes(
        root, [8, 8, 100, 20], [50, 30, 90, 60]
    )


def test_an_image_that_has_no_box_counts_in_validation_and_is_left_out_of_training_aloud(root):
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images/5.jpg")
    data = content()
    data["images"].append({"id": 5, "file_name": "5.jpg", "width": WIDTH, "height": HEIGHT})
    write(root, data)
    assert len(dataset(root, test_mode=True)) == 5
    assert len(check(root)) == 4


def test_classes_are_the_files_in_its_order(root):
    data = content()
    data["categories"] = [{"id": 2, "name": "blue "}, {"id": 1, "name": "Red"}, {"id": 3, "name": 7}]
    write(root, data)
    found = check(root, [(i, i % 2, 16, 16, 56, 48) for i in (1, 2, 3, 4)])
    assert found.metainfo["classes"] == ("blue", "Red", "7")


def test_needless_spaces_in_names_make_no_difference(root):
    data = content()
    data["categories"][1]["name"] = "  dark   blue"
    write(root, data)
    for names in (None, ("red", "dark blue"), ("red ", "dark  blue ")):
        found = dataset(root, metainfo=None if names is None else {"classes": names})
        assert found.metainfo["classes"] == ("red", "dark blue")


def test_names_that_differ_in_case_alone_are_two_classes_said_aloud(root):
    data = content()
    data["categories"][1]["name"] = "Red"
    write(root, data)
    found = read_coco(root / "a.json", root / "images")
    assert found.classes == ("red", "Red")
    assert "differ in case alone: are they two?: 1, first red, Red" in str(found.notes[0])


def test_boxes_of_classes_that_are_not_asked_for_are_left_out_of_all_aloud(root):
    write(root, content())
    trained, tested = (dataset(root, metainfo={"classes": ("blue",)}, test_mode=test) for test in (False, True))
    assert boxes_of(trained) == boxes_of(tested) == [(2, 0, 16, 16, 56, 48), (4, 0, 16, 16, 56, 48)]
    assert perfect(tested, CocoMetric())["coco/bbox_mAP"] == 1
    found = read_coco(root / "a.json", root / "images", ("blue",))
    assert str(found.notes[0]).startswith(
        "boxes of classes that are not asked for, left out: 2, first annotations[0] (id 1): 'red'"
    )


def test_what_was_repaired_is_logged_once(root):
    data = content()
    each("annotations", iscrowd=None)(data, root)
    write(root, data)
    logger = MMLogger.get_instance(f"repairs of {root}", log_file=str(root / "log"))
    for test in (False, True):
        dataset(root, test_mode=test)
    for handler in logger.handlers:
        handler.flush()
    assert (root / "log").read_text().count("annotations without iscrowd, taken as 0: 4, first annotations[0] (id 1);") == 1


def twice(key, value):
    return lambda data, root: data.update({key: value})


def unlinked(data, root):
    (root / "images/1.jpg").unlink()


def without_size_and_file(data, root):
    first("images", width=None)(data, root)
    (root / "images/1.jpg").write_bytes(b"broken")


def turned_as_stored(data, root):
    turned(data, root)
    data["images"][0].update(width=HEIGHT, height=WIDTH)


REFUSED = {
    "category ids from 0": (
        each("annotations", category_id=lambda a, d: a["category_id"] - 1),
        r"category_id is of no category: 2, first annotations\[0\] \(id 1\): 0; .*\ncategory_id seems to count from 0",
    ),
    "image ids from 0": (each("annotations", image_id=lambda a, d: a["image_id"] - 1), "image_id seems to count from 0"),
    "an unknown image": (first("annotations", image_id=99), r"image_id is of no image: 1, first annotations\[0\] \(id 1\): 99"),
    "an unknown category": (first("annotations", category_id=9), r": 1, .*: 9\nexpected as category_id one of 1, 2"),
    "a category by name": (first("annotations", category_id="red"), r"of no category: 1, .*'red'"),
    "no category id": (each("annotations", category_id=None), "of no category: 4, .*None"),
    "no image id": (each("annotations", image_id=None), "of no image: 4, .*None"),
    "a boolean category id": (first("annotations", category_id=True), "of no category: 1, .*True"),
    "an id with a fraction": (first("annotations", image_id=1.5), "of no image: 1, .*1.5"),
    "an id that is NaN": (first("annotations", image_id=float("nan")), "of no image: 1, .*nan"),
    "two categories with one id": (
        lambda data, root: data["categories"][1].update(id=1),
        r"categories with the id of another: 1, first categories\[0\] \(id 1\) and categories\[1\] \(id 1\), 'red' and 'blue'",
    ),
    "two ids that are one number": (
        lambda data, root: data["categories"][1].update(id="01"),
        r"categories with the id of another: 1, .*categories\[1\] \(id '01'\)",
    ),
    "two images with one id": (
        lambda data, root: data["images"][1].update(id=1),
        r"images with the id of another: 1, .*'1.jpg' and '2.jpg'",
    ),
    "two categories with one name": (
        lambda data, root: data["categories"][1].update(name=" red"),
        r"categories with the name of another: 1, first categories\[0\] \(id 1\) and categories\[1\] \(id 2\): 'red'",
    ),
    "one file under two ids": (
        lambda data, root: data["images"][1].update(file_name="./1.jpg"),
        r"images with the file of another .*: 1, first images\[1\] \(id 2\): './1.jpg'",
    ),
    "no image ids": (each("images", id=None), r"images whose id is no whole number of 64 bits: 4, first images\[0\]: None"),
    "an image id of a boolean": (first("images", id=True), "images whose id is no whole number .*True"),
    "a huge image id": (first("images", id=2**63), "images whose id is no whole number of 64 bits: 1"),
    "a category without name": (first("categories", name=None), r"without a name .*: 1, first categories\[0\] \(id 1\): None"),
    "a category with an empty name": (first("categories", name=" "), "categories without a name"),
    "a category named by a list": (first("categories", name=["red"]), r"categories without a name .*\['red'\]"),
    "NaN": (first("annotations", bbox=[float("nan"), 16, 40, 32]), r"finite number .*: 1, first annotations\[0\] .*\[nan, 16"),
    "infinity": (first("annotations", bbox=[16, 16, float("inf"), 32]), "finite number of pixels: 1, .*inf"),
    "a huge number": (first("annotations", bbox=[16, 16, 10**400, 32]), "finite number of pixels: 1"),
    "null in a box": (first("annotations", bbox=[16, None, 40, 32]), r"finite number of pixels: 1, .*\[16, None, 40, 32\]"),
    "a boolean in a box": (first("annotations", bbox=[16, True, 40, 32]), "finite number of pixels: 1"),
    "a word in a box": (first("annotations", bbox=[16, "x", 40, 32]), "finite number of pixels: 1"),
    "three numbers": (first("annotations", bbox=[16, 16, 40]), r"not four numbers .*: 1, .*\[16, 16, 40\]"),
    "five numbers": (first("annotations", bbox=[16, 16, 40, 32, 1]), "not four numbers"),
    "a box as text": (first("annotations", bbox="16,16,40,32"), "not four numbers .*'16,16,40,32'"),
    "a box as an object": (first("annotations", bbox={"x": 1}), "not four numbers"),
    "negative width": (first("annotations", bbox=[56, 16, -40, 32]), r"negative width or height: 1, .*\[56, 16, -40, 32\]"),
    "fractions of the image": (each("annotations", bbox=[0.1, 0.2, 0.5, 0.5]), r"fractions of their image, first \[0.1"),
    "no box": (each("annotations", bbox=None), "have no bbox, and no segmentation to take it from: 4"),
    "a polygon of a point": (first("annotations", bbox=None, segmentation=[[1, 2]]), "have no bbox"),
    "runs of another size": (first("annotations", bbox=None, segmentation={"size": [0, 0], "counts": "12"}), "have no bbox"),
    "damaged runs": (first("annotations", bbox=None, segmentation={"size": [64, 96], "counts": "zzzz"}), "have no bbox"),
    "iscrowd 2": (first("annotations", iscrowd=2), "iscrowd is neither 0 nor 1: 1, .*2"),
    "iscrowd as a word": (first("annotations", iscrowd="yes"), "iscrowd is neither 0 nor 1: 1, .*'yes'"),
    "an annotation that is a number": (lambda data, root: data["annotations"].append(7), r"no objects: 1, first .*\[4\]: 7"),
    "annotations as an object": (twice("annotations", {}), "'annotations' is {}"),
    "no images": (twice("images", []), "has no images"),
    "no categories": (twice("categories", []), "has no categories"),
    "all crowd": (each("annotations", iscrowd=1), "not one box to train on; all 4 annotations are crowds"),
    "all outside": (each("annotations", bbox=[500, 500, 9, 9]), "not one box to train on.*\n.*outside of .*, left out: 4"),
    "another case": (renamed("1.JPG"), r"first 1.JPG \(images\[0\] \(id 1\), there is 1.jpg\)"),
    "an address": (renamed("https://a.b/c/1.jpg?x=1"), "there is 1.jpg"),
    "a folder that is not there": (renamed("train/1.jpg"), "there is 1.jpg"),
    "a null character": (renamed("1\0.jpg"), "1 of its 4 images are not there"),
    "lone surrogates": (renamed("\ud800.jpg"), "1 of its 4 images are not there"),
    "a folder": (renamed("."), r"1 of its 4 images are not there, first \. \(images\[0\] \(id 1\), a folder\)"),
    "an empty name": (renamed(""), r"images without 'file_name': 1, first images\[0\] \(id 1\): ''"),
    "a name that is a number": (first("images", file_name=1), "images without 'file_name': 1"),
    "an image that is gone": (unlinked, "1 of its 4 images are not there, first 1.jpg"),
    "no size anywhere": (without_size_and_file, r"without a size that cannot be read from the file either: 1"),
    "another size": (first("images", width=192, height=128), "is 64x96 pixels high and wide, but annotated as 128x192"),
    "EXIF, annotated as stored": (turned_as_stored, "64x96 pixels high and wide, turned by its EXIF orientation"),
    "swapped, with boxes outside": (
        lambda data, root: (
            data["images"][0].update(width=HEIGHT, height=WIDTH),
            data["annotations"][0].update(bbox=[0, 0, 60, 90]),
        ),
        "outside of an image whose width and height seem swapped: 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_one_meaning_is_refused_by_file_entry_and_value(kind, root):
    change, message = REFUSED[kind]
    data = content()
    change(data, root)
    write(root, data)
    with pytest.raises(DataError, match=message) as error:
        dataset(root)
    assert str(root / "a.json") in str(error.value)


WHOLE = json.dumps(content()).encode()


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "JSONDecodeError"),
        (WHOLE[:300], "JSONDecodeError"),
        (b"[" * 10**6, "RecursionError"),
        (b'{"id": ' + b"9" * 5000 + b"}", "ValueError"),
        (WHOLE.replace(b'"image_id": 3', b'"image_id": 3, "image_id": 4'), "'image_id' stands twice.*3 and 4"),
        (b'{"images": [], ' + WHOLE[1:], "'images' stands twice"),
        (b"[" + WHOLE + b"]", r"a list\)"),
        (b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "a list of predictions"),
        (WHOLE.replace(b"red", "röt".encode("latin-1")), "UnicodeDecodeError.*save it as UTF-8"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_name(damaged, message, root):
    write(root, damaged)
    with pytest.raises(DataError, match=message) as error:
        dataset(root)
    assert str(error.value).startswith(str(root / "a.json"))


def test_a_folder_in_place_of_a_file_is_told(root):
    with pytest.raises(DataError, match=r"images: cannot be read \(Is a directory\)"):
        read_coco(root / "images")


def test_a_key_that_stands_twice_with_one_value_is_read(root):
    write(root, json.dumps(content()).encode().replace(b'"image_id": 3', b'"image_id": 3, "image_id": 3'))
    assert read_coco(root / "a.json").content["annotations"] == content()["annotations"]


def test_a_file_is_read_without_its_images(root):
    write(root, content())
    found = read_coco(root / "a.json")
    assert (found.classes, found.boxes, found.notes) == (("red", "blue"), 4, ())
    assert found.content["annotations"] == content()["annotations"]


def test_a_file_of_whole_images_alone_can_be_tested_but_not_trained_on(root):
    data = content()
    del data["annotations"]
    write(root, data)
    tested = dataset(root, test_mode=True)
    assert len(tested) == 4
    with pytest.raises(DataError, match="not one box to evaluate against: it has no annotations that count"):
        CocoMetric().dataset_meta = tested.metainfo
    metric = CocoMetric(format_only=True, outfile_prefix=str(root / "found"))
    assert perfect(tested, metric) == {}
    assert os.path.exists(root / "found.bbox.json")


@pytest.mark.parametrize("names", ["red", [], ["red", "red"], [1, 2]])
def test_classes_that_are_no_list_of_names_are_refused(names, root):
    write(root, content())
    with pytest.raises(ValueError, match=r"metainfo\.classes=.*expected a list of different names"):
        dataset(root, metainfo={"classes": names})
