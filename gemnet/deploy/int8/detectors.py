"""A whole detector in int8: backbone, neck and head; what is done to pixels and to boxes stays float."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gemnet.bench.benchmark import measure_together
from gemnet.core.errors import DataError
from gemnet.core.files import save_text
from gemnet.deploy.detector_export import SCORE, export_detector, script_for
from gemnet.deploy.detector_onnx import INPUT
from gemnet.deploy.export import ExportError
from gemnet.deploy.int8.average_precision import ApMeasure, AveragePrecision, LabelledPhotos, labelled_photos
from gemnet.deploy.int8.choosing import write_within
from gemnet.deploy.int8.images import FEWEST_IMAGES, read_photos, spread
from gemnet.deploy.int8.layers import QuantizationError
from gemnet.deploy.int8.mixed_precision import MAX_LOSS
from gemnet.deploy.int8.onnx_files import WEIGHT_BITS, OnnxQuantizer, open_session
from gemnet.deploy.int8.report import Report
from gemnet.images.folders import image_files
from gemnet.openmmlab import engine

CALIBRATION_PHOTOS = 64
SENSITIVITY_PHOTOS = 4
"""Calibration photos on which the layers are compared one by one."""


@dataclass(frozen=True)
class Photos:
    """What an int8 detector is made with.

    calibration: Photos like those of training. choosing: Photos with boxes by which the layers that stay float are chosen; None
    leaves none float. telling: Photos with boxes that had no part in it, on which the loss is told as well.
    """

    calibration: Sequence[Path]
    choosing: LabelledPhotos | None
    telling: LabelledPhotos | None


def photos_for(
    config: str, options: Mapping[str, Any] | None = None, folder: str | Path | None = None, count: int | None = None
) -> Photos:
    """Find the photos of a detector's config: training photos calibrate, validation photos choose, test photos tell.

    Args:
        config: The config file.
        options: Options of the config (dotted keys).
        folder: Photos to calibrate with in place of the training photos.
        count: How many; by default `CALIBRATION_PHOTOS`, or all where there are fewer.

    Raises:
        DataError: There are too few photos to calibrate with.
        QuantizationError: `count` is too small.
    """
    settings = engine.load_config(config, options)
    sets = [
        labelled_photos((settings.get(f"{split}_dataloader") or {}).get("dataset") or {}) for split in ("train", "val", "test")
    ]
    if count is not None and count < FEWEST_IMAGES:
        raise QuantizationError(f"{count} calibration images are too few; expected at least {FEWEST_IMAGES}")
    if folder is None and sets[0] is None:
        raise ExportError(
            f"{config}: its training photos are not there; give others to calibrate with, by --calibration FOLDER"
        )
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder (from {Path.cwd()}); expected photos to calibrate with")
    where = str(folder) if folder is not None else sets[0].name  # type: ignore[union-attr]
    files = image_files(Path(folder)) if folder is not None else sets[0].files  # type: ignore[union-attr]
    if len(files) < (count or FEWEST_IMAGES):
        raise DataError(f"{where}: {len(files)} photos, too few to calibrate with {count or FEWEST_IMAGES}; add photos")
    choosing, telling = sets[1], sets[2]
    if choosing is None:
        choosing, telling = telling, None
    if choosing is not None and telling is not None and choosing.name == telling.name:
        telling = None
    return Photos(spread(files, count or CALIBRATION_PHOTOS), choosing, telling)


def quantize_detector(
    source: Path, path: Path, photos: Photos, max_loss: float = MAX_LOSS, weight_bits: int = WEIGHT_BITS
) -> Report:
    """Write an exported detector in int8; with labelled photos, keep as few layers float as bring the loss of AP below a limit.

    Args:
        source: The float file, as `export_detector` writes it.
        path: The int8 file. It takes and gives the same.
        photos: What calibrates and measures.
        max_loss: Points of AP that may be lost on the photos that choose.
        weight_bits: 7, or 8 for CPUs that have VNNI.

    Raises:
        DataError: A photo cannot be read, or the boxes are of other classes than the detector's.
        QuantizationError: The file is no network that can be run.
    """
    measure = None if photos.choosing is None else ApMeasure(photos.choosing, source)
    feeds = ({INPUT: photo} for photo in read_photos(photos.calibration, "calibration"))
    quantizer = OnnxQuantizer(source, feeds, weight_bits)
    chosen = None
    measured: list[AveragePrecision] = []
    if measure is None:
        quantizer.write(path)
    else:
        some = [{INPUT: photo} for photo in read_photos(spread(photos.calibration, SENSITIVITY_PHOTOS))]
        chosen = write_within(quantizer, path, some, measure, max_loss)
        measured.append(chosen.measured)
        if photos.telling is not None:
            measured.append(ApMeasure(photos.telling, source)(path))
    photo = {INPUT: next(read_photos(photos.calibration[:1]))}
    sessions = [open_session(one) for one in (source, path)]
    timings = measure_together({one: partial(one.run, None, photo) for one in sessions}, 15, 3)
    return Report(
        path, (source.stat().st_size, path.stat().st_size), (timings[sessions[0]], timings[sessions[1]]), None, tuple(measured),
        () if chosen is None else chosen.layers, () if chosen is None else chosen.trials,
        {"weight_bits": weight_bits, "calibration_images": len(photos.calibration), "max_loss": max_loss},
    )  # fmt: skip


def export_int8_detector(
    config: str,
    checkpoint: str | None,
    path: str | Path,
    photos: Photos,
    images: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    score: float | None = None,
    **how: Any,
) -> Report:
    """Export a detector, prove its float form, and write it in int8 with the script that runs it.

    Args:
        config, checkpoint, images, options, score: As `export_detector` takes them; the float file is left nowhere.
        path: The int8 file, NAME.onnx.
        photos: As `quantize_detector`.
        how: max_loss and weight_bits, as `quantize_detector`.

    Raises:
        UserError: As `export_detector` and `quantize_detector`.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ExportError(f"{path}: a detector's file ends with .onnx")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        least = SCORE if score is None else score
        print(export_detector(config, checkpoint, plain, images, options, least).agreement)
        report = quantize_detector(plain, path, photos, **how)
    save_text(path.with_name(f"run_{path.stem}.py"), script_for(path.name))
    return report
