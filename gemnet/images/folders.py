"""Folders of images: which files are images, which are passed over, and why; read as untrusted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gemnet.core.errors import DataError
from gemnet.core.files import open_regular
from gemnet.images.formats import SIGNATURE_BYTES, SUFFIXES, UNREAD, is_readable, unread_kind

_told: set[str] = set()


@dataclass
class FoundImages:
    """What is in a folder.

    files: the images, sorted. passed_over: (what, remedy) -> the files that are none, or that are not read, sorted.
    """

    folder: Path
    files: list[Path]
    passed_over: dict[tuple[str, str], list[Path]] = field(default_factory=dict)

    def tell(self) -> None:
        """Say on standard error which files are passed over and why; once a process, and once of a run's several."""
        count = sum(map(len, self.passed_over.values()))
        message = f"{self.folder}: {count} file{'s are' if count > 1 else ' is'} passed over: {self._told_as()}"
        if count and message not in _told and os.environ.get("RANK", "0") == "0":
            _told.add(message)
            print(message, file=sys.stderr, flush=True)

    def check_any(self) -> None:
        """Raises DataError, which names what is there instead, unless there is an image."""
        if not self.files:
            instead = f"; passed over: {self._told_as()}" if self.passed_over else ""
            raise DataError(f"{self.folder}: no images in this folder; expected files {' '.join(SUFFIXES)}{instead}")

    def _told_as(self) -> str:
        parts = []
        for (what, remedy), files in self.passed_over.items():
            more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
            parts.append(f"{os.path.relpath(files[0], self.folder)}{more} ({what}{': ' * bool(remedy)}{remedy})")
        return ", ".join(parts)


def find_images(folder: Path) -> FoundImages:
    """The images in `folder` and the folders in it, without hidden files and folders, which are not passed over aloud.

    A name tells an image by its suffix; one without a suffix is opened. Whether a file can be read as an image shows when it is
    read. Raises DataError where a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename}: this folder cannot be read ({error.strerror})") from error

    files: list[Path] = []
    others: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        others += [path for name in folders if (path := Path(parent, name)).is_symlink()]
        for name in names:
            if not name.startswith("."):
                (files if name.lower().endswith(SUFFIXES) else others).append(Path(parent, name))
    known: dict[str, tuple[str, str]] = {}  # what the files of a suffix are, by the first of them
    passed_over: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(others):
        suffix = path.suffix.lower()
        kind: tuple[str, str] | None
        if path.is_dir():
            kind = ("a folder behind a link", "copy it here, or link each class's folder")
        elif not suffix:
            kind = _kind(path)
        else:
            kind = known.get(suffix) or UNREAD.get(suffix) or _kind(path)
            if kind is not None:
                known[suffix] = kind
        if kind is None:
            files.append(path)
        else:
            passed_over.setdefault(kind, []).append(path)
    return FoundImages(folder, sorted(files), passed_over)


def _kind(path: Path) -> tuple[str, str] | None:
    """What a file with no suffix of an image is, and the remedy; None for an image without a suffix."""
    try:
        with open_regular(path) as file:
            start = file.read(SIGNATURE_BYTES)
    except OSError as error:
        return (error.strerror or type(error).__name__, "mend or remove it")
    if is_readable(start):
        return ("an image, but named as none", "rename it, as to .jpg") if path.suffix else None
    return unread_kind(start) or ("no image", "")


def image_files(folder: Path) -> list[Path]:
    """The sorted images of `find_images`; the files that are passed over are told.

    Raises DataError where there are none, or where a folder cannot be read.
    """
    found = find_images(folder)
    found.check_any()
    found.tell()
    return found.files


def class_images(root: Path, classes: Iterable[str], needed: bool = True) -> list[list[Path]]:
    """For each of the folders `classes` in `root` its sorted images; the files that are passed over are told together.

    Raises DataError where a folder cannot be read, or has no images and these are `needed`, or has others files alone.
    """
    found = [find_images(root / name) for name in classes]
    together = FoundImages(root, [])
    loose = [path for path in root.iterdir() if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")]
    if loose := sorted(path for path in loose if not path.is_dir()):
        together.passed_over["an image in no class's folder", "move it into one"] = loose
    for part in found:
        if needed or part.passed_over:
            part.check_any()
        for kind, files in part.passed_over.items():
            together.passed_over.setdefault(kind, []).extend(files)
    together.tell()
    return [part.files for part in found]


def folder_classes(folder: Path) -> list[str]:
    """The sorted names of the classes' folders in `folder`. Raises DataError where it is missing or cannot be read."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder (from {Path.cwd()}); expected images as <data_root>/train/<class>/*.jpg and "
            "<data_root>/val/<class>/*.jpg; set data_root, as --cfg-options data_root=FOLDER"
        )
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be read ({error.strerror})") from error
