"""Predict on a video or a camera: a video with boxes, a record a frame, and a window on request."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from gemnet.core.errors import DataError, UserError
from gemnet.core.progress import tracked
from gemnet.detection.prediction_files import Mark, Results, draw_on
from gemnet.detection.predictor import Predictor
from gemnet.detection.videos import Frame, Video, VideoWriter, is_camera

WINDOW = "gemnet: q ends"


@dataclass(frozen=True)
class Watching:
    """How videos are looked at.

    Attributes:
        every: The detector sees every so many frames; those between keep the boxes of the last one.
        seconds: Of a source that are looked at; None for all.
        show: Whether a window shows the frames as they come; the key q ends.

    Raises:
        UserError: A number that cannot be.
    """

    every: int = 1
    seconds: float | None = None
    show: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"every={self.every}: expected a number of frames, 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise UserError(f"seconds={self.seconds}: expected a number above 0")


def video_targets(sources: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    """Each source with the video that is written of it into `folder`; no two have one name, none is a source."""
    taken = {os.path.realpath(source).casefold() for source in sources}
    targets = []
    for source in sources:
        stem = source.replace(":", "_") if is_camera(source) else Path(source).stem
        number, target = 1, folder / f"{stem}.mp4"
        while os.path.realpath(target).casefold() in taken:
            number += 1
            target = folder / f"{stem}_{number}.mp4"
        taken.add(os.path.realpath(target).casefold())
        targets.append((source, target))
    return targets


def watch(
    predictor: Predictor, source: str, target: Path | None, results: Results, threshold: float, watching: Watching
) -> int:
    """Predict on the frames of a video, or of a camera until Ctrl-C, `watching.seconds` or q.

    Args:
        predictor: A detector.
        source: A video file, camera, or camera:N.
        target: The MP4 file with boxes; None writes none.
        results: Gets a record a frame that the detector sees: image (the source), frame, seconds, width, height, objects.
        threshold: Boxes below this score are left out.
        watching: Which frames, how long, and whether a window shows them.

    Returns:
        How many frames the detector saw.

    Raises:
        DataError: The source cannot be read, has no frames, or the model gives no numbers for one.
        UserError: A window is asked for where there is none.
        OSError: Nothing can be written.
    """
    seen = 0
    marks: list[Mark] = []
    with ExitStack() as opened:
        video = opened.enter_context(Video(source))
        show = opened.enter_context(_window()) if watching.show else None
        writer = opened.enter_context(VideoWriter(target, video.rate)) if target is not None else None
        for frame in _frames(video, watching.seconds):
            if frame.index % watching.every == 0:
                found = predictor.on_pixels(frame.image, f"{source}, frame {frame.index}")
                marks = predictor.marks(found, threshold)
                height, width = found.size
                results.add(
                    {
                        "image": source, "frame": frame.index, "seconds": round(frame.seconds, 3), "width": width,
                        "height": height, "objects": predictor.objects(found, threshold),
                    }
                )  # fmt: skip
                seen += 1
            if writer is not None or show is not None:
                drawn = _drawn(frame.image, marks)
                if writer is not None:
                    writer.add(drawn, until=frame.seconds if video.live else None)
                if show is not None and not show(drawn):
                    break
    if not seen:
        raise DataError(f"{source}: has no frames; expected a video that plays, or a camera that sends pictures")
    return seen


def _frames(video: Video, seconds: float | None) -> Iterator[Frame]:
    """The frames with a progress bar, those of the first seconds alone where a number is given."""
    total = video.frames
    if seconds is not None:
        total = None if total is None else min(total, round(seconds * video.rate))
    if video.live:
        print(f"predict: {video.source}: watching; Ctrl-C ends and keeps what was done", file=sys.stderr, flush=True)
    for frame in tracked(video, video.source, total):
        if seconds is not None and frame.seconds >= seconds:
            return
        yield frame


def _drawn(image: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    picture = draw_on(Image.fromarray(np.ascontiguousarray(image[..., ::-1])), marks)
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


@contextmanager
def _window() -> Iterator[Callable[[np.ndarray], bool]]:
    """What shows a frame, and tells whether to go on."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("--show: there is no display here; leave it out, and look at the video that is written")

    def show(image: np.ndarray) -> bool:
        cv2.imshow(WINDOW, image)
        return cv2.waitKey(1) & 0xFF != ord("q")

    try:
        yield show
    except cv2.error as error:
        raise UserError(f"--show: OpenCV was built without windows ({error.func}); install opencv-python") from error
    finally:
        with suppress(cv2.error):
            cv2.destroyAllWindows()
