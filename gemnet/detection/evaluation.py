"""COCO's metrics on the very boxes that the data set has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.evaluation import CocoMetric as _CocoMetric

from gemnet.annotations.coco import read_coco
from gemnet.detection.coco_dataset import indexed
from gemnet.openmmlab.images import DataError
from gemnet.openmmlab.registry import METRICS


@METRICS.register_module()
class CocoMetric(_CocoMetric):
    """mmdet's CocoMetric, which takes the annotation file and the images of a gemnet.CocoDataset from it.

    Only images that the data set has are counted, each once, however it is wrapped. ann_file: None, or the data set's own, from
    the working directory or from data_root. Raises DataError where it is another, where it has no box to evaluate against, and
    where the data set has several.
    """

    def __init__(self, ann_file: str | None = None, **kwargs: Any) -> None:
        super().__init__(ann_file=None, **kwargs)
        self.ann_file = ann_file

    @property
    def dataset_meta(self) -> Any:
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: Any) -> None:
        """Known before the first epoch: a file that does not fit is told then."""
        self._dataset_meta = meta
        if not isinstance(meta, Mapping):
            raise DataError(f"{type(self).__name__}: the data set joins several annotation files; evaluate them one by one")
        source = meta.get("annotations")
        if source is not None and self.ann_file is not None and not _same(self.ann_file, source):
            raise DataError(
                f"*_evaluator.ann_file={self.ann_file} is another file than the data set's, {source['file']}: "
                "expected the same, or no ann_file"
            )
        file = self.ann_file if source is None else source["file"]
        if file is None:  # another data set, whose samples carry what is true
            return
        found = read_coco(file, None if source is None else source["images"], meta["classes"])
        if not found.boxes and not self.format_only:
            crowds = len(found.content["annotations"])
            told = f"all {crowds} annotations are crowds" if crowds else "it has no annotations that count"
            raise DataError(f"{file}: not one box to evaluate against: {told}; for predictions alone set format_only=True")
        self._coco_api, self.cat_ids = indexed(found.content), None

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As mmdet's; of an image that was seen twice, as by RepeatDataset, the first result counts."""
        first = {prediction["img_id"]: (truth, prediction) for truth, prediction in reversed(results)}
        if self._coco_api is not None:
            strange = sorted(set(first) - set(self._coco_api.imgs))
            if strange:
                raise DataError(f"{self.ann_file}: has no image with id {strange[0]}, which the data set has")
            self.img_ids = [number for number in self._coco_api.imgs if number in first]
        return super().compute_metrics([first[number] for number in sorted(first)])


def _same(file: str, source: Mapping[str, str]) -> bool:
    own = Path(source["file"])
    candidates = (Path(file), Path(source["data_root"]) / file)
    return any(path.exists() and os.path.samefile(path, own) for path in candidates)
