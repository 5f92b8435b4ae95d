"""COCO data sets whose annotations `read_coco` has checked: what is missing or broken is named, with the remedy."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset as _CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import MMLogger, print_log

from gemnet.annotations.coco import read_coco
from gemnet.openmmlab.classes import named_classes
from gemnet.openmmlab.images import DataError, EveryImageTested
from gemnet.openmmlab.registry import DATASETS

COCO_TREE = """\
data/coco/
  annotations/instances_train2017.json
  annotations/instances_val2017.json
  train2017/*.jpg
  val2017/*.jpg"""

_told: set[tuple[str, str]] = set()


def tell(lines: Iterable[str]) -> None:
    """Put lines into the log of the run, each once."""
    run = MMLogger.get_current_instance().instance_name
    for line in lines:
        if (run, line) not in _told:
            _told.add((run, line))
            print_log(line, logger="current", level=logging.WARNING)


def indexed(content: dict[str, Any]) -> COCO:
    """pycocotools' index of annotations that were read already."""
    api = COCO()
    api.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs  # mmdet's names for them
    return api


@DATASETS.register_module()
class CocoDataset(EveryImageTested, _CocoDataset):
    """mmdet's CocoDataset on local files, with the boxes and classes that `gemnet.annotations.coco.read_coco` takes from them.

    `metainfo.classes` names the classes in the order of the labels; without it they are the file's own. What was repaired is
    logged, a line a kind. In test mode `metainfo` tells gemnet.CocoMetric the annotation file and the folder of images. Raises
    DataError where one of them is missing, `read_coco` refuses the file, there is no box to train on, or filtering leaves no
    image.
    """

    METAINFO: ClassVar[dict[str, Any]] = {}

    def load_data_list(self) -> list[dict[str, Any]]:
        annotations, images = Path(self.ann_file), Path(self.data_prefix.get("img", self.data_root))
        if not annotations.is_file():
            raise DataError(f"{annotations}: no such file{_where()}")
        if not images.is_dir():
            raise DataError(f"{images}: no such folder of images{_where()}")
        self.data_prefix["img"] = str(images)
        skipping = any(getattr(step, "on_error", None) == "skip" for step in self.pipeline.transforms)
        classes = named_classes(self._metainfo, "*_dataloader.dataset.metainfo")
        found = read_coco(annotations, images, classes, keep_wrong_sizes=skipping and not self.test_mode)
        tell(f"{annotations}: {note}" for note in found.notes)
        crowds = len(found.content["annotations"]) - found.boxes
        if not found.boxes and not self.test_mode:
            told = f"all {crowds} annotations are crowds" if crowds else "expected annotations with a bbox of a known class"
            raise DataError("\n".join([f"{annotations}: not one box to train on; {told}", *map(str, found.notes)]))
        self._metainfo["classes"] = found.classes
        if found.classes == _CocoDataset.METAINFO["classes"]:
            self._metainfo.setdefault("palette", _CocoDataset.METAINFO["palette"])
        if self.test_mode:
            self._metainfo["annotations"] = {"file": str(annotations), "images": str(images), "data_root": self.data_root}
        self.COCOAPI = lambda file: indexed(found.content)
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI

    def filter_data(self) -> list[dict[str, Any]]:
        data = super().filter_data()
        if not data:
            raise DataError(f"{self.ann_file}: filter_cfg={self.filter_cfg} leaves none of {len(self.data_list)} images")
        if len(data) < len(self.data_list):
            fewer = f"{len(self.data_list) - len(data)} of {len(self.data_list)} images left out"
            tell([f"{self.ann_file}: {fewer}, without a box or too small (filter_cfg={self.filter_cfg})"])
        return data


def _where() -> str:
    return (
        f" (from {Path.cwd()}). COCO 2017 (https://cocodataset.org/#download) is expected as\n{COCO_TREE}\n"
        "For a data set elsewhere, link it to data/coco or set data_root, as --cfg-options data_root=FOLDER"
    )
