"""What can be told of an image file without decoding it: its size, whether it is turned, whether its end is there."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gemnet.annotations.image_paths import is_turned
from gemnet.core.files import open_regular
from gemnet.detection.data.parallel import mapped
from gemnet.images.pixels import ImageError, image_size, read_image

TAIL = 4096
_MARKS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG", "WEBP": b"RIFF"}


@dataclass(frozen=True)
class ImageFacts:
    """An image file.

    Attributes:
        size: (height, width) in pixels as it is shown; None where it cannot be read.
        problem: Why it cannot be read; "" where it can.
        turned: Whether its EXIF orientation swaps height and width.
        bytes: The length of the file.
        end: A checksum of its last bytes; with the length, what copies have in common.
        kind: JPEG, PNG, WEBP, or "" for other formats.
    """

    size: tuple[int, int] | None
    problem: str = ""
    turned: bool = False
    bytes: int = 0
    end: int = 0
    kind: str = ""


def scan(root: Path, names: Iterable[str]) -> dict[str, ImageFacts]:
    """The facts of image files below `root`, by name."""
    names = list(names)
    return dict(zip(names, mapped(facts, [os.path.join(root, name) for name in names])))


def facts(path: str) -> ImageFacts:
    """Tell of an image file what its head and its end say; only one that may be cut off is decoded."""
    try:
        size = image_size(path)
        length, end, kind, whole = _end(path)
        if not whole:
            read_image(path)
        return ImageFacts(size, "", is_turned(path), length, end, kind)
    except ImageError as error:
        return ImageFacts(None, error.problem)
    except OSError as error:
        return ImageFacts(None, error.strerror or type(error).__name__)


def _end(path: str) -> tuple[int, int, str, bool]:
    """The length of a file, a checksum of its end, its format, and whether the end is that of a whole JPEG, PNG or WebP.

    False also for files of other formats, of which that cannot be told.
    """
    with open_regular(path) as file:
        start = file.read(12)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - TAIL))
        end = file.read(TAIL)
    kind = next((kind for kind, mark in _MARKS.items() if start.startswith(mark)), "")
    whole = {"JPEG": b"\xff\xd9" in end, "PNG": b"IEND" in end}.get(kind, False)
    if kind == "WEBP":
        whole = length >= int.from_bytes(start[4:8], "little") + 8
    return length, zlib.crc32(end), kind, whole
