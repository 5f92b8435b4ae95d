"""Image files made byte by byte, with the pixels that they must give: what Pillow writes is no judge of what Pillow reads."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
SIZE = (12, 10)  # height, width


def png(
    samples: np.ndarray, colour: int, depth: int = 8, chunks: Mapping[bytes, bytes] | None = None, late: bytes = b""
) -> bytes:
    """A PNG of `samples` [H, W, channels] with a colour type; `chunks` stand before the pixels, `late` is eXIf after them."""
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in flat]
    else:
        bits = [np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :].reshape(-1) for row in flat]
        rows = [np.packbits(row).tobytes() for row in bits]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *(chunks or {}).items()]
    parts.append((b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))))
    parts += [(b"eXIf", late)] * bool(late) + [(b"IEND", b"")]
    chunked = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunked)


def tiff(samples: np.ndarray, photometric: int = 1, order: str = "<", tags: Mapping[int, int] | None = None) -> bytes:
    """An uncompressed TIFF of `samples` [H, W] or [H, W, channels], of their own dtype. tags: more tags, of short numbers."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    bits = samples.dtype.itemsize * 8
    content = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    values: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: [8], 277: [channels],
        278: [height], 279: [len(content)], 339: [kind] * channels, **{tag: [value] for tag, value in (tags or {}).items()},
    }  # fmt: skip
    entries, extra, place = b"", b"", 8 + len(content)
    for tag, numbers in sorted(values.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(data) > 4:
            data, extra = struct.pack(f"{order}I", place + len(extra)), extra + data
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + data
    directory = struct.pack(f"{order}H", len(values)) + entries + bytes(4)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", place + len(extra))
    return head + content + extra + directory


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block that holds an orientation alone."""
    entry = struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0)
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def saved(image: Image.Image, format: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **more)
    return buffer.getvalue()


def rgb(*size: int) -> np.ndarray:
    return RNG.integers(0, 256, (*(size or SIZE), 3), dtype=np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    """[H, W] -> [H, W, 3]."""
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """[H, W, 3] and [H, W] -> what is seen on white paper."""
    share = alpha[..., None] / 255
    return np.rint(colours * share + 255 * (1 - share)).astype(np.uint8)


def made() -> dict[str, tuple[bytes, np.ndarray]]:
    """Of each kind of file its content and its pixels, uint8 [H, W, 3]; all of these are without loss."""
    colours, alpha = rgb(), RNG.integers(0, 256, SIZE, dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    levels = RNG.integers(0, 256, SIZE, dtype=np.uint8)
    high = RNG.integers(0, 1 << 16, SIZE, dtype=np.uint16)
    high[0, :2] = 0, 65535
    twelve = high >> 4
    rgba = np.dstack([colours, alpha])
    indices, palette = RNG.integers(0, 4, SIZE, dtype=np.uint8), rgb(4, 1)[:, 0]
    seen = np.array([0, 128, 255, 255], np.uint8)
    table = {b"PLTE": palette.tobytes()}
    unit = RNG.random(SIZE, dtype=np.float32)
    unit[0, :2] = 0, 1
    holes = unit.copy()
    holes[2, :3] = np.nan, np.inf, -np.inf
    filled = unit.copy()
    filled[2, :3] = 0, 1, 0
    deep = RNG.integers(0, 4096, (*SIZE, 3), dtype=np.uint16)
    deep[0, 0] = 4095
    bytes_below_0 = RNG.integers(-100, 101, SIZE, dtype=np.int8)
    bytes_below_0[0, :2] = -100, 100
    beyond = unit * np.float32(1.08)
    signed = RNG.integers(-1000, 3001, SIZE, dtype=np.int32)
    signed[0, :2] = -1000, 3000
    stretched = np.rint((signed + 1000) * (255 / 4000))
    alphas = {**table, b"tRNS": seen.tobytes()}
    two, one = levels >> 6, levels >> 7
    black = (levels == levels[0, 0])[..., None]
    return {
        "rgb.png": (png(colours, 2), colours),
        "rgb.bmp": (saved(Image.fromarray(colours), "BMP"), colours),
        "rgb.ppm": (b"P6 10 12 255\n" + colours.tobytes(), colours),
        "rgb.tif": (tiff(colours, 2), colours),
        "rgb.webp": (saved(Image.fromarray(colours), "WEBP", lossless=True), colours),
        "rgb.jp2": (saved(Image.fromarray(colours), "JPEG2000", irreversible=False), colours),
        "rgb.ico": (saved(Image.fromarray(colours), "ICO", sizes=[(10, 12)], bitmap_format="png"), colours),
        "called_jpg.jpg": (png(colours, 2), colours),
        "UPPER.PNG": (png(colours, 2), colours),
        "no_suffix": (png(colours, 2), colours),
        "rgba.png": (png(rgba, 6), on_white(colours, alpha)),
        "rgba.webp": (saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True), on_white(colours, alpha)),
        "rgba.tif": (tiff(rgba, 2, tags={338: 2}), on_white(colours, alpha)),
        "rgb_transparent_colour.png": (
            png(colours, 2, chunks={b"tRNS": struct.pack(">HHH", *colours[0, 0].tolist())}),
            np.where((colours == colours[0, 0]).all(2)[..., None], 255, colours).astype(np.uint8),
        ),
        "grey_alpha.png": (png(np.dstack([levels, alpha]), 4), on_white(grey(levels), alpha)),
        "grey_transparent_level.png": (
            png(levels, 0, chunks={b"tRNS": struct.pack(">H", levels[0, 0])}),
            np.where(black, 255, grey(levels)).astype(np.uint8),
        ),
        "grey16_transparent_level.png": (
            png(high, 0, 16, {b"tRNS": struct.pack(">H", high[3, 3])}),
            np.where((high == high[3, 3])[..., None], 255, grey(high >> 8)).astype(np.uint8),
        ),
        "grey2_transparent_level.png": (
            png(two, 0, 2, {b"tRNS": struct.pack(">H", 2)}),
            np.where((two == 2)[..., None], 255, grey(two * 85)).astype(np.uint8),
        ),
        "bilevel_transparent_black.png": (png(one, 0, 1, {b"tRNS": struct.pack(">H", 0)}), np.full((*SIZE, 3), 255, np.uint8)),
        "palette.png": (png(indices, 3, 8, table), palette[indices]),
        "palette2.png": (png(indices, 3, 2, table), palette[indices]),
        "palette_one_transparent.png": (
            png(indices, 3, 8, {**table, b"tRNS": b"\xff\0"}),
            np.where((indices == 1)[..., None], 255, palette[indices]).astype(np.uint8),
        ),
        "palette_alphas.png": (png(indices, 3, 8, alphas), on_white(palette[indices], seen[indices])),
        "bilevel.png": (png(one, 0, 1), grey(one * 255)),
        "bilevel.pbm": (b"P1 4 1\n1 0 0 1\n", grey(np.array([[0, 255, 255, 0]]))),
        "grey.png": (png(levels, 0), grey(levels)),
        "grey2.png": (png(two, 0, 2), grey(two * 85)),
        "grey4.png": (png(levels >> 4, 0, 4), grey((levels >> 4) * 17)),
        "grey.tif": (tiff(levels), grey(levels)),
        "grey_white_is_0.tif": (tiff(levels, 0), grey(255 - levels)),
        "grey16.png": (png(high, 0, 16), grey(high >> 8)),
        "grey12_in_16.png": (png(twelve, 0, 16), grey(twelve >> 4)),
        "grey8_in_16.png": (png(levels.astype(np.uint16), 0, 16), grey(levels)),
        "rgb16.png": (png(np.dstack([high] * 3), 2, 16), grey(high >> 8)),
        "rgb12_in_16.png": (png(deep, 2, 16), (deep >> 4).astype(np.uint8)),
        "rgb12_in_16_little.tif": (tiff(deep, 2), (deep >> 4).astype(np.uint8)),
        "rgb12_in_16_big.tif": (tiff(deep, 2, ">"), (deep >> 4).astype(np.uint8)),
        "rgba12_in_16.png": (png(np.dstack([deep, twelve]), 6, 16), on_white(deep >> 4, twelve >> 4)),
        "rgb12_in_16_transparent_colour.png": (
            png(deep, 2, 16, {b"tRNS": struct.pack(">HHH", *deep[3, 3].tolist())}),
            np.where((deep == deep[3, 3]).all(2)[..., None], 255, deep >> 4).astype(np.uint8),
        ),
        "grey_alpha16.png": (png(np.dstack([high, np.full(SIZE, 65535)]), 4, 16), grey(high >> 8)),
        "grey16_little.tif": (tiff(high), grey(high >> 8)),
        "grey16_big.tif": (tiff(high, order=">"), grey(high >> 8)),
        "grey16_white_is_0.tif": (tiff(high, 0), grey(255 - (high >> 8))),
        "grey16.pgm": (b"P5 10 12 65535\n" + high.astype(">u2").tobytes(), grey(high >> 8)),
        "grey12.pgm": (b"P5 10 12 4095\n" + twelve.astype(">u2").tobytes(), grey(twelve >> 4)),
        "whole32.tif": (tiff(high.astype(np.int32)), grey(high >> 8)),
        "unsigned32.tif": (tiff(high.astype(np.uint32) * 65537), grey(np.rint(high / 257.0))),
        "signed32.tif": (tiff(signed), grey(stretched)),
        "signed16.tif": (tiff(signed.astype(np.int16)), grey(stretched)),
        "signed8.tif": (tiff((levels >> 1).astype(np.int8)), grey(levels >> 1)),
        "signed8_negative.tif": (tiff(bytes_below_0), grey(np.rint((bytes_below_0 + 100.0) * (255 / 200)))),
        "float_1.tif": (tiff(unit), grey(np.rint(unit.astype(float) * 255))),
        "float_1_big.tif": (tiff(unit, order=">"), grey(np.rint(unit.astype(float) * 255))),
        "float_255.tif": (tiff(levels.astype(np.float32)), grey(levels)),
        "float_65535.tif": (tiff(high.astype(np.float32)), grey(np.rint(high / 257.0))),
        "float_negative.tif": (tiff(signed.astype(np.float32)), grey(stretched)),
        "float_overshoot.tif": (tiff(beyond), grey(np.rint(beyond.clip(0, 1).astype(float) * 255))),
        "float_holes.tif": (tiff(holes), grey(np.rint(filled.astype(float) * 255))),
        "signed32_equal.tif": (tiff(np.full(SIZE, 100_000, np.int32)), np.full((*SIZE, 3), 255, np.uint8)),
        "float_equal.tif": (tiff(np.full(SIZE, -3, np.float32)), np.zeros((*SIZE, 3), np.uint8)),
    }  # fmt: skip
