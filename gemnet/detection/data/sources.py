"""What every format is read into: annotations in COCO's form, unchecked, a part for each file or folder of labels."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from gemnet.annotations.findings import Findings
from gemnet.detection.data.listing import Listing

SPLITS = ("train", "val", "test")
_WORDS = {
    "train": "train", "training": "train", "trainval": "train", "val": "val", "valid": "val", "validation": "val",
    "minival": "val", "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip


@dataclass
class Part:
    """Annotations in COCO's form, as they were found; names of images are relative to the data set's folder.

    Attributes:
        name: The file or folder that they are from, for messages.
        content: {"images", "annotations", "categories"}.
        places: By "images" and "annotations", where each entry stands, for messages.
    """

    name: str
    content: dict[str, Any]
    places: dict[str, list[str]]


@dataclass
class Source:
    """What was read from a folder.

    Attributes:
        splits: train, val or test -> its parts; of a data set without splits, all are in `None`.
        notes: What was mended on the way, counted by kind.
        refused: What cannot be mended.
        fractions: Whether boxes are in fractions of their image instead of pixels.
        told: What a user should know, a sentence each.
    """

    splits: dict[str | None, list[Part]] = field(default_factory=dict)
    notes: Findings = field(default_factory=Findings)
    refused: Findings = field(default_factory=Findings)
    fractions: bool = False
    told: list[str] = field(default_factory=list)

    def add(self, split: str | None, part: Part) -> None:
        self.splits.setdefault(split, []).append(part)


class ImageFinder:
    """Finds the images that labels name, wherever in the folder they lie."""

    def __init__(self, listing: Listing, notes: Findings) -> None:
        self.listing, self.notes = listing, notes
        self._files = listing.files
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._anywhere: dict[str, list[str]] | None = None
        for path in listing.images:
            name = path.rpartition("/")[2]
            self._by_name.setdefault(_folded(name), []).append(path)
            self._by_stem.setdefault(path.rpartition(".")[0], []).append(path)

    def named(self, name: str, folders: Iterable[str], place: str) -> str | None:
        """The path of the image `name`, looked for in `folders`, then by its name alone where only one has it; else None."""
        slashed = name.replace("\\", "/")
        for folder in folders:
            path = os.path.normpath(f"{folder}/{slashed}" if folder not in ("", ".") else slashed)
            if path in self._files:
                return path
        address = urlsplit(slashed).path if "://" in slashed else slashed
        for form in dict.fromkeys((slashed, address, unquote(address))):
            found = self._by_name.get(_folded(PurePosixPath(form).name), [])
            if len(found) > 1:  # as in several folders: that which ends as the labels have it, or in case as well
                found = [path for path in found if path.endswith(PurePosixPath(form).name)] or found
                found = [path for path in found if f"/{path}".endswith(f"/{form.lstrip('./')}")] or found
            if len(found) == 1:
                if found[0].rpartition("/")[2] != PurePosixPath(slashed).name:
                    self.notes.add("images whose file has another name than the labels have", place, name)
                return found[0]
        return None

    def anywhere(self, stem: str) -> str | None:
        """The one image whose name without its suffix is `stem`, in whatever folder; None where none or several have it."""
        if self._anywhere is None:
            self._anywhere = {}
            for path, images in self._by_stem.items():
                self._anywhere.setdefault(path.rpartition("/")[2], []).extend(images)
        found = self._anywhere.get(stem, [])
        return found[0] if len(found) == 1 else None

    def beside(self, stem: str, folders: Iterable[str]) -> str | None:
        """The one image in `folders` whose name without its suffix is `stem`; None where none or several have it."""
        for folder in folders:
            found = self._by_stem.get(f"{folder}/{stem}" if folder not in ("", ".") else stem, [])
            if found:
                return found[0] if len(found) == 1 else None
        return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def folder_of(path: str) -> str:
    """The folder of a path in a listing; "" at its root."""
    return path.rpartition("/")[0]


def split_named(name: str) -> str | None:
    """The split that the name of a folder or file tells, such as `train2017` or `test_labels`; None for none or several."""
    words = {_WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _WORDS}
    return words.pop() if len(words) == 1 else None


def split_of_folders(path: str) -> str | None:
    """The split that the folders of a path tell, the innermost first."""
    for folder in reversed(path.split("/")[:-1]):
        if (split := split_named(folder)) is not None:
            return split
    return None


def split_of_file(path: str) -> str | None:
    """The split that a file of labels tells by its own name, or by its folders."""
    return split_named(path.rpartition("/")[2].rpartition(".")[0]) or split_of_folders(path)


class Builder:
    """Makes a part, an image and a box at a time, for formats that have no ids."""

    def __init__(self, name: str, classes: dict[str, int]) -> None:
        """classes: name -> id, shared by all parts of a source; names that are met are added."""
        self.name, self.classes = name, classes
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.places: dict[str, list[str]] = {"images": [], "annotations": []}

    def add_image(self, file_name: str, place: str, width: Any = None, height: Any = None) -> int:
        """Returns its id. A size that the labels do not tell is None."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": file_name, "width": width, "height": height})
        self.places["images"].append(place)
        return number

    def add_box(self, image_id: int, name: str, box: Sequence[Any] | None, place: str, ignored: bool = False) -> None:
        """box: [x, y, width, height] in pixels, unchecked. ignored: neither to be trained on nor counted."""
        number = len(self.annotations) + 1
        category = self.classes.setdefault(name, len(self.classes) + 1)
        found: dict[str, Any] = {"id": number, "image_id": image_id, "category_id": category, "bbox": box}
        sides = [value for value in (box or ())[2:] if isinstance(value, (int, float))]
        area = sides[0] * sides[1] if len(sides) == 2 else 0
        self.annotations.append({**found, "area": area, "iscrowd": int(ignored)})
        self.places["annotations"].append(place)

    def part(self) -> Part:
        """The part; its categories are all that `classes` has by then."""
        categories = [{"id": number, "name": name} for name, number in self.classes.items()]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        return Part(self.name, content, self.places)


def corners_box(corners: Sequence[Any], notes: Findings, place: str) -> list[Any]:
    """[x, y, width, height] of corners x1, y1, x2, y2; as they are where one is no number, to be refused later."""
    if not all(isinstance(value, (int, float)) for value in corners):
        return list(corners)
    x1, y1, x2, y2 = corners
    if x2 < x1 or y2 < y1:
        notes.add("boxes with the second corner before the first, turned round", place, list(corners))
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    return [x1, y1, x2 - x1, y2 - y1]
