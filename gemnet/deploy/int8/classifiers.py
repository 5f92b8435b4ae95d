"""A classifier, or the maps of a backbone, in int8."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.deploy.about import about_network
from gemnet.deploy.export import ExportError, Features, export, write_beside
from gemnet.deploy.int8.choosing import Choice, write_within
from gemnet.deploy.int8.images import CALIBRATION_IMAGES, calibration_files, labelled_files, read_batches
from gemnet.deploy.int8.layers import QuantizationError
from gemnet.deploy.int8.measuring import Top1, Top1Measure, check_names
from gemnet.deploy.int8.mixed_precision import MAX_LOSS
from gemnet.deploy.int8.onnx_files import CALIBRATION_BATCH, OnnxQuantizer, network_input, open_session
from gemnet.deploy.int8.opened import Opened
from gemnet.deploy.int8.quantizer import Feed
from gemnet.deploy.int8.report import Report, beside_float
from gemnet.deploy.int8.targets import target
from gemnet.fusion import fused
from gemnet.network import GEMNet

SENSITIVITY_IMAGES = 32
"""Calibration images on which the layers are compared one by one."""


def quantize(
    onnx_path: str | Path, destination: str | Path, images: str | Path, count: int = CALIBRATION_IMAGES, edge: int | None = None
) -> None:
    """Write the ONNX network [B, 3, H, W] at `onnx_path` in int8 to `destination`, whole or not at all; the batch stays free.

    images: a folder, flat or a folder a class, of which `count` calibrate; edge: as `read_batches`. Raises DataError for
    images that are missing, too few or broken, QuantizationError for a file that is no such network.
    """
    files = calibration_files(images, count)
    name, height, width = network_input(open_session(onnx_path), onnx_path)
    batches = read_batches(files, height, width, edge, CALIBRATION_BATCH, "calibration")
    OnnxQuantizer(onnx_path, ({name: batch} for batch in batches)).write(Path(destination))


def export_int8(
    model: GEMNet,
    path: str | Path,
    calibration: str | Path | None,
    count: int = CALIBRATION_IMAGES,
    data: str | Path | None = None,
    edge: int | None = None,
    max_loss: float = MAX_LOSS,
    weight_bits: int | None = None,
    input_size: tuple[int, int, int] = (3, 224, 224),
    features: bool = False,
    origin: Mapping[str, Any] | None = None,
    **how: Any,
) -> Report:
    """Write a classifier in int8; with labelled images, keep as few layers float as bring the loss below a limit.

    Args:
        model: A GEMNet of timm's kind.
        path: The file; its ending says the runtime, one of `gemnet.deploy.int8.targets.TARGETS`.
        calibration: A folder of images like those of training, flat or a folder a class.
        count: How many of them.
        data: Images a folder a class, to compare int8 with float; without them all layers become int8.
        edge: As `read_batches`.
        max_loss: Points of top-1 that may be lost on `data`.
        weight_bits: For ONNX: 7, by default, or 8 for CPUs that have VNNI.
        input_size, features, origin: As `gemnet.deploy.export.export`. What goes beside its file goes beside the int8 file.
        how: tolerance, as there, for the float form, which is left nowhere; its normalisation is folded.

    Raises:
        MissingExtraError: The runtime, or what quantises for it, is not installed.
        ExportError: There are no calibration images, or the path has another ending.
        DataError, QuantizationError: As `quantize` and `top1`.
    """
    path = Path(path)
    if calibration is None:
        told = "int8 needs images to find the ranges of the activations"
        raise ExportError(f"{told}: give a folder of some hundred, as those of training, with --calibration FOLDER")
    kind = target(path, weight_bits)
    entry = kind.runtime
    channels, height, width = input_size
    if channels != 3:
        raise QuantizationError(f"images of {channels} channels cannot be had from a folder of photos; expected 3")
    kind.check()
    files = calibration_files(calibration, count)  # what is missing is told before the work
    if data is not None:
        if features:
            raise ExportError("--data measures a classifier; leave it out with --features")
        classes = labelled_files(data)[2]
        if len(classes) != model.num_classes:
            raise ExportError(f"{data}: {len(classes)} classes, but the model has {model.num_classes}; expected as many")
        check_names(data, classes, getattr(model, "class_names", None))
    about = about_network(model, entry, path, input_size, features, False, origin)
    name = about["input"]["name"]

    def feeds(batch_size: int, some: Sequence[Path] = files) -> Iterator[Feed]:
        return ({name: batch} for batch in read_batches(some, height, width, edge, batch_size, "calibration"))

    how |= {"input_size": input_size, "features": features, "origin": origin, "fold": True}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"float{entry.ending}"
        difference = export(model, plain, entry.name, **how)
        module = fused((Features(model) if features else model).eval())
        quantizer = kind.quantizer(module, plain, feeds, weight_bits)
        chosen: Choice[Top1] | None = None
        if data is None:
            quantizer.write(path)
        else:
            some = feeds(SENSITIVITY_IMAGES, files[:: max(1, count // SENSITIVITY_IMAGES)])
            measure = Top1Measure(data, Opened(entry.open(plain), (height, width)), edge)
            chosen = write_within(quantizer, path, some, measure, max_loss)
        write_beside(entry, path, about)
        image = np.zeros((1, 3, height, width), np.float32)
        return Report(
            path, *beside_float(entry, plain, path, image), difference,
            () if chosen is None else (chosen.measured,),
            () if chosen is None else chosen.layers, () if chosen is None else chosen.trials,
            {"weight_bits": quantizer.weight_bits, "calibration_images": count, "max_loss": max_loss},
        )  # fmt: skip
