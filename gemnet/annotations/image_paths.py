"""Images that an annotation file names: where they lie, and how large they are shown. The file system decides."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from PIL import Image

from gemnet.images.pixels import ImageError, image_size

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""EXIF's tag, and its values that swap height and width."""


def exists(path: str) -> bool:
    """Whether there is a file; False for a folder, a link to nowhere and a name that no file can have."""
    try:
        return os.path.isfile(path)
    except (ValueError, OSError):  # a null character, lone surrogates, a name that is too long
        return False


def found_name(folder: str, name: str) -> str | None:
    """The name by which `name` lies in `folder`: itself, with / for \\, in the other Unicode normal form, or without its `..`.

    None where it does not lie there.
    """
    slashed = name.replace("\\", "/")
    forms = [name, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))]
    forms.append(os.path.relpath(os.path.join(folder, slashed), folder) if slashed else name)
    return next((form for form in dict.fromkeys(forms) if exists(os.path.join(folder, form))), None)


def leaves(folder: str, name: str) -> bool:
    """Whether a name leads out of the folder of images, by itself; a link inside the folder does not."""
    path = os.path.join(folder, name)
    return not (_below(os.path.abspath(path), os.path.abspath(folder)) or _below(*map(os.path.realpath, (path, folder))))


def _below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def near_names(folder: str, names: Sequence[str]) -> list[str | None]:
    """For each name a file of the folder that it may mean: another case, an address, another folder before it; else None."""
    files = [os.path.relpath(os.path.join(parent, file), folder) for parent, _, found in os.walk(folder) for file in found]
    last: dict[str, list[str]] = {}
    for file in files:
        last.setdefault(_folded(os.path.basename(file)), []).append(file)
    near = {key: same[0] for key, same in last.items() if len(same) == 1} | {_folded(file): file for file in files}

    def meant(name: str) -> str | None:
        path = name.replace("\\", "/")
        path = urlsplit(path).path if "://" in path else path
        forms = (path, unquote(path), PurePosixPath(path).name, unquote(PurePosixPath(path).name))
        return next((near[_folded(form)] for form in forms if _folded(form) in near), None)

    return [meant(name) for name in names]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", os.path.normpath(name.strip())).casefold()


def is_turned(path: str) -> bool:
    """Whether the EXIF orientation of an image swaps height and width."""
    with Image.open(path) as image:
        return image.getexif().get(ORIENTATION) in SIDEWAYS


def image_sizes(paths: Iterable[str]) -> list[tuple[int, int] | None]:
    """(height, width) in pixels of many images, as they are shown; None for one that cannot be read.

    Only the heads of the files are read, in threads: they wait for the disk, or the network.
    """

    def size(path: str) -> tuple[int, int] | None:
        try:
            return image_size(path)
        except ImageError:
            return None

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(size, paths))
