"""A classifier, or the maps of a backbone, in int8."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.bench.benchmark import measure_together
from gemnet.core.extras import need
from gemnet.deploy.about import about_network
from gemnet.deploy.export import ExportError, export, write_beside
from gemnet.deploy.int8.choosing import Choice, Quantizer, write_within
from gemnet.deploy.int8.images import CALIBRATION_BATCH, CALIBRATION_IMAGES, calibration_files, labelled_files, read_batches
from gemnet.deploy.int8.measuring import Top1, Top1Measure, check_names, network_input, open_network
from gemnet.deploy.int8.mixed_precision import MAX_LOSS
from gemnet.deploy.int8.onnx_files import WEIGHT_BITS, OnnxQuantizer, open_session
from gemnet.deploy.int8.openvino_files import ENDING, OpenVinoQuantizer, bytes_of
from gemnet.deploy.int8.report import Report
from gemnet.deploy.runtimes.table import runtime
from gemnet.network import GEMNet

SENSITIVITY_IMAGES = 32
"""Calibration images on which the layers are compared one by one."""


def quantizer_for(
    onnx_path: str | Path,
    images: str | Path,
    count: int = CALIBRATION_IMAGES,
    edge: int | None = None,
    weight_bits: int = WEIGHT_BITS,
) -> OnnxQuantizer:
    """Calibrate the ONNX network [B, 3, H, W] at `onnx_path` with `count` images of a folder; as `quantize`."""
    files = calibration_files(images, count)
    name, height, width = network_input(open_session(onnx_path), onnx_path)
    batches = read_batches(files, height, width, edge, CALIBRATION_BATCH, "calibration")
    return OnnxQuantizer(onnx_path, ({name: batch} for batch in batches), weight_bits)


def quantize(
    onnx_path: str | Path, destination: str | Path, images: str | Path, count: int = CALIBRATION_IMAGES, edge: int | None = None
) -> None:
    """Write the ONNX network [B, 3, H, W] at `onnx_path` in int8 to `destination`, whole or not at all; the batch stays free.

    images: a folder, flat or a folder a class, of which `count` calibrate; edge: as `read_batches`. Raises DataError for
    images that are missing, too few or broken, QuantizationError for a file that is no such network.
    """
    Path(destination).parent.mkdir(parents=True, exist_ok=True)
    quantizer_for(onnx_path, images, count, edge).write(Path(destination))


def export_int8(
    model: GEMNet,
    path: str | Path,
    calibration: str | Path | None,
    count: int = CALIBRATION_IMAGES,
    data: str | Path | None = None,
    edge: int | None = None,
    max_loss: float = MAX_LOSS,
    weight_bits: int = WEIGHT_BITS,
    **how: Any,
) -> Report:
    """Write a classifier in int8; with labelled images, keep as few layers float as bring the loss below a limit.

    Args:
        model: A GEMNet of timm's kind.
        path: The file, NAME.onnx, or NAME.xml for OpenVINO.
        calibration: A folder of images like those of training, flat or a folder a class.
        count: How many of them.
        data: Images a folder a class, to compare int8 with float; without them all layers become int8.
        edge: As `read_batches`.
        max_loss: Points of top-1 that may be lost on `data`.
        weight_bits: 7, or 8 for CPUs that have VNNI; NNCF chooses them for OpenVINO by itself.
        how: input_size, features, fold, tolerance and origin, as `export.export`, for the float form, which is left nowhere.
            What goes beside that goes beside the int8 file.

    Raises:
        ExportError: There are no calibration images, or the path has another ending.
        DataError, QuantizationError: As `quantize` and `top1`.
    """
    path = Path(path)
    if calibration is None:
        told = "int8 needs images to find the ranges of the activations"
        raise ExportError(f"{told}: give a folder of some hundred, as those of training, with --calibration FOLDER")
    if path.suffix not in (".onnx", ENDING):
        raise ExportError(f"{path}: a file of format int8 ends with .onnx, or with {ENDING} for OpenVINO")
    if path.suffix == ENDING:
        need("openvino", "openvino", "nncf")
    files = calibration_files(calibration, count)  # what is missing is told before the work
    if data is not None:
        if how.get("features"):
            raise ExportError("--data measures a classifier; leave it out with --features")
        classes = labelled_files(data)[2]
        if len(classes) != model.num_classes:
            raise ExportError(f"{data}: {len(classes)} classes, but the model has {model.num_classes}; expected as many")
        check_names(data, classes, getattr(model, "class_names", None))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        difference = export(model, plain, "onnx", **how)
        quantizer: Quantizer
        name, height, width = network_input(open_session(plain), plain)
        if path.suffix == ENDING:
            batches = read_batches(files, height, width, edge, 1, "calibration")
            onnx, plain = plain, Path(folder) / f"float{ENDING}"
            quantizer = OpenVinoQuantizer(onnx, ({name: image} for image in batches), plain)
        else:
            quantizer = quantizer_for(plain, calibration, count, edge, weight_bits)
        reference = open_network(plain)
        chosen: Choice[Top1] | None = None
        if data is None:
            quantizer.write(path)
        else:
            some = read_batches(files[:: max(1, count // SENSITIVITY_IMAGES)], height, width, edge, CALIBRATION_BATCH)
            measure = Top1Measure(data, reference, edge)
            chosen = write_within(quantizer, path, ({name: batch} for batch in some), measure, max_loss)
        entry = runtime("openvino" if path.suffix == ENDING else "onnx")
        size = (model.in_chans, height, width)
        write_beside(entry, path, about_network(model, entry, path, size, bool(how.get("features")), False, how.get("origin")))
        session, image = open_network(path), {name: np.zeros((1, 3, height, width), np.float32)}
        timings = measure_together({one: partial(one.run, None, image) for one in (reference, session)}, 30, 5)
        return Report(
            path, (bytes_of(plain), bytes_of(path)), (timings[reference], timings[session]), difference,
            () if chosen is None else (chosen.measured,),
            () if chosen is None else chosen.layers, () if chosen is None else chosen.trials,
            {"weight_bits": weight_bits, "calibration_images": count, "max_loss": max_loss},
        )  # fmt: skip
