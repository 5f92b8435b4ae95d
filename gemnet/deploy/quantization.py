"""Int8 after training: onnxruntime's static quantisation of an exported network, and what it costs in accuracy.

Weights are int8, a scale a channel, symmetric (s = max |w| / 127); activations uint8, a scale and a zero point a tensor, from
the smallest and largest value on the calibration images. The file is plain ONNX in QDQ form.
Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from mmcv.transforms import CenterCrop
from mmengine.dataset import Compose
from rich.console import Console
from rich.progress import track
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from gemnet.bench.benchmark import Timing, measure_together
from gemnet.checkpoints.class_names import difference
from gemnet.core.extras import need
from gemnet.core.files import replacing
from gemnet.deploy.export import CLASSES, ExportError, export
from gemnet.images.folders import class_images
from gemnet.network import GEMNet
from gemnet.openmmlab.images import DataError, LoadImage, folder_classes, image_files

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    Network: TypeAlias = str | Path | InferenceSession

CALIBRATION_IMAGES = 256
FEWEST_IMAGES = 16
"""Below this many calibration images the ranges of the activations are chance."""
CALIBRATION_BATCH = 16
MARGIN = 256 / 224
"""Short edge of an image before the centre crop, relative to the crop: the validation pipeline's."""


class QuantizationError(ExportError):
    """A network that cannot be quantised or measured, or settings that do not fit it."""


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
        lost = 100 * (self.reference - self.accuracy)
        return (
            f"top-1    float {self.reference:.2%}, int8 {self.accuracy:.2%}: {lost:.2f} points lost\n"
            f"answers  the same on {self.agreement:.2%} of {self.images:,} images"
        )


@dataclass(frozen=True)
class Report:
    """An int8 file beside the float file that it was made from: bytes, seconds a call at batch 1, and accuracy if measured."""

    path: Path
    difference: float
    sizes: tuple[int, int]
    latencies: tuple[Timing, Timing]
    top1: Top1 | None = None

    def __str__(self) -> str:
        before, after = self.sizes
        slow, fast = (1e3 * timing.median for timing in self.latencies)
        lines = [
            f"{self.path}: int8; its float form equals the model to {self.difference:.1e}",
            f"size     float {before / 1e6:.2f} MB, int8 {after / 1e6:.2f} MB: {before / after:.1f} x smaller",
            f"latency  float {slow:.2f} ms, int8 {fast:.2f} ms at batch 1: {slow / fast:.2f} x as fast",
        ]
        return "\n".join([*lines, *([str(self.top1)] if self.top1 is not None else [])])


def calibration_files(folder: str | Path, count: int = CALIBRATION_IMAGES) -> list[Path]:
    """`count` images of `folder`, flat or a folder a class, spread evenly over their sorted paths, so over the classes.

    Raises DataError where the folder is missing or has fewer, QuantizationError for a count below FEWEST_IMAGES.
    """
    if count < FEWEST_IMAGES:
        raise QuantizationError(f"{count} calibration images are too few; expected at least {FEWEST_IMAGES}")
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder (from {Path.cwd()}); expected images to calibrate with")
    files = image_files(Path(folder))
    if len(files) < count:
        raise DataError(f"{folder}: {len(files)} images, too few to calibrate with {count}; add images or ask for fewer")
    return [files[index * len(files) // count] for index in range(count)]


def labelled_files(folder: str | Path) -> tuple[list[Path], np.ndarray, list[str]]:
    """The images `folder`/class/*.jpg, their labels [images] (the class's place among the sorted names), and these names.

    Raises DataError where the folder is missing, has fewer than two classes, or a class has no images.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder (from {Path.cwd()}); expected images as <folder>/<class>/*.jpg")
    classes = folder_classes(Path(folder))
    if len(classes) < 2:
        raise DataError(f"{folder}: {len(classes)} classes; expected a folder for each of two or more classes")
    found = [(file, label) for label, files in enumerate(class_images(Path(folder), classes)) for file in files]
    return [file for file, _ in found], np.array([label for _, label in found]), classes


def read_batches(
    files: Sequence[Path], height: int, width: int, edge: int | None = None, batch_size: int = 64, title: str = "images"
) -> Iterator[np.ndarray]:
    """Images as the configs' validation pipeline gives them: batches [<= batch_size, 3, height, width], float32, RGB.

    The short edge is resized to `edge` pixels (256 at 224, and in proportion), bicubic, the centre is cropped, ImageNet's mean
    and deviation are taken. Raises DataError that names an image that cannot be read, QuantizationError for an edge too small.
    """
    from mmpretrain.datasets.transforms import ResizeEdge

    edge = round(max(height, width) * MARGIN) if edge is None else edge
    if edge < max(height, width):
        told = f"images resized to {edge} pixels do not cover the network's {height}x{width}"
        raise QuantizationError(f"{told}; resize to more (--image-size), or export for smaller ones (--input-size)")
    resize = ResizeEdge(scale=edge, edge="short", backend="pillow", interpolation="bicubic")
    pipeline = Compose([LoadImage(), resize, CenterCrop(crop_size=(width, height))])
    mean, std = (255 * np.array(values, np.float32) for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    starts = range(0, len(files), batch_size)
    for start in track(starts, title, console=Console(stderr=True), disable=len(starts) < 3):
        images = [pipeline({"img_path": str(file)})["img"] for file in files[start : start + batch_size]]
        yield np.ascontiguousarray(((np.stack(images)[..., ::-1] - mean) / std).transpose(0, 3, 1, 2))


def quantize(
    onnx_path: str | Path, destination: str | Path, images: str | Path, count: int = CALIBRATION_IMAGES, edge: int | None = None
) -> None:
    """Write the ONNX network [B, 3, H, W] at `onnx_path` in int8 to `destination`, whole or not at all; the batch stays free.

    images: a folder, flat or a folder a class, of which `count` calibrate; edge: as `read_batches`. Raises DataError for
    images that are missing, too few or broken, QuantizationError for a file that is no such network.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    destination = Path(destination)
    files = calibration_files(images, count)
    name, height, width = _input(_session(onnx_path), onnx_path)
    feeds = ({name: batch} for batch in read_batches(files, height, width, edge, CALIBRATION_BATCH, "calibration"))
    reader = SimpleNamespace(get_next=lambda: next(feeds, None))  # onnxruntime's CalibrationDataReader
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, replacing(destination) as temporary:
        prepared = Path(folder) / "prepared.onnx"  # with shapes, constants and normalisation folded
        quant_pre_process(str(onnx_path), str(prepared))
        # Weights of 7 bits: CPUs without VNNI add two products of 8 bits in 16, which would saturate.
        quantize_static(
            str(prepared), str(temporary), reader, quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=True,
        )  # fmt: skip
        _session(temporary)


def top1(
    model: Network, folder: str | Path, reference: Network | None = None, edge: int | None = None, batch_size: int = 64
) -> Top1:
    """How often an ONNX classifier [B, 3, H, W] -> [B, classes] is right on the images `folder`/class/*.jpg.

    reference: another, to which the answers are compared, as the float form; each image is read once for both. edge: as
    `read_batches`. Raises DataError for the images, QuantizationError where the classes or sizes do not fit.
    """
    files, labels, classes = labelled_files(folder)
    sessions = [_session(one) for one in (model, reference) if one is not None]
    inputs = {_input(session, "the model")[1:] for session in sessions}
    if len(inputs) > 1:
        raise QuantizationError("the model and its reference take images of different sizes; expected the same")
    for session in sessions:
        shape = session.get_outputs()[0].shape
        count = len(classes)
        if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != count):
            raise QuantizationError(f"the model's outputs are {shape}; expected logits [B, {count}], as {folder} has classes")
        _check_names(folder, classes, json.loads(session.get_modelmeta().custom_metadata_map.get(CLASSES, "null")))
    answers: list[list[np.ndarray]] = [[] for _ in sessions]  # of each, [images] a batch
    for images in read_batches(files, *inputs.pop(), edge, batch_size):
        for session, given in zip(sessions, answers):
            given.append(session.run(None, {session.get_inputs()[0].name: images})[0].argmax(1))
    found = [np.concatenate(given) for given in answers]
    accuracy, *others = (float((answer == labels).mean()) for answer in found)
    if not others:
        return Top1(len(files), accuracy)
    return Top1(len(files), accuracy, others[0], float((found[0] == found[1]).mean()))


def _check_names(folder: str | Path, classes: Sequence[str], names: Sequence[str] | None) -> None:
    """Raises DataError where the classes of a folder are not those that a model has the names of."""
    if names and list(names) != list(classes):
        raise DataError(f"{folder} {difference(classes, names)}: expected the model's, in its order")


def export_int8(
    model: GEMNet,
    path: str | Path,
    calibration: str | Path | None,
    count: int = CALIBRATION_IMAGES,
    data: str | Path | None = None,
    edge: int | None = None,
    **how: Any,
) -> Report:
    """Write `model`, a GEMNet of timm's kind, in int8 to `path`; with `data`, images a folder a class, compare it with float.

    calibration, count, edge: as `quantize`. how: input_size, features, fold and tolerance, as `export.export`, for the float
    form, which is left nowhere. Raises ExportError without calibration images, and what `quantize` and `top1` raise.
    """
    path = Path(path)
    if calibration is None:
        told = "int8 needs images to find the ranges of the activations"
        raise ExportError(f"{told}: give a folder of some hundred, as those of training, with --calibration FOLDER")
    if path.suffix != ".onnx":
        raise ExportError(f"{path}: a file of format int8 ends with .onnx")
    calibration_files(calibration, count)  # what is missing is told before the work
    if data is not None:
        if how.get("features"):
            raise ExportError("--data measures a classifier; leave it out with --features")
        classes = labelled_files(data)[2]
        if len(classes) != model.num_classes:
            raise ExportError(f"{data}: {len(classes)} classes, but the model has {model.num_classes}; expected as many")
        _check_names(data, classes, getattr(model, "class_names", None))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        difference = export(model, plain, "onnx", **how)
        quantize(plain, path, calibration, count, edge)
        sizes = (plain.stat().st_size, path.stat().st_size)
        reference, session = _session(plain), _session(path)
        found = None if data is None else top1(session, data, reference, edge)
        name, height, width = _input(session, path)
        image = {name: np.zeros((1, 3, height, width), np.float32)}
        timings = measure_together({one: partial(one.run, None, image) for one in (reference, session)}, 30, 5)
    return Report(path, difference, sizes, (timings[reference], timings[session]), found)


def _session(model: Network) -> InferenceSession:
    need("export", "onnxruntime")
    import onnxruntime

    if isinstance(model, onnxruntime.InferenceSession):
        return model
    if not Path(model).is_file():
        raise QuantizationError(f"{model}: no such file; expected an ONNX network")
    try:
        return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except Exception as error:  # each of onnxruntime's errors is a class of its own
        raise QuantizationError(f"{model}: not an ONNX network that can be run ({str(error).splitlines()[0]})") from error


def _input(session: InferenceSession, told: str | Path) -> tuple[str, int, int]:
    """Name, height and width of the one input, images [B, 3, H, W] with a free batch."""
    inputs = session.get_inputs()
    shape: Sequence[Any] = inputs[0].shape if len(inputs) == 1 else ()
    fits = len(shape) == 4 and not isinstance(shape[0], int) and shape[1] == 3
    if not fits or not isinstance(shape[2], int) or not isinstance(shape[3], int):
        found = ", ".join(str(one.shape) for one in inputs)
        raise QuantizationError(f"{told}: takes {found}; expected images ['batch', 3, height, width], the batch free")
    return inputs[0].name, shape[2], shape[3]
