"""Images to predict on and what is written of them: names that never meet, results that stay when a run is stopped."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from gemnet.core.errors import DataError
from gemnet.core.files import replacing, save_text
from gemnet.images.folders import image_files
from gemnet.images.pixels import read_image

LONGEST_JPEG = 65500
"""Pixels on a side."""


def find_images(inputs: Sequence[str], out_dir: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """The images in files and folders, each once, with the names, without ending, that their pictures get in `out_dir`.

    Files of the folders that are no images are told; the second list has what else is to be. Raises DataError where an input is
    missing, a folder has no image, or a picture would lie among the inputs.
    """
    found: dict[str, tuple[Path, Path]] = {}
    told: list[str] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            if out_dir.is_dir() and os.path.samefile(out_dir, path):
                raise DataError(
                    f"--out-dir {out_dir}: is a folder of inputs; expected another, for the pictures would lie among them"
                )
            images = image_files(path)
            own = [file for file in images if not _below(file, out_dir)]
            if len(own) < len(images):
                told.append(f"{path}: {len(images) - len(own)} images below --out-dir {out_dir} passed over")
            for file in own:
                found.setdefault(os.path.abspath(file), (file, file.relative_to(path)))
        elif path.exists():
            found.setdefault(os.path.abspath(path), (path, Path(path.name)))
        else:
            raise DataError(f"{path}: no such image or folder")
    if not found:
        raise DataError(f"{', '.join(inputs)}: no images besides those below --out-dir {out_dir}")
    return _named(list(found.values()), out_dir), told


def _below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _named(found: list[tuple[Path, Path]], out_dir: Path) -> list[tuple[Path, str]]:
    """A name for each, also where the file system takes no notice of case, and none that is a folder of others."""
    folders = {_folded(parent) for _, name in found for parent in name.parents}
    sources = {_identity(path) for path, _ in found} - {None}
    taken: set[str] = set()
    named = []
    for path, name in found:
        stem, number = str(name.with_suffix("")), 1
        unique = stem
        while _folded(unique) in taken or _folded(f"{unique}.jpg") in folders:
            number += 1
            unique = f"{stem}_{number}"
        taken.add(_folded(unique))
        for target in (out_dir / f"{unique}.jpg", out_dir / f"{unique}.png"):
            if _identity(target) in sources:
                raise DataError(
                    f"--out-dir {out_dir}: the picture of {path} would overwrite an input, {target}; expected another"
                )
        named.append((path, unique))
    return named


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _folded(path: str | Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


class Results:
    """`predictions.jsonl`, a line an image as it comes, and `predictions.json`, their list, when the body ends in whatever way.

    A line that a full disk cuts off is taken back. Only this file is written in between, so that what was done stays, also
    after `kill -9`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Results:
        self.list = self.folder / "predictions.json"
        self.list.unlink(missing_ok=True)  # of an earlier run
        self.lines = open(self.folder / "predictions.jsonl", "wb", buffering=0)
        return self

    def add(self, record: dict[str, Any]) -> None:
        line = json.dumps(record).encode() + b"\n"
        start = self.lines.tell()
        try:
            if self.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.lines.name)
        except OSError:
            self.lines.truncate(start)
            raise
        self.records.append(record)

    def write(self, line: bytes) -> int:
        """How many bytes a disk has taken."""
        return self.lines.write(line)

    def __exit__(self, *error: object) -> None:
        self.lines.close()
        save_text(self.list, json.dumps(self.records, indent=1) + "\n")


Mark = tuple[list[float] | None, str, tuple[int, int, int]]
"""Corners (x1, y1, x2, y2) of a box or None, a text, a colour."""


def draw(path: Path, marks: Iterable[Mark]) -> Image.Image:
    """The image as the model saw it, with boxes and their texts; a text without a box stands on top."""
    return draw_on(Image.fromarray(read_image(path)), marks)


def draw_on(image: Image.Image, marks: Iterable[Mark]) -> Image.Image:
    """The same image, with boxes and their texts drawn onto it."""
    pen = ImageDraw.Draw(image)
    unit = max(1, round(min(image.size) / 300))
    font = ImageFont.load_default(10 * unit)
    line = 0
    for box, text, colour in marks:
        x1, y1, x2, y2 = (0, line, -1, -1) if box is None else box
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, image.width - 1), min(y2, image.height - 1)
        if box is not None and (x1 > x2 or y1 > y2):
            continue
        if box is None:
            line += 12 * unit
        else:
            pen.rectangle((x1, y1, x2, y2), outline=colour, width=2 * unit)
        pen.rectangle(pen.textbbox((x1, y1), text, font), fill=colour)
        pen.text((x1, y1), text, "white", font)
    return image


def save_picture(image: Image.Image, folder: Path, name: str) -> Path:
    """Write a picture, whole or not at all: JPEG, or PNG where it is too long for that. Returns its path."""
    form, suffix = ("PNG", ".png") if max(image.size) > LONGEST_JPEG else ("JPEG", ".jpg")
    target = folder / f"{name}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        image.save(temporary, form, quality=92)
    return target
