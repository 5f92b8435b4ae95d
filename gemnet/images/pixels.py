"""The one reader of images, for search, training, prediction and calibration: a file -> uint8 [H, W, 3] RGB.

The file alone decides what its pixels become:

- It is turned upright by its EXIF or XMP orientation, in every format. Orientations that are broken or unknown count as none.
- Grey is given to all three channels. Black and white are 0 and 255.
- What is transparent (an alpha channel, premultiplied or not; transparent entries of a palette; a transparent colour) is laid
  on white, as on paper.
- Palettes, YCbCr, CMYK (JPEG: inverted, as Adobe's) and CIE L*a*b* (D50, to sRGB) become RGB. Embedded ICC profiles are not
  applied.
- What has more than 8 bits is scaled from the range 0 to 2^b - 1. b is the number of bits that a TIFF file declares, where it
  is 9 to 15, otherwise the least of 8, 10, 12, 14 and 16 that holds the image's largest value: 12 bits in 16 are not black.
  Whole numbers keep their 8 highest bits. The three channels of colour are scaled as one.
- Grey of floating point is scaled from 0 to 1, or from the least of the ranges above that holds it; a tenth more, as resampling
  leaves it, is clipped. NaN is black; infinite values are as the largest and the least finite ones; without a finite value the
  image is refused.
- Grey beyond 65,535 or below 0 has no such range: the least value becomes 0, the largest 255.
- Of an animation or of several pages the first is taken; the first such file is told on standard error.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from gemnet.core.errors import DataError
from gemnet.core.files import open_regular
from gemnet.images.formats import FORMATS, RAW_SUFFIXES, SIGNATURE_BYTES, UNREAD, unread_kind

MAX_PIXELS = 178_956_970
"""An image of more pixels is not decoded, for a file of a few kilobytes can claim gigabytes. It is Pillow's own limit."""

_TRANSFORMS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: np.rot90(array),
}
"""EXIF's orientation -> what makes an array [H, W, ...] upright."""
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _DNG = 274, 256, 257, 258, 262, 339, 50706
"""Tags of TIFF and EXIF."""
_TOPS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
_OVERSHOOT = 0.1
_SAID = mmap.mmap(-1, 1)  # shared with processes that are forked from this one: a loader's workers say nothing twice
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class ImageError(DataError):
    """An image that cannot be read. `problem` is the message without the file's name and the remedy."""

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem or message


def read_image(
    source: str | os.PathLike[str] | bytes, at_least: tuple[int, int] | None = None, name: str | None = None
) -> np.ndarray:
    """The pixels of an image file, uint8 [H, W, 3] in RGB, upright; the array is the caller's own.

    source: a path, or a file's content as bytes. at_least: (height, width); a JPEG of twice the size and more is decoded at a
    half, quarter or eighth of it, not below these, which is much faster. name: of the file in errors, instead of its path.

    Raises ImageError, a DataError, which names the file, what is wrong and the remedy.
    """
    with _opened(source, name) as (image, path, file):
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft("RGB", at_least if _orientation(image) in _SIDEWAYS else at_least[::-1])
        scale, swapped = _grey_scale(image), _swapped_bytes(image)  # known before loading alone
        image.load()
        if swapped and np.asarray(image)[..., :3].max() < 1 << 6:
            array = _deep_colours(image, file, swapped)
        else:
            array = _rgb(image, scale)
        _say_once_if_animated(image, path)
        array = _TRANSFORMS.get(_orientation(image), np.asarray)(
            array
        )  # after loading, for Pillow turns TIFF itself, and untags it
    return np.require(array, requirements=("C", "W", "O"))


def image_size(source: str | os.PathLike[str] | bytes, name: str | None = None) -> tuple[int, int]:
    """(height, width) in pixels of what `read_image` gives, without decoding it. Raises ImageError."""
    with _opened(source, name) as (image, _, file):
        width, height = _stored_size(image)
        behind = image.format != "PNG" or _has_text_behind_pixels(file)
        # PNG's own getexif would decode the image to look for more behind its pixels.
        orientation = _orientation(image, image.getexif if behind else partial(Image.Image.getexif, image))
        return (width, height) if orientation in _SIDEWAYS else (height, width)


def _has_text_behind_pixels(file: BinaryIO) -> bool:
    """Whether a PNG has a chunk behind its pixels that may hold its orientation."""
    place, pixels = file.tell(), False
    file.seek(8)
    try:
        while len(head := file.read(8)) == 8:
            if pixels and head[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            pixels = pixels or head[4:] == b"IDAT"
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(place)


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str | None) -> Iterator[tuple[Image.Image, str, BinaryIO]]:
    """The opened image, its name and its file; whatever is raised in the body becomes an ImageError."""
    path = name or ("image" if isinstance(source, bytes) else os.fsdecode(source))
    start = b""

    def error(problem: str, remedy: str = "mend or remove it") -> ImageError:
        return ImageError(f"{path}: {problem}; {remedy}", problem)

    if _QUIET not in warnings.filters:  # what matters in a broken file is told by the error
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
            start = file.read(SIGNATURE_BYTES)
            file.seek(0)
            if not start:
                raise error("not an image that can be decoded: it is empty")
            with Image.open(file, formats=tuple(FORMATS)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise error(f"{image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are read", "make it smaller")
                if image.format == "TIFF" and image.tile and max(tile[1][3] for tile in image.tile) < _stored_size(image)[1]:
                    raise error("cut off (some of its rows are not there)")  # Pillow makes them black
                if _is_raw(image, path, start):
                    raise error("a raw photo of a camera, which is not read", "develop it to JPEG, PNG or TIFF")
                yield image, path, file
    except ImageError:
        raise
    except Image.DecompressionBombError as cause:
        raise error(f"more than {MAX_PIXELS:,} pixels, which is the most that are read", "make it smaller") from cause
    except UnidentifiedImageError as cause:
        kind = unread_kind(start) or UNREAD.get(Path(path).suffix.lower())
        if kind is None:
            if start[:2] in (b"II", b"MM"):
                problem = "not an image that can be decoded: broken, or a kind of TIFF that is not read"
                raise error(problem, "save it as JPEG, PNG, or TIFF of 8 or 16 bits") from cause
            raise error("not an image that can be decoded") from cause
        raise error(f"not an image that can be decoded: it is {kind[0]}", kind[1]) from cause
    except MemoryError as cause:
        raise error("there is not memory enough to decode it", "make it smaller") from cause
    except Exception as cause:  # the file system's, and whatever a decoder raises on rubbish
        if not start:
            raise error(getattr(cause, "strerror", None) or _first_line(cause)) from cause
        cut = "cut off" if "truncated" in str(cause).lower() else "not an image that can be decoded"
        raise error(f"{cut} ({_first_line(cause)})") from cause


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) before the image is turned upright; of TIFF, Pillow gives either, by its version."""
    width, height = image.size
    if isinstance(image, TiffImageFile):
        width, height = (int(image.tag_v2.get(tag, size)) for tag, size in ((_WIDTH, width), (_HEIGHT, height)))
    return width, height


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _is_raw(image: Image.Image, path: str, start: bytes) -> bool:
    """Whether it is a camera's file in the frame of TIFF: of these, Pillow would read a thumbnail."""
    if not isinstance(image, TiffImageFile):
        return False
    return Path(path).suffix.lower() in RAW_SUFFIXES or start[8:10] == b"CR" or _DNG in image.tag_v2


def _orientation(image: Image.Image, exif: Callable[[], Image.Exif] | None = None) -> int:
    """exif: how the image's EXIF is read, if not by its `getexif`."""
    try:
        orientation = (exif or image.getexif)().get(_ORIENTATION, 1)
        return orientation if orientation in _TRANSFORMS else 1
    except Exception:  # broken EXIF can raise almost anything
        return 1


def _say_once_if_animated(image: Image.Image, path: str) -> None:
    """MPO is left out, for what follows a photo there is made from it."""
    if _SAID[0] or image.format == "MPO":
        return
    try:
        animated = getattr(image, "is_animated", False)
    except Exception:  # a broken second frame
        animated = True
    if animated and not _SAID[0]:
        _SAID[0] = 1
        told = "an animation, or of several pages: of this and all such files, the first frame is taken"
        print(f"{path}: {told}", file=sys.stderr, flush=True)


def _grey_scale(image: Image.Image) -> int:
    """By what PNG multiplies grey of 2 or 4 bits when it is loaded; Pillow leaves the transparent level as it was."""
    layout = image.tile[0].args if isinstance(image, PngImageFile) and image.tile else None
    return {"L;2": 85, "L;4": 17}.get(layout, 1) if isinstance(layout, str) else 1


def _rgb(image: Image.Image, grey_scale: int) -> np.ndarray:
    """uint8 [H, W, 3], as the file is stored."""
    signed = image.mode == "L" and getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT) == (2,)
    if signed or image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(_grey(image)[..., None], 3, axis=2)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB") or image  # None only where it works in place
    transparent = image.info.get("transparency")
    if image.mode == "L" and type(transparent) is int:
        image.info["transparency"] = transparent * grey_scale
    elif image.mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:  # of 16 bits, as the pixels were
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        return _on_white(image)
    return np.array(image.convert("RGB"))


def _swapped_bytes(image: Image.Image) -> list[Any] | None:
    """The tiles of colour of 16 bits with the bytes of each number swapped, None for other images.

    Pillow keeps the high bytes of such colours alone; so it can be made to give the low ones.
    """
    tiles = []
    for tile in getattr(image, "tile", None) or []:
        layout, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        match = re.fullmatch(r"(RGB|RGBA|RGBX);16([BLN])", str(layout))
        if match is None:
            return None
        order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[match[2]]
        layout = f"{match[1]};16{order}"
        tiles.append((*tile[:3], (layout, *rest) if isinstance(tile[3], tuple) else layout))
    return tiles or None


def _deep_colours(image: Image.Image, file: BinaryIO, swapped: list[Any]) -> np.ndarray:
    """uint8 [H, W, 3] of colour in numbers of 16 bits that uses 14 of them or fewer; as the file is stored."""
    file.seek(0)
    with Image.open(file, formats=(str(image.format),)) as low:
        low.tile = [type(tile)(*other) if hasattr(tile, "_fields") else other for tile, other in zip(low.tile, swapped)]
        low.load()
        values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
    colours = _scaled_whole(values[..., :3], None)
    if isinstance(transparent := image.info.get("transparency"), tuple):
        colours[(values == np.array(transparent)).all(axis=2)] = 255
    if values.shape[2] == 4:
        return _on_white(Image.fromarray(np.dstack([colours, _scaled_whole(values[..., 3], None)])))
    return colours


def _on_white(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of an image with alpha."""
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))


def _grey(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] of a grey image with more than 8 bits a pixel, or of signed bytes."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if values.dtype == np.uint8:
        values = values.view(np.int8)
    if values.dtype == np.int32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and tags.get(_BITS, (0,))[0] == 32:
        values = values.view(np.uint32)  # Pillow knows signed numbers alone
    bits = tags.get(_BITS, (16,))[0]
    if values.dtype.kind != "f":
        grey = _scaled_whole(values, 2**bits - 1 if 8 < bits < 16 else None)
    else:
        grey = _scaled_float(values)
    if tags.get(_PHOTOMETRIC) == 0:  # white is 0
        grey = 255 - grey
    if type(transparent := image.info.get("transparency")) is int:
        grey[values == transparent] = 255
    return grey


def _scaled_whole(values: np.ndarray, declared: int | None) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    tops = (declared,) if declared and high <= declared else _TOPS
    if low < 0 or high > tops[-1]:
        return _stretched(values.astype(np.float64), low, high)
    top = next(top for top in tops if high <= top)
    return (values >> (top.bit_length() - 8)).astype(np.uint8)


def _scaled_float(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        raise ValueError("it has not one finite value")
    low, high = float(finite.min()), float(finite.max())
    if low >= -_OVERSHOOT * high:
        fitting = [top for top in (1, *_TOPS) if high <= (1 + _OVERSHOOT) * top]
        if fitting:
            low, high = 0.0, float(fitting[0])
    values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return _stretched(values, low, high)


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """float64 [H, W], of which `low` becomes 0 and `high` 255; rounded, and clipped. Of one value above 0 it is white."""
    if high <= low:
        return np.full(values.shape, 255 if high > 0 else 0, np.uint8)
    return np.rint((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
