"""COCO, read as untrusted: what is missing or broken is named, with the remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset as _CocoDataset
from mmdet.datasets.api_wrappers import COCO

from gemnet.images import TOLD, DataError, EveryImageTested
from gemnet.registry import DATASETS

COCO_TREE = """\
data/coco/
  annotations/instances_train2017.json
  annotations/instances_val2017.json
  train2017/*.jpg
  val2017/*.jpg"""


class _CheckedCOCO(COCO):
    """COCO's annotations, checked between reading and indexing."""

    def __init__(self, file: str, check: Callable[[dict[str, Any]], None]) -> None:
        self.check = check
        super().__init__(file)

    def createIndex(self) -> None:
        self.check(self.dataset)
        super().createIndex()


@DATASETS.register_module()
class CocoDataset(EveryImageTested, _CocoDataset):
    """mmdet's CocoDataset on local files, which are checked before they are used.

    Raises DataError where the annotation file or the folder of images is missing, the file is no COCO annotation, has no
    images or other classes than the data set, or names images that the folder lacks, and where filtering leaves no image.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        annotations, images = Path(self.ann_file), Path(self.data_prefix["img"])
        if not annotations.is_file():
            raise DataError(f"{annotations}: no such file{_where()}")
        if not images.is_dir():
            raise DataError(f"{images}: no such folder of images{_where()}")
        self.COCOAPI = lambda file: _CheckedCOCO(file, self._check)
        try:
            data = super().load_data_list()
        except DataError:
            raise
        except (KeyError, TypeError, IndexError, ValueError, AssertionError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{annotations}: not a COCO annotation file for detection ({type(error).__name__}: {error}); expected lists "
                "'images' (id, file_name, width, height), 'annotations' (id, image_id, category_id, bbox, area), 'categories'"
            ) from error
        finally:
            del self.COCOAPI
        if not self.test_mode and not any(info["instances"] for info in data):
            raise DataError(f"{annotations}: not one box to train on; expected annotations with a bbox of a known class")
        return data

    def filter_data(self) -> list[dict[str, Any]]:
        data = super().filter_data()
        if not data:
            raise DataError(f"{self.ann_file}: filter_cfg={self.filter_cfg} leaves none of {len(self.data_list)} images")
        return data

    def _check(self, content: dict[str, Any]) -> None:
        annotations, images = self.ann_file, self.data_prefix["img"]
        entries = content.get("images")
        if not isinstance(entries, list) or not entries:
            raise DataError(f"{annotations}: has no images; expected an object with a list 'images'")
        names = [entry.get("file_name") if isinstance(entry, dict) else None for entry in entries]
        if not all(isinstance(name, str) for name in names):
            raise DataError(f"{annotations}: an image without 'file_name'")
        classes, known = list(self.metainfo["classes"]), content.get("categories")
        known = [c.get("name") for c in known if isinstance(c, dict)] if isinstance(known, list) else []
        if [name for name in known if name in classes] != classes:  # labels follow the order of the file
            absent = [name for name in classes if name not in known]
            problem = f"lacks {len(absent)} of the {len(classes)} classes, first {absent[0]}" if absent else "has another order"
            raise DataError(
                f"{annotations}: {problem}; it has {', '.join(map(str, known[:TOLD])) or 'none'}, ...: set "
                "*_dataloader.dataset.metainfo.classes to its own, in its order, and num_classes of the heads"
            )
        present = {os.path.join(folder, name) for folder, _, files in os.walk(images) for name in files}
        absent = [name for name in names if os.path.join(images, name) not in present]
        if absent:
            raise DataError(
                f"{annotations} does not fit {images}: {len(absent)} of its {len(names)} images are not there, first "
                f"{', '.join(absent[:TOLD])}; check data_prefix, or fetch the images again"
            )


def _where() -> str:
    return (
        f" (from {Path.cwd()}). COCO 2017 (https://cocodataset.org/#download) is expected as\n{COCO_TREE}\n"
        "For a data set elsewhere, link it to data/coco or set *_dataloader.dataset.data_root and *_evaluator.ann_file"
    )
