"""The images of an annotation file against their folder: names that lie there, sizes in pixels as images are shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gemnet.annotations.findings import TOLD, Findings, whole_number
from gemnet.annotations.image_paths import found_name, image_sizes, is_turned, leaves, near_names
from gemnet.core.errors import DataError

Entries = dict[int, tuple[str, dict[str, Any]]]
"""id of an image -> its place in the file, for messages, and its entry."""


class ImageEntries:
    """Checked names and sizes of images; `notes` takes what is repaired, `refused` what cannot be.

    folder: where the images lie; None compares nothing. keep_wrong_sizes: sizes that are not the file's are left to its loader.
    sizes: (height, width) by name in the folder, where they are known already; None for an image that cannot be read.
    """

    def __init__(
        self,
        folder: str | None,
        notes: Findings,
        refused: Findings,
        keep_wrong_sizes: bool = False,
        sizes: Mapping[str, tuple[int, int] | None] | None = None,
    ) -> None:
        self.folder, self.notes, self.refused, self.keep_wrong_sizes = folder, notes, refused, keep_wrong_sizes
        self.sizes = sizes
        self.swapped: set[int] = set()
        """Ids of images whose width and height stood for each other."""

    def checked(self, entries: Entries, file: Any) -> dict[int, dict[str, Any]]:
        """Entries with the names and sizes to use. Raises DataError where the folder lacks images of `file`."""
        names = self._names(entries, file)
        sizes = self._sizes(names)
        found = {}
        for number, name in names.items():
            place, entry = entries[number]
            width, height = self._size(number, place, {**entry, "file_name": name}, sizes.get(number))
            found[number] = {**entry, "id": number, "file_name": name, "width": width, "height": height}
        return found

    def _sizes(self, names: dict[int, str]) -> dict[int, tuple[int, int] | None]:
        if self.folder is None:
            return {}
        if self.sizes is not None:
            return {number: self.sizes.get(name) for number, name in names.items()}
        return dict(zip(names, image_sizes(map(self._path, names.values()))))

    def _path(self, name: str) -> str:
        return os.path.join(self.folder or "", name)

    def _names(self, entries: Entries, file: Any) -> dict[int, str]:
        names: dict[int, str] = {}
        absent: list[tuple[str, str]] = []
        taken: dict[str, str] = {}
        for number, (place, entry) in entries.items():
            given = entry["file_name"]
            name = given if self.folder is None else found_name(self.folder, given)
            if name is None:
                absent.append((place, given))
                continue
            if name != given:
                self.notes.add("file names written for another file system, found", place, given)
            if self.folder is not None and leaves(self.folder, name):
                self.notes.add(f"images outside of {self.folder}", place, given)
            path = os.path.normpath(self._path(name))
            if path in taken:
                self.refused.add("images with the file of another (expected all its boxes under one id)", place, given)
            taken.setdefault(path, place)
            names[number] = name
        if absent:
            raise DataError(
                f"{file} does not fit {self.folder}: {len(absent)} of its {len(entries)} images are not there, first "
                f"{', '.join(self._absent(absent[:TOLD]))}; check the folder of images (data_prefix in a config), or fetch the "
                "images again"
            )
        return names

    def _absent(self, absent: list[tuple[str, str]]) -> list[str]:
        told = []
        for (place, given), near in zip(absent, near_names(self.folder or "", [given for _, given in absent])):
            folder = "\0" not in given and os.path.isdir(self._path(given))
            hint = f", there is {near}" if near else ", a folder" * folder
            told.append(f"{given if given.isprintable() else ascii(given)} ({place}{hint})")
        return told

    def _size(self, number: int, place: str, entry: dict[str, Any], found: tuple[int, int] | None) -> tuple[int, int]:
        """Width and height in pixels: the file's where it can be read, else the annotated ones."""
        given = (entry.get("width"), entry.get("height"))
        width, height = (whole_number(value) or 0 for value in given)
        valid = width > 0 and height > 0
        if found is None:  # no folder to look into, or an image that cannot be read, which its loader tells
            if not valid:
                self.refused.add("images without a size that cannot be read from the file either", place, given)
            return width, height
        size, path = found[::-1], self._path(entry["file_name"])
        if size == (width, height):
            if given != size:
                self.notes.add("sizes of images written as text or fractions, read as whole numbers", place, given)
        elif not valid:
            self.notes.add("images without a size above 0, taken from the file", place, given)
        elif size == (height, width) and not is_turned(path):
            self.notes.add("images whose width and height were swapped, taken from the file", place, given)
            self.swapped.add(number)
        elif self.keep_wrong_sizes:
            return width, height
        else:
            turned = ", turned by its EXIF orientation" if size == (height, width) else ""
            self.refused.add(
                "images of another size than annotated (expected boxes in pixels of the image as it is shown)",
                f"{place}, {path}: is {size[1]}x{size[0]} pixels high and wide{turned}, but annotated as {height}x{width}",
            )
        return size
