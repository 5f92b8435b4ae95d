"""What lies in a folder: all its files with their sizes and times, found in one walk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from gemnet.core.errors import DataError
from gemnet.images.formats import SUFFIXES

PASSED_OVER = ("__MACOSX",)
"""Folders that are looked into as little as hidden ones are."""


@dataclass(frozen=True)
class Listing:
    """The files in a folder.

    Attributes:
        root: The folder.
        files: Path relative to `root`, with `/` -> (bytes, time of the last change in ns), sorted by path.
    """

    root: Path
    files: Mapping[str, tuple[int, int]]

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The files that are images by their suffix."""
        return self.with_suffix(*SUFFIXES)

    def with_suffix(self, *suffixes: str) -> tuple[str, ...]:
        """The files that end in one of `suffixes`, in lower or upper case."""
        return tuple(name for name in self.files if name.lower().endswith(suffixes))

    def fingerprint(self, *more: object) -> str:
        """A text that changes when a file is added, removed or written, or with `more`."""
        digest = hashlib.sha256(repr(more).encode())
        for name, state in self.files.items():
            digest.update(f"{name}\0{state}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def path(self, name: str) -> Path:
        return self.root / name


def list_folder(root: Path, without: Iterable[Path] = ()) -> Listing:
    """List the files in `root` and the folders in it, also behind links; hidden ones are left out, and those in `without`.

    Raises DataError where there is no such folder, it has no files, or a folder in it cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename}: this folder cannot be read ({error.strerror}); change its permissions") from error

    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'} (from {Path.cwd()})")
    seen = {_identity(root)} | {_identity(folder) for folder in without if folder.is_dir()}
    files: dict[str, tuple[int, int]] = {}
    for parent, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        kept = []
        for name in sorted(folders):
            if name.startswith(".") or name in PASSED_OVER or not os.path.isdir(os.path.join(parent, name)):
                continue
            own = _identity(Path(parent, name))
            if own not in seen:  # a link to a folder above would have no end
                seen.add(own)
                kept.append(name)
        folders[:] = kept
        below = PurePosixPath(os.path.relpath(parent, root))
        for name in names:
            if not name.startswith("."):
                try:
                    state = os.stat(os.path.join(parent, name))
                except OSError:  # a link to nowhere
                    continue
                files[str(below / name)] = (state.st_size, state.st_mtime_ns)
    if not files:
        raise DataError(f"{root}: the folder is empty; expected images and their labels")
    return Listing(root, dict(sorted(files.items())))


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino
