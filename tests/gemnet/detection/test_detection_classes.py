"""One list of classes and one annotation file for data sets, heads, evaluators and checkpoints of a detector."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from gemnet.checkpoints.class_names import checkpoint_classes
from gemnet.core.errors import DataError, UserError
from gemnet.openmmlab import engine
from gemnet.openmmlab.classes import settle_classes

ROOT = Path(__file__).parents[3]
RETINANET = str(ROOT / "configs/retinanet_gemnet_a.py")
NAMES = ("red", "blue")


def write_set(root, split, classes=NAMES, used=None, images=3):
    """Annotations and images of a split in COCO's layout, one box an image; `used`: the classes that have one."""
    folder = root / f"{split}2017"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    used = used or classes
    content = {"images": [], "annotations": [], "categories": [{"id": n, "name": name} for n, name in enumerate(classes, 1)]}
    for number in range(1, images + 1):
        Image.new("RGB", (64, 48)).save(folder / f"{number}.jpg")
        category = classes.index(used[number % len(used)]) + 1
        content["images"].append({"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48})
        content["annotations"].append(
            {"id": number, "image_id": number, "category_id": category, "bbox": [8, 8, 40, 32], "area": 1280, "iscrowd": 0}
        )
    file = root / f"annotations/instances_{split}2017.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        write_set(tmp_path, split)
    return tmp_path


def config(root, **options):
    """A shipped config that is told of data_root alone."""
    roots = {f"{split}_dataloader.dataset.data_root": str(root) for split in ("train", "val", "test")}
    return engine.load_config(RETINANET, {**roots, **options})


def explicit(settings):
    return [settings[f"{split}_dataloader"].dataset.get("metainfo", {}).get("classes") for split in ("train", "val", "test")]


def test_classes_and_heads_follow_the_training_annotations(root):
    settings = config(root)
    engine.complete(settings)
    assert explicit(settings) == [NAMES] * 3
    assert settings.model.bbox_head.num_classes == 2


def test_heads_of_two_stages_and_cascades_and_their_losses_follow(root):
    settings = engine.load_config(
        str(ROOT / "configs/faster_rcnn_gemnet_a.py"),
        {f"{s}_dataloader.dataset.data_root": str(root) for s in ("train", "val")},
    )
    head = settings.model.roi_head.bbox_head
    settings.model.roi_head.bbox_head = [copy.deepcopy(head), copy.deepcopy(head)]
    settings.model.roi_head.bbox_head[1].loss_cls = {"type": "SeesawLoss", "num_classes": 80}
    engine.complete(settings)
    assert [part.num_classes for part in settings.model.roi_head.bbox_head] == [2, 2]
    assert settings.model.roi_head.bbox_head[1].loss_cls.num_classes == 2


def test_a_set_of_80_classes_changes_no_part_of_the_model(tmp_path):
    write_set(tmp_path, "train", tuple(f"class {number}" for number in range(80)), images=80)
    settings = config(tmp_path)
    before = copy.deepcopy(settings.model)
    engine.complete(settings)
    assert settings.model == before


def test_without_a_data_set_a_config_stays_as_it_is(tmp_path):
    settings = config(tmp_path)
    engine.complete(settings)
    assert explicit(settings) == [None] * 3
    assert settings.model.bbox_head.num_classes == 80


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_classes_that_one_data_set_names_are_those_of_all(split, root):
    settings = config(root, **{f"{split}_dataloader.dataset.metainfo": {"classes": ("blue", "red")}})
    engine.complete(settings)
    assert explicit(settings) == [("blue", "red")] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.bbox_head.num_classes": 3}, r"model\.bbox_head\.num_classes=3, but .*instances_train2017\.json has 2 classes"),
        (
            {
                "train_dataloader.dataset.metainfo": {"classes": NAMES},
                "val_dataloader.dataset.metainfo": {"classes": NAMES[::-1]},
            },
            r"val_dataloader\.dataset\.metainfo has another order of classes \(blue, red; not red, blue\) than train_",
        ),
        ({"train_dataloader.dataset.metainfo": {"classes": "red"}}, r"metainfo\.classes='red': expected a list"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(options, message, root):
    with pytest.raises(UserError, match=message):
        engine.complete(config(root, **options))


def test_a_class_that_only_validation_has_boxes_of_is_refused(root):
    file = write_set(root, "val", ("red", "blue", "green"))
    with pytest.raises(DataError, match=rf"{file}: has boxes of green, which .*instances_train2017\.json lacks"):
        engine.complete(config(root))
    write_set(root, "val", ("red", "blue", "green"), used=("red", "blue"))
    engine.complete(config(root))


def test_a_class_that_validation_lacks_is_refused_when_it_is_read(root):
    write_set(root, "val", ("red", "Blue"), used=("red",))
    settings = config(root)
    engine.complete(settings)
    init_default_scope("mmdet")
    with pytest.raises(DataError, match=r"instances_val2017\.json: lacks 1 of the 2 classes, first blue \(it has Blue\)"):
        DATASETS.build(settings.val_dataloader.dataset)


WRAPPED = {
    "RepeatDataset": lambda leaf: {"type": "RepeatDataset", "times": 2, "dataset": leaf},
    "ClassBalancedDataset": lambda leaf: {"type": "ClassBalancedDataset", "oversample_thr": 0.9, "dataset": leaf},
    "ConcatDataset": lambda leaf: {"type": "ConcatDataset", "datasets": [leaf]},
    "indices": lambda leaf: {**leaf, "indices": [2, 0]},
    "plain": lambda leaf: leaf,
}


def built(settings, split="val"):
    """The data set and evaluator of a split, as mmengine's loop joins them."""
    init_default_scope("mmdet")
    data = DATASETS.build(settings[f"{split}_dataloader"].dataset)
    evaluator = Evaluator(settings[f"{split}_evaluator"])
    evaluator.dataset_meta = data.metainfo
    return data, evaluator


def score(data, evaluator):
    """AP of the data set's own boxes."""
    for index in range(len(data)):
        info = data.get_data_info(index)
        predicted = {
            "bboxes": torch.tensor([found["bbox"] for found in info["instances"]], dtype=torch.float32),
            "labels": torch.tensor([found["bbox_label"] for found in info["instances"]]),
            "scores": torch.ones(len(info["instances"])),
        }
        evaluator.process(
            [{"img_id": info["img_id"], "ori_shape": (info["height"], info["width"]), "pred_instances": predicted}]
        )
    return evaluator.evaluate(len(data))


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("split", ["val", "test"])
def test_an_evaluator_without_a_file_takes_the_data_sets_however_it_is_wrapped(split, wrapper, root):
    settings = config(root)
    loader = settings[f"{split}_dataloader"]
    loader.dataset = WRAPPED[wrapper](copy.deepcopy(loader.dataset))
    engine.complete(settings)
    assert score(*built(settings, split))["coco/bbox_mAP"] == 1


@pytest.mark.parametrize("file", ["{root}/annotations/instances_val2017.json", "annotations/instances_val2017.json"])
@pytest.mark.parametrize("kind", ["CocoMetric", "mmdet.CocoMetric", "gemnet.CocoMetric"])
def test_an_evaluator_may_name_the_same_file(kind, file, root):
    settings = config(root)
    settings.val_evaluator = {"type": kind, "metric": "bbox", "ann_file": file.format(root=root)}
    engine.complete(settings)
    assert score(*built(settings))["coco/bbox_mAP"] == 1


def test_an_evaluator_of_another_file_is_refused_with_both(root):
    settings = config(root)
    other = str(root / "annotations/instances_train2017.json")
    settings.val_evaluator = {"type": "CocoMetric", "ann_file": other}
    engine.complete(settings)
    with pytest.raises(DataError, match=rf"ann_file={other} is another file than the data set's, .*/instances_val2017\.json"):
        built(settings)


def test_each_of_several_evaluators_has_the_data_sets_boxes(root):
    settings = config(root)
    settings.val_evaluator = [{"type": "CocoMetric", "prefix": name, "ann_file": None} for name in ("one", "two")]
    engine.complete(settings)
    found = score(*built(settings))
    assert found["one/bbox_mAP"] == found["two/bbox_mAP"] == 1


def test_training_may_join_files_and_an_evaluator_may_not(root):
    write_set(root, "more", NAMES[::-1])
    settings = config(root)
    first = copy.deepcopy(settings.train_dataloader.dataset)
    second = {**copy.deepcopy(first), "ann_file": "annotations/instances_more2017.json", "data_prefix": {"img": "more2017/"}}
    settings.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": [first, second]}
    engine.complete(settings)
    init_default_scope("mmdet")
    joined = DATASETS.build(settings.train_dataloader.dataset)
    assert len(joined) == 6
    assert joined.metainfo["classes"] == NAMES
    labels = [[i["bbox_label"] for i in joined.get_data_info(index)["instances"]] for index in range(6)]
    assert labels == [[1], [0], [1], [0], [1], [0]]  # by name: the second file has them the other way round

    settings.val_dataloader.dataset = {"type": "ConcatDataset", "datasets": [{**first, "test_mode": True}, second]}
    with pytest.raises(
        UserError, match=r"val_dataloader joins .*more2017\.json, .*train2017\.json: COCO's metrics take one file"
    ):
        engine.complete(settings)


def test_names_of_a_checkpoint_are_those_of_data_sets_that_name_none(root):
    settings = config(root)
    settle_classes(settings, ("blue", "red"), "a.pth")
    engine.complete(settings)
    assert explicit(settings) == [("blue", "red")] * 3
    assert score(*built(settings))["coco/bbox_mAP"] == 1


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"dataset_meta": {"classes": ("a", "b"), "palette": [(1, 2, 3), (4, 5, 6)]}}, (("a", "b"), ((1, 2, 3), (4, 5, 6)))),
        ({"dataset_meta": {"classes": ["a", "b"], "palette": [(1, 2, 300), (4, 5, 6)]}}, (("a", "b"), None)),
        ({"dataset_meta": {"CLASSES": ("a",)}}, (("a",), None)),
        ({"CLASSES": ("a",)}, (("a",), None)),
        ({"dataset_meta": {"classes": "ab"}}, (None, None)),
        ({"dataset_meta": {"classes": [1, 2]}}, (None, None)),
        ({"dataset_meta": None}, (None, None)),
        (None, (None, None)),
    ],
)
def test_names_and_colours_are_read_from_a_checkpoint_as_untrusted(meta, expected, tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}} | ({} if meta is None else {"meta": meta}), tmp_path / "a.pth")
    assert checkpoint_classes(tmp_path / "a.pth") == expected


def trained(root, classes):
    """A checkpoint of a random detector for these classes."""
    settings = config(root, **{"model.bbox_head.num_classes": len(classes)})
    settle_classes(settings, classes, "a")
    init_default_scope("mmdet")
    model = engine.MODELS.build(settings.model)
    path = root / "trained.pth"
    torch.save({"meta": {"dataset_meta": {"classes": classes}}, "state_dict": model.state_dict()}, path)
    return str(path)


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (
            ("blue", "red"),
            {"test_dataloader.dataset.metainfo": {"classes": NAMES}},
            r"another order of classes .* than .*trained",
        ),
        (("red", "cell"), {}, r"instances_val2017\.json: lacks 1 of the 2 classes, first cell"),
        (("red", "blue", "cell"), {"model.bbox_head.num_classes": 2}, r"num_classes=2, but .*trained\.pth has 3 classes"),
    ],
)
def test_testing_refuses_a_checkpoint_of_other_classes(classes, options, message, root, tmp_path):
    roots = {f"{split}_dataloader.dataset.data_root": str(root) for split in ("train", "val", "test")}
    workers = {f"{split}_dataloader.{key}": value for split in ("train", "val", "test") for key, value in
               (("num_workers", 0), ("persistent_workers", False))}  # fmt: skip
    with pytest.raises(UserError, match=message):
        engine.evaluate(RETINANET, trained(root, classes), str(tmp_path / "work"), options={**roots, **workers, **options})
