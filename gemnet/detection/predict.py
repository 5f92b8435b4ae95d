"""Predict on images: pictures with boxes, and JSON; objects with a detector, the likeliest classes with a classifier."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gemnet.core.errors import DataError, UserError
from gemnet.core.progress import tracked
from gemnet.detection.prediction_files import Results, draw, find_images, save_picture
from gemnet.detection.predictor import Predictor
from gemnet.detection.videos import is_video
from gemnet.detection.watching import Watching, video_targets, watch
from gemnet.images.pixels import image_size
from gemnet.openmmlab import engine

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES)
"""Errors of writing that the next image would meet too."""


def predict(
    config: str,
    checkpoint: str,
    inputs: Sequence[str],
    out_dir: str,
    score_threshold: float = 0.3,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    pictures: bool | None = None,
    watching: Watching | None = None,
) -> int:
    """Predict on images, folders of images, videos and cameras; returns how many could not be predicted on.

    Into `out_dir`, as each image is done: `predictions.jsonl`, a line {"image", "width", "height", ...} an image, and its
    picture; `predictions.json`, the list of all lines, at the end, also when the run is interrupted, terminated or the disk is
    full. A detector gives "objects", [{"box": [x, y, width, height] in pixels, "score", "class"}], with scores of at least
    `score_threshold`; a classifier "classes", the five likeliest, [{"class", "score"}]. None as pictures: a detector's.
    Of a video (`gemnet.detection.watching`) each frame that is looked at has a line, with "frame" and "seconds" beside.

    The size of images is that of the checkpoint's training, unless `options` set another (`recipe.adopt_image_size`).

    An image that cannot be read, or that the model fails on, is told on standard error and costs itself alone. Raises DataError
    where there is no image at all or nothing can be written, UserError for a threshold or device that cannot be.
    """
    if not 0 <= score_threshold <= 1:
        raise UserError(f"--score {score_threshold}: expected a number from 0 to 1")
    folder = Path(out_dir)
    videos = [source for source in dict.fromkeys(inputs) if is_video(source) and not Path(source).is_dir()]
    stills = [source for source in inputs if source not in videos]
    images, told = find_images(stills, folder) if stills else ([], [])
    for line in told:
        _tell(line)
    targets = video_targets(videos, folder)
    settings = engine.load_config(config, options)
    predictor = Predictor(settings, checkpoint, device, options)
    if videos and not predictor.detects:
        raise UserError(f"{videos[0]}: videos are for detectors, and {config} is a classifier")
    if predictor.classes is None:
        _tell(f"{checkpoint}: has no names of classes, and {config} names none: they are numbered")
    failed = 0
    try:
        with _stopped_by_signals(), Results(folder) as results:
            for path, name in tracked(images, "images", least=3):
                failed += not _predict_one(predictor, path, name, results, score_threshold, pictures)
            for source, target in targets:
                failed += not _watch_one(
                    predictor, source, None if pictures is False else target, results, score_threshold, watching
                )
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {error.strerror}; what was done before is in {folder}") from error
    except KeyboardInterrupt:
        of = " frames or images" if videos else f" of {len(images)} images"
        _tell(f"{len(results.records)}{of} are done, in {folder}/predictions.json")
        raise
    done = f"{len(results.records)} {'frames or images' if videos else 'images'} in {folder}/predictions.json"
    print(done + (f"; {failed} {'videos or ' if videos else ''}images could not be predicted on" * (failed > 0)))
    return failed


def _predict_one(
    predictor: Predictor, path: Path, name: str, results: Results, threshold: float, pictures: bool | None
) -> bool:
    """Predict on one image and write it; False where that failed for a reason of its own, which is told."""
    try:
        found = predictor(path)
        if pictures or (pictures is None and found.boxes is not None):
            save_picture(draw(path, predictor.marks(found, threshold)), results.folder, name)
    except UserError as error:
        _tell(str(error))
        return False
    except OSError as error:
        if error.errno in FULL and error.filename != str(path):
            raise
        _tell(f"{path}: {error.strerror or error}")
        return False
    except Exception as error:  # whatever the pipeline, the model or PIL make of an odd image
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _tell(f"{path}: the model or its pipeline fails on this image{_shape(path)}: {first}")
        return False
    record = {"image": str(path), "width": found.size[1], "height": found.size[0]}
    if found.boxes is None:
        rows = zip(found.scores, found.labels)
        results.add(
            {**record, "classes": [{"score": round(score, 4), "class": predictor.name(label)} for score, label in rows]}
        )
    else:
        results.add({**record, "objects": predictor.objects(found, threshold)})
    return True


def _watch_one(
    predictor: Predictor, source: str, target: Path | None, results: Results, threshold: float, watching: Watching | None
) -> bool:
    """Predict on a video and write it; False where it cannot be read, which is told."""
    try:
        watch(predictor, source, target, results, threshold, watching or Watching())
    except UserError as error:
        _tell(str(error))
        return False
    return True


def _shape(path: Path) -> str:
    """Very thin images are the usual cause: a side of theirs becomes 0 when they are made smaller."""
    try:
        return " of {}x{} pixels (height x width)".format(*image_size(path))
    except DataError:
        return ""


def _tell(line: str) -> None:
    print(f"predict: {line}", file=sys.stderr, flush=True)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the body as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
