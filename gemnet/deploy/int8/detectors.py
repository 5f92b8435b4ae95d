"""A whole detector in int8: backbone, neck and head; what is done to pixels and to boxes stays float.

It is what `gemnet.deploy.detector_export` makes for the runtime: for ONNX Runtime one file that does everything, for the others
the network with steps beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from gemnet.core.errors import DataError
from gemnet.core.files import save_text
from gemnet.deploy.detector_beside import NetworkDetector, write_steps
from gemnet.deploy.detector_export import SCORE, ExportedDetector, export_detector, script_for
from gemnet.deploy.detector_onnx import INPUT, OnnxDetector
from gemnet.deploy.detector_steps import prepared
from gemnet.deploy.export import ExportError, quiet
from gemnet.deploy.int8.average_precision import ApMeasure, AveragePrecision, LabelledPhotos, labelled_photos
from gemnet.deploy.int8.choosing import write_within
from gemnet.deploy.int8.images import FEWEST_IMAGES, read_photos, spread
from gemnet.deploy.int8.layers import QuantizationError
from gemnet.deploy.int8.mixed_precision import MAX_LOSS
from gemnet.deploy.int8.quantizer import Feed
from gemnet.deploy.int8.report import Report, beside_float
from gemnet.deploy.int8.targets import target
from gemnet.images.folders import image_files
from gemnet.openmmlab import engine

if TYPE_CHECKING:
    from gemnet.deploy.int8.average_precision import Detector

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
    source: ExportedDetector, path: Path, photos: Photos, max_loss: float = MAX_LOSS, weight_bits: int | None = None
) -> Report:
    """Write an exported detector in int8; with labelled photos, keep as few layers float as bring the loss of AP below a limit.

    Args:
        source: The float form for the same runtime, in a folder where further files may be put.
        path: The int8 file. It takes and gives the same.
        photos: What calibrates and measures.
        max_loss: Points of AP that may be lost on the photos that choose.
        weight_bits: For ONNX: 7, by default, or 8 for CPUs that have VNNI.

    Raises:
        DataError: A photo cannot be read, or the boxes are of other classes than the detector's.
        ExportError: The network cannot be quantised, or the path has another ending.
    """
    kind, plain, about = target(path, weight_bits), source.path, dict(source.about)
    entry = kind.runtime

    def opened(file: Path) -> Detector:
        return OnnxDetector(file) if source.network is None else NetworkDetector(entry, file, about)

    def measured_on(labelled: LabelledPhotos) -> ApMeasure:
        return ApMeasure(labelled, plain, about["classes"], opened)

    def feeds(batch_size: int, some: Sequence[Path] = photos.calibration, title: str = "calibration") -> Iterator[Feed]:
        read = read_photos(some, title)
        if source.network is None:  # photos of any sizes, which are not put together
            return ({INPUT: photo} for photo in read)
        return ({about["input"]["name"]: batch} for batch in _batches((prepared(one, about)[0] for (one,) in read), batch_size))

    measure = None if photos.choosing is None else measured_on(photos.choosing)
    with quiet():
        quantizer = kind.quantizer(source.network or nn.Identity(), plain, feeds, weight_bits)
    chosen = None
    measured: list[AveragePrecision] = []
    if measure is None:
        quantizer.write(path)
    else:
        some = feeds(1, spread(photos.calibration, SENSITIVITY_PHOTOS), "photos")
        chosen = write_within(quantizer, path, some, measure, max_loss)
        measured.append(chosen.measured)
        if photos.telling is not None:
            measured.append(measured_on(photos.telling)(path))
    (image,) = next(feeds(1, photos.calibration[:1])).values()
    return Report(
        path, *beside_float(entry, plain, path, image), None, tuple(measured),
        () if chosen is None else chosen.layers, () if chosen is None else chosen.trials,
        {"weight_bits": quantizer.weight_bits, "calibration_images": len(photos.calibration), "max_loss": max_loss},
    )  # fmt: skip


def _batches(images: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Put images [1, 3, H, W] together, so many at a time."""
    while some := list(islice(images, size)):
        yield np.concatenate(some)


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
        path: The int8 file; its ending says the runtime, one of `gemnet.deploy.int8.targets.TARGETS`.
        photos: As `quantize_detector`.
        how: max_loss and weight_bits, as `quantize_detector`.

    Raises:
        UserError: As `export_detector` and `quantize_detector`.
    """
    path = Path(path)
    kind = target(path, how.get("weight_bits"))
    kind.check()
    entry = kind.runtime
    with tempfile.TemporaryDirectory() as folder:
        plain, least = Path(folder) / f"float{entry.ending}", SCORE if score is None else score
        exported = export_detector(config, checkpoint, plain, images, options, least, to=entry.name)
        print(exported.agreement)
        report = quantize_detector(exported, path, photos, **how)
    if exported.network is None:
        save_text(path.with_name(f"run_{path.stem}.py"), script_for(path.name))
    else:
        write_steps({**exported.about, "files": [file.name for file in entry.files(path)]}, entry, path)
    return report
