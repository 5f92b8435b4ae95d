"""What a detector's file is worth on photos with boxes: COCO's AP, beside the float file's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gemnet.annotations.coco import read_coco
from gemnet.deploy.int8.measuring import check_names
from gemnet.detection.own_detector.measures import figures
from gemnet.images.pixels import read_image
from gemnet.openmmlab.images import DataError

if TYPE_CHECKING:
    import numpy as np

    from gemnet.deploy.proof import Found

    Detector: TypeAlias = "Callable[[np.ndarray], list[Found]]"


@dataclass(frozen=True)
class LabelledPhotos:
    """Photos with boxes: `content` as COCO's files have it, categories in the order of the labels, below a folder."""

    name: str
    content: Mapping[str, Any]
    folder: Path

    @property
    def files(self) -> list[Path]:
        return [self.folder / image["file_name"] for image in self.content["images"]]


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's box AP (0 to 1) of a detector and of the reference, over the photos of a set."""

    photos: int
    ap: float
    ap50: float
    reference: float
    reference50: float
    name: str = ""

    def __str__(self) -> str:
        both = f"AP50 {self.reference50:.4f}, {self.ap50:.4f}"
        return f"AP       float {self.reference:.4f}, int8 {self.ap:.4f}: {self.lost:.2f} points lost ({both}) on {self.told}"

    @property
    def told(self) -> str:
        return f"{self.photos:,} photos of {self.name}"

    @property
    def lost(self) -> float:
        """Points that the detector has fewer than the reference."""
        return 100 * (self.reference - self.ap)


class ApMeasure:
    """Measures detectors' files on photos with boxes, beside the float file, which is run once.

    Args:
        photos: With their boxes.
        reference: The float file.
        classes: Their names, in the order of the labels.
        opened: Opens a file: photos uint8 [B, H, W, 3] in RGB -> what is found on each.

    Raises:
        DataError: The boxes are of other classes.
    """

    def __init__(
        self, photos: LabelledPhotos, reference: Path, classes: Sequence[str], opened: Callable[[Path], Detector]
    ) -> None:
        self.photos, self._opened = photos, opened
        check_names(photos.name, [one["name"] for one in photos.content["categories"]], classes)
        self._reference = self._figures(opened(reference))

    def __call__(self, model: Path) -> AveragePrecision:
        """Raises DataError that names a photo that cannot be read."""
        ap, ap50 = self._figures(self._opened(model))
        return AveragePrecision(len(self.photos.content["images"]), ap, ap50, *self._reference, self.photos.name)

    def _figures(self, detector: Detector) -> tuple[float, float]:
        """AP and AP50 by pycocotools."""
        content = dict(self.photos.content)
        numbers = [one["id"] for one in content["categories"]]
        predictions = []
        for image, path in zip(content["images"], self.photos.files):
            (found,) = detector(read_image(path)[None])
            for (x1, y1, x2, y2), score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()):
                box = [x1, y1, x2 - x1, y2 - y1]
                predictions.append({"image_id": image["id"], "category_id": numbers[label], "bbox": box, "score": score})
        measured = figures(content, predictions)
        if measured.ap is None or measured.ap50 is None:
            raise DataError(f"{self.photos.name}: not one box to measure against")
        return measured.ap, measured.ap50


def labelled_photos(dataset: Mapping[str, Any]) -> LabelledPhotos | None:
    """The photos of a config's data set, as `config.val_dataloader.dataset`; None where its annotation file is missing.

    Raises DataError where the file is broken.
    """
    while "ann_file" not in dataset and "dataset" in dataset:  # RepeatDataset and its like
        dataset = dataset["dataset"]
    root, annotations = Path(dataset.get("data_root") or ""), dataset.get("ann_file")
    if not annotations or not (root / annotations).is_file():
        return None
    folder = root / ((dataset.get("data_prefix") or {}).get("img") or "")
    classes = (dataset.get("metainfo") or {}).get("classes")
    return LabelledPhotos(str(root / annotations), read_coco(root / annotations, folder, classes).content, folder)
