"""Frames of video files and cameras, and videos that are written: by OpenCV, whole or not at all."""

from __future__ import annotations

import errno
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gemnet.core.errors import DataError
from gemnet.core.files import check_regular

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
"""Of the files that are taken for videos."""
CAMERA = re.compile(r"camera(?::(\d{1,3}))?")
"""A source that is a camera: camera, or camera:1 for the second one."""
USUAL_RATE = 25.0
"""Frames a second where a source does not tell."""
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what cannot be read is told by the errors here, once
cv2.setLogLevel(0)


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        index: Its number, from 0.
        seconds: Its time from the start.
        image: [H, W, 3], uint8, BGR.
    """

    index: int
    seconds: float
    image: np.ndarray


def is_video(source: str) -> bool:
    """Whether a source is a camera, or a file whose name ends as a video's does."""
    return is_camera(source) or source.lower().endswith(SUFFIXES)


def is_camera(source: str) -> bool:
    """Whether a source is `camera` or `camera:N`, and no file of that name."""
    return CAMERA.fullmatch(source) is not None and not os.path.exists(source)


class Video:
    """A video file or a camera that is open for reading; iterate over it for its frames.

    Attributes:
        source: The path, camera, or camera:N.
        live: Whether it is a camera.
        rate: Frames a second, as the source tells, or `USUAL_RATE`.
        frames: How many a file says that it has; None for a camera and where it does not tell.

    Raises:
        DataError: It is no video that can be read, or there is no such camera.
    """

    def __init__(self, source: str) -> None:
        self.source, self.live = source, is_camera(source)
        if self.live:
            match = CAMERA.fullmatch(source)
            number = int(match[1] or 0) if match else 0
            self._capture = cv2.VideoCapture(number)
            if not self._capture.isOpened():
                raise DataError(f"{source}: camera {number} cannot be opened; plug it in, close other programs that use it")
        else:
            try:
                check_regular(source)
            except OSError as error:
                raise DataError(f"{source}: {error.strerror}") from error
            self._capture = cv2.VideoCapture(source)
            if not self._capture.isOpened():
                raise DataError(f"{source}: cannot be read as a video; convert it, for example with: ffmpeg -i FILE out.mp4")
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else USUAL_RATE
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames = int(count) if not self.live and math.isfinite(count) and 0 < count < 1 << 31 else None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """The frames from here on. A file ends where it is over or broken off; a camera when it is unplugged."""
        start, index = time.monotonic(), 0
        while True:
            there, image = self._capture.read()
            if not there or image is None:
                return
            yield Frame(index, time.monotonic() - start if self.live else index / self.rate, image)
            index += 1


class VideoWriter:
    """Writes frames into an MP4 file, which gets its name when the body ends, in whatever way; without frames there is none.

    Args:
        path: Of the file.
        rate: Frames a second.

    Raises:
        OSError: The file cannot be written, or not whole.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f"{self.path.stem}.{os.getpid()}.part{self.path.suffix}")
        self._temporary.open("wb").close()  # OpenCV tells no error of the system's
        self._written = 0
        return self

    def add(self, image: np.ndarray, until: float | None = None) -> None:
        """Append a frame, and again until the video has so many seconds: a camera's come at no even pace.

        image: [H, W, 3], uint8, BGR; one of another size than the first is fitted to it.
        """
        if self._writer is None or self._size is None:
            self._size = image.shape[1], image.shape[0]
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, self._size)
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size)
        for _ in range(1 if until is None else max(1, round(until * self.rate) - self._written)):
            self._writer.write(image)
            self._written += 1

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()
        if not self._written:
            self._temporary.unlink(missing_ok=True)
        elif self._whole():
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)
            if kind is None:
                raise OSError(errno.ENOSPC, "the video could not be written whole; is the disk full?", str(self.path))

    def _whole(self) -> bool:
        """Whether the file has all frames: OpenCV does not tell when a disk is full."""
        capture = cv2.VideoCapture(str(self._temporary))
        try:
            return capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == self._written
        finally:
            capture.release()
