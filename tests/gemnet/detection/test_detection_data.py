"""COCO sets and images that are missing, broken or do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset as MmdetCocoDataset
from mmengine.registry import init_default_scope
from PIL import Image

from gemnet.detection.coco_dataset import CocoDataset
from gemnet.detection.made import write_made_coco
from gemnet.openmmlab.images import DataError, LoadImage


@pytest.fixture
def root(tmp_path):
    return write_made_coco(tmp_path / "coco")


def dataset(root, **kwargs):
    init_default_scope("mmdet")
    arguments = {
        "ann_file": "annotations/instances_train2017.json",
        "data_prefix": {"img": "train2017/"},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
        "pipeline": [],
        **kwargs,
    }
    return CocoDataset(data_root=str(root), **arguments)


def change(root, **fields):
    file = Path(root) / "annotations/instances_train2017.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_made_set_is_read(root):
    found = dataset(root)
    assert len(found) == 8
    assert all(info["instances"] for info in map(found.get_data_info, range(8)))


def test_a_missing_set_is_told_with_the_tree(tmp_path):
    with pytest.raises(
        DataError, match=r"(?s)no such file.*train2017/\*\.jpg.*set data_root, as --cfg-options data_root=FOLDER"
    ):
        dataset(tmp_path / "nowhere")


def test_a_missing_folder_of_images_is_told(root):
    with pytest.raises(DataError, match="no such folder of images"):
        dataset(root, data_prefix={"img": "train2014/"})


def test_annotations_that_do_not_fit_the_images_name_some(root):
    for name in ("000000000002.jpg", "000000000005.jpg"):
        (root / "train2017" / name).unlink()
    with pytest.raises(
        DataError, match=r"2 of its 8 images are not there, first 000000000002\.jpg \(images\[1\] \(id 2\)\), 000000000005"
    ):
        dataset(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not a COCO annotation file.*JSONDecodeError"),
        (b'{"images": "\xe9"}', "not a COCO annotation file.*UnicodeDecodeError.*at byte 12; save it as UTF-8"),
        (b"[" * 100000, "not a COCO annotation file.*RecursionError"),
        (b"[]", "not a COCO annotation file.*list"),
        (b'{"categories": [{"id": 1, "name": "a"}], "images": []}', "has no images"),
        (
            b'{"categories": [{"id": 1, "name": "a"}], "images": [{"id": 1}]}',
            r"without 'file_name': 1, first images\[0\] \(id 1\)",
        ),
        (b'{"categories": [{"id": 1, "name": "a"}], "images": [7]}', r"images that are no objects: 1, first images\[0\]: 7"),
    ],
)
def test_a_file_that_is_no_annotation_is_told(content, message, root):
    (root / "annotations/instances_train2017.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        dataset(root)
    assert "instances_train2017.json" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"annotations": []}, "not one box"),
        (
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 1}]},
            r"annotations that have no bbox, and no segmentation to take it from: 1, first annotations\[0\] \(id 1\)",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2], "area": 4}]},
            r"not four numbers \[x, y, width, height\]: 1, first annotations\[0\] \(id 1\): \[1, 2\]",
        ),
        ({"annotations": 3}, "not a COCO annotation file"),
        (
            {"categories": [{"id": 1, "name": "person"}]},
            r"category_id is of no category: \d+, .*\n.*expected as category_id one of 1",
        ),
        ({"categories": []}, "has no categories"),
    ],
)
def test_annotations_that_cannot_be_trained_on_are_told(fields, message, root):
    change(root, **fields)
    with pytest.raises(DataError, match=message):
        dataset(root)


def test_classes_that_are_asked_for_must_be_in_the_file(root):
    change(root, categories=[{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 17, "name": "Cat"}], annotations=[])
    with pytest.raises(DataError, match=r"lacks 1 of the 2 classes, first cat \(it has Cat\); its own are person, car, Cat"):
        dataset(root, metainfo={"classes": ("person", "cat")})


def test_labels_follow_the_classes_that_are_asked_for_not_the_order_of_the_file(root):
    plain = dataset(root)
    classes = MmdetCocoDataset.METAINFO["classes"]
    assert plain.metainfo["classes"] == classes
    turned = dataset(root, metainfo={"classes": classes[::-1]})
    for index in range(8):
        names = [[data.metainfo["classes"][i["bbox_label"]] for i in data[index]["instances"]] for data in (plain, turned)]
        assert names[0] == names[1] != []


def test_a_filter_that_leaves_nothing_is_told(root):
    with pytest.raises(DataError, match="leaves none of 8 images"):
        dataset(root, filter_cfg={"filter_empty_gt": True, "min_size": 1000})


def test_own_classes_are_read_in_their_order(root):
    change(root, categories=[{"id": 1, "name": "cell"}, {"id": 3, "name": "mote"}, {"id": 16, "name": "speck"}])
    found = dataset(root, metainfo={"classes": ("cell", "mote", "speck")})
    assert {i["bbox_label"] for n in range(8) for i in found.get_data_info(n)["instances"]} == {0, 1, 2}


@pytest.fixture
def broken(tmp_path):
    """A whole JPEG and a PNG, and files that are broken in every way."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    noise.save(tmp_path / "whole.jpg")
    noise.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"this is no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["whole.jpg", "whole.png"])
def test_whole_images_are_loaded(name, broken):
    results = LoadImage()({"img_path": str(broken / name)})
    assert results["img"].shape == (64, 48, 3)
    assert results["ori_shape"] == (64, 48)


@pytest.mark.parametrize("name", ["cut.jpg", "empty.jpg", "text.jpg", "cut.png", "missing.jpg", "folder.jpg"])
def test_a_broken_image_is_named_or_skipped(name, broken):
    with pytest.raises(DataError, match=name):
        LoadImage()({"img_path": str(broken / name)})
    assert LoadImage(on_error="skip")({"img_path": str(broken / name)}) is None


def test_an_image_of_another_size_than_annotated_is_told(root):
    Image.new("RGB", (256, 192)).save(root / "train2017/000000000003.jpg")
    with pytest.raises(DataError, match=r"000000000003\.jpg: is 192x256 pixels high and wide, but annotated as 96x128"):
        dataset(root)


def test_an_image_of_another_size_than_annotated_is_skipped_in_training_alone(root, capfd):
    Image.new("RGB", (256, 192)).save(root / "train2017/000000000003.jpg")
    pipeline = [{"type": "gemnet.LoadImage", "on_error": "skip"}]
    assert dataset(root, pipeline=pipeline)[2]["img"].shape == (96, 128, 3)
    assert "000000000003.jpg: is 192x256 pixels high and wide, but annotated as 96x128; skipped" in capfd.readouterr().err
    with pytest.raises(DataError, match="images of another size than annotated"):
        dataset(root, pipeline=pipeline, test_mode=True)


def test_a_broken_image_stops_testing_even_when_skipped(root):
    (root / "train2017/000000000003.jpg").write_bytes(b"broken")
    found = dataset(root, pipeline=[{"type": "gemnet.LoadImage", "on_error": "skip"}], test_mode=True)
    assert found[0] is not None
    with pytest.raises(DataError, match=r"000000000003\.jpg: cannot be used, and testing needs every image"):
        found[2]


def test_a_broken_image_in_a_set_is_replaced_and_told_when_skipped(root, capfd):
    (root / "train2017/000000000003.jpg").write_bytes(b"broken")
    found = dataset(root, pipeline=[{"type": "gemnet.LoadImage", "on_error": "skip"}])
    assert all(found[index]["img"].shape == (96, 128, 3) for index in range(8))
    assert capfd.readouterr().err.count("000000000003.jpg: not an image that can be decoded; skipped") == 1
