"""What a file is worth on labelled images: top-1 of a classifier, COCO's AP of a detector, both beside the float file's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gemnet.annotations.coco import read_coco
from gemnet.checkpoints.class_names import difference
from gemnet.deploy.detector_onnx import OnnxDetector
from gemnet.deploy.export import CLASSES
from gemnet.deploy.int8.graph import QuantizationError
from gemnet.deploy.int8.images import labelled_files, read_batches
from gemnet.deploy.int8.onnx_files import open_session
from gemnet.deploy.int8.openvino_files import ENDING, OpenVinoSession, open_openvino
from gemnet.detection.own_detector.measures import figures
from gemnet.images.pixels import read_image
from gemnet.openmmlab.images import DataError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from gemnet.deploy.int8.onnx_files import Network


@dataclass(frozen=True)
class Top1:
    """Shares (0 to 1) of a folder's images: right answers of the model, of the reference, and equal answers of the two."""

    images: int
    accuracy: float
    reference: float | None = None
    agreement: float | None = None

    def __str__(self) -> str:
        if self.reference is None or self.agreement is None:
            return f"top-1    {self.accuracy:.2%} of {self.images:,} images"
        return (
            f"top-1    float {self.reference:.2%}, int8 {self.accuracy:.2%}: {self.lost:.2f} points lost\n"
            f"answers  the same on {self.agreement:.2%} of {self.images:,} images"
        )

    @property
    def lost(self) -> float:
        """Points that the model has fewer than the reference; 0 without one."""
        return 0.0 if self.reference is None else 100 * (self.reference - self.accuracy)


class Top1Measure:
    """Measures classifiers [B, 3, H, W] -> [B, classes] on the images `folder`/class/*.jpg, beside a reference.

    The reference answers once, however many files are measured beside it.

    Args:
        folder: A folder a class, in the order of the labels.
        reference: The float file, if any.
        edge, batch_size: As `gemnet.deploy.int8.images.read_batches` takes them.

    Raises:
        DataError: The folder is missing, has fewer than two classes or a class without images.
    """

    def __init__(
        self, folder: str | Path, reference: Network | None = None, edge: int | None = None, batch_size: int = 64
    ) -> None:
        self.folder, self.edge, self.batch_size = folder, edge, batch_size
        self.files, self.labels, self.classes = labelled_files(folder)
        self._reference = None if reference is None else open_network(reference)
        self._answers: np.ndarray | None = None  # the reference's

    def __call__(self, model: Network) -> Top1:
        """Raises DataError for images and classes, QuantizationError where the numbers of classes or the sizes do not fit."""
        session = open_network(model)
        asked = [session] if self._reference is None or self._answers is not None else [session, self._reference]
        inputs = {network_input(one, "the model")[1:] for one in (session, self._reference) if one is not None}
        if len(inputs) > 1:
            raise QuantizationError("the model and its reference take images of different sizes; expected the same")
        for one in asked:
            self._check(one)
        answers: list[list[np.ndarray]] = [[] for _ in asked]  # of each, [images] a batch
        for images in read_batches(self.files, *inputs.pop(), self.edge, self.batch_size):
            for one, given in zip(asked, answers):
                given.append(one.run(None, {one.get_inputs()[0].name: images})[0].argmax(1))
        found = [np.concatenate(given) for given in answers]
        if len(found) > 1:
            self._answers = found[1]
        accuracy, count = float((found[0] == self.labels).mean()), len(self.files)
        if self._answers is None:
            return Top1(count, accuracy)
        return Top1(count, accuracy, float((self._answers == self.labels).mean()), float((found[0] == self._answers).mean()))

    def _check(self, session: InferenceSession) -> None:
        shape, count = session.get_outputs()[0].shape, len(self.classes)
        if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != count):
            raise QuantizationError(
                f"the model's outputs are {shape}; expected logits [B, {count}], as {self.folder} has classes"
            )
        check_names(self.folder, self.classes, json.loads(session.get_modelmeta().custom_metadata_map.get(CLASSES, "null")))


def top1(
    model: Network, folder: str | Path, reference: Network | None = None, edge: int | None = None, batch_size: int = 64
) -> Top1:
    """How often an ONNX classifier is right on the images of a folder; as `Top1Measure`, for one file."""
    return Top1Measure(folder, reference, edge, batch_size)(model)


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

    Raises:
        DataError: The boxes are of other classes than the float file's.
    """

    def __init__(self, photos: LabelledPhotos, reference: Path) -> None:
        self.photos = photos
        detector = OnnxDetector(reference)
        about = json.loads(detector.session.get_modelmeta().custom_metadata_map.get("gemnet", "{}"))
        check_names(photos.name, [one["name"] for one in photos.content["categories"]], about.get("classes"))
        self._reference = self._figures(detector)

    def __call__(self, model: Path) -> AveragePrecision:
        """Raises DataError that names a photo that cannot be read."""
        ap, ap50 = self._figures(OnnxDetector(model))
        return AveragePrecision(len(self.photos.content["images"]), ap, ap50, *self._reference, self.photos.name)

    def _figures(self, detector: OnnxDetector) -> tuple[float, float]:
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


def check_names(where: str | Path, classes: Sequence[str], names: Sequence[str] | None) -> None:
    """Raises DataError where the classes of a set are not those that a model has the names of."""
    if names and list(names) != list(classes):
        raise DataError(f"{where} {difference(classes, names)}: expected the model's, in its order")


def open_network(model: Network) -> InferenceSession:
    """Open a file in its runtime, OpenVINO for .xml, else onnxruntime; what is open is given back.

    Raises QuantizationError for a file that cannot be run.
    """
    if isinstance(model, OpenVinoSession):
        return model
    if isinstance(model, (str, Path)) and Path(model).suffix == ENDING:
        return open_openvino(model)
    return open_session(model)


def network_input(session: InferenceSession, told: str | Path) -> tuple[str, int, int]:
    """Name, height and width of the one input, images [B, 3, H, W] with a free batch. Raises QuantizationError for others."""
    inputs = session.get_inputs()
    shape: Sequence[Any] = inputs[0].shape if len(inputs) == 1 else ()
    fits = len(shape) == 4 and not isinstance(shape[0], int) and shape[1] == 3
    if not fits or not isinstance(shape[2], int) or not isinstance(shape[3], int):
        found = ", ".join(str(one.shape) for one in inputs)
        raise QuantizationError(f"{told}: takes {found}; expected images ['batch', 3, height, width], the batch free")
    return inputs[0].name, shape[2], shape[3]
