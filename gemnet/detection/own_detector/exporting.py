"""Export the detector that a work directory holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gemnet.core.errors import DataError
from gemnet.core.extras import EXTRAS
from gemnet.deploy.detector_export import SCORE, ExportedDetector, export_detector
from gemnet.deploy.runtimes.table import runtime
from gemnet.detection.own_detector.training import BEST, CONFIG, RESULT, logged

FILE = "detector.onnx"
"""In the work directory."""
SECONDS = 20.0
"""What an export takes on a core that is not busy otherwise."""


def export_own_detector(
    work_dir: str | Path,
    out: str | Path | None = None,
    images: Sequence[str] = (),
    checkpoint: str | None = None,
    options: Mapping[str, Any] | None = None,
    to: str = "onnx",
) -> ExportedDetector:
    """Write the detector of a finished `gemnet detect` for a runtime, proven on its own test photos.

    Args:
        work_dir: Of the training.
        out: The file; None for detector.ENDING in the work directory.
        images: Photos for the proof, in place of the test photos.
        checkpoint: Weights in place of best.pth.
        options: Options of the config (dotted keys).
        to: The runtime, one of `RUNTIMES`.

    Raises:
        DataError: The work directory is missing or has no trained detector.
        UserError: As `gemnet.deploy.detector_export.export_detector`.
    """
    config, weights, settings, score = own_detector(work_dir, checkpoint, options)
    file = Path(work_dir) / Path(FILE).with_suffix(runtime(to).ending)
    return export_detector(config, weights, out or file, images, settings, score, to=to)


def own_detector(
    work_dir: str | Path, checkpoint: str | None = None, options: Mapping[str, Any] | None = None
) -> tuple[str, str, dict[str, Any], float]:
    """Find config, weights, options and the threshold of scores of a work directory's detector.

    Raises DataError where the work directory is missing or has no trained detector.
    """
    place = Path(work_dir)
    if not place.is_dir():
        raise DataError(f"{place}: no such directory; expected the work directory of a finished gemnet detect")
    needed = (CONFIG,) if checkpoint else (CONFIG, BEST)
    missing = [name for name in needed if not (place / name).is_file()]
    if missing:
        raise DataError(f"{place}: has no {missing[0]}; expected the work directory of a finished gemnet detect")
    settings = _of_test_photos(place) | dict(options or {})
    return str(place / CONFIG), checkpoint or str(place / BEST), settings, _score(place)


def seconds_for_export() -> float:
    """The seconds to keep for an export: none where it cannot be made, for want of its libraries."""
    return SECONDS if all(map(find_spec, EXTRAS["export"])) else 0.0


def export_if_possible(work_dir: Path, score: float) -> dict[str, Any]:
    """Export at the end of a training, which is not lost where that fails.

    Returns:
        Of what was written: file, script, bytes, seconds, and photos, boxes, overlap, score_difference, ties of the proof. Or
        `failed`, the reason.
    """
    try:
        with logged(work_dir):
            model = str(work_dir / CONFIG), str(work_dir / BEST)
            found = export_detector(*model, work_dir / FILE, options=_of_test_photos(work_dir), score=score)
    except Exception as error:  # whatever the exporter makes of it, or the disk
        return {"failed": (str(error).strip().splitlines() or [type(error).__name__])[0]}
    agreement = found.agreement
    return {
        "file": found.path.name, "script": found.runner.name, "bytes": found.size, "seconds": round(found.seconds, 1),
        "photos": agreement.photos, "boxes": agreement.boxes, "overlap": agreement.overlap,
        "score_difference": agreement.score, "ties": agreement.ties,
    }  # fmt: skip


def export_told(work_dir: Path, found: Mapping[str, Any]) -> str:
    """A sentence of what `export_if_possible` returned: how to run the file, or how to mend what failed."""
    if "failed" in found:
        return f"not exported ({found['failed']}); the detector is safe in {BEST}. Mend that, then: gemnet export {work_dir}"
    boxes = f"{found['boxes']:,} boxes on {found['photos']} photos as the detector's own"
    return f"{work_dir / found['file']}: {boxes}; run it anywhere: python {work_dir / found['script']} photo.jpg"


def _of_test_photos(place: Path) -> dict[str, Any]:
    """Options by which the config's test set is the one of the work directory."""
    annotations = (place / "data" / "test.json").absolute()
    return {"test_dataloader.dataset.ann_file": str(annotations)} if annotations.is_file() else {}


def _score(place: Path) -> float:
    """The threshold that was best on the validation photos, where the work directory tells it."""
    try:
        return min(1.0, max(0.0, float(json.loads((place / RESULT).read_text(encoding="utf-8"))["score"])))
    except (OSError, ValueError, KeyError, TypeError):
        return SCORE
