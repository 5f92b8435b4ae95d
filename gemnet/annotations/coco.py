"""A COCO annotation file, read as untrusted: what has one meaning is repaired and counted, the rest is refused by name.

`read_coco` gives every user of a file the same boxes: training, validation, prediction and COCO's evaluation. `check_coco` does
the same with annotations that were read from another kind of file. Neither needs MMDetection or PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemnet.annotations.boxes import Box, box_of, clipped, fits_as_corners
from gemnet.annotations.findings import Finding, Findings, number, plain_name, shown, whole_number
from gemnet.annotations.image_entries import Entries, ImageEntries
from gemnet.annotations.json_file import BROKEN, EXPECTED, read_json
from gemnet.core.errors import DataError

LARGEST_ID = 2**53
"""COCO's evaluation keeps ids of annotations in floats."""

CORNERS = (
    "boxes that reach out of their image, in a file whose boxes all fit as corners [x1, y1, x2, y2] (expected [x, y, width, "
    "height]: write x2 - x1 and y2 - y1 for x2 and y2; where they are width and height already, clip them to their image)"
)


@dataclass(frozen=True)
class Annotations:
    """A file's annotations after repair, in COCO's form, and what was repaired or is worth knowing.

    content: {"images", "annotations", "categories", ...}, with whole ids, boxes [x, y, width, height] within their image and at
    least a pixel on each side, areas above 0, categories in the order of the labels. notes: one finding a kind.
    """

    content: dict[str, Any]
    notes: tuple[Finding, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(category["name"] for category in self.content["categories"])

    @property
    def boxes(self) -> int:
        """How many boxes count: crowds do not."""
        return sum(not annotation["iscrowd"] for annotation in self.content["annotations"])


def read_coco(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    keep_wrong_sizes: bool = False,
) -> Annotations:
    """The annotations in a COCO file, checked and repaired.

    images: the folder of the images, whose names and sizes in pixels, as they are shown, are compared; None compares nothing.
    classes: names of the classes, in the order of the labels; boxes of others are left out. None takes the file's own, in its
    order, without a class that only sums up others and has no box. keep_wrong_sizes: do not refuse an image whose size is not
    the annotated one, for its loader will. Raises DataError that names the file, the entries and their values.
    """
    return check_coco(read_json(file), file, images, classes, keep_wrong_sizes)


def check_coco(
    content: Any,
    name: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    keep_wrong_sizes: bool = False,
    places: Mapping[str, Sequence[str]] | None = None,
    sizes: Mapping[str, tuple[int, int] | None] | None = None,
) -> Annotations:
    """The annotations in the content of a COCO file, checked and repaired, as `read_coco` does it with the file.

    Args:
        content: What the file holds, or what was made in its form from another kind of file.
        name: Of the file, for messages.
        images, classes, keep_wrong_sizes: As `read_coco` takes them.
        places: By "images" and "annotations", where each entry stands, for messages; by default its index and id.
        sizes: (height, width) in pixels of images by `file_name`, if they are known already; None for one that cannot be read.

    Raises:
        DataError: Names `name`, the entries and their values.
    """
    try:
        folder = None if images is None else os.fspath(images)
        return _Reader(name, content, places).read(folder, classes, keep_wrong_sizes, sizes)
    except RecursionError as error:  # where entries are compared
        raise DataError(f"{name}: {BROKEN} (nested too deeply); {EXPECTED}") from error


def file_classes(file: str | os.PathLike[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The classes that `read_coco` takes from a file, and those of them that have a box. Raises DataError as it does."""
    return content_classes(read_json(file), file)


def content_classes(content: Any, name: str | os.PathLike[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """What `file_classes` tells, of the content of a file."""
    return _Reader(name, content).classes()


class _Reader:
    """One reading of one file: `notes` takes what is repaired, `refused` what cannot be."""

    def __init__(self, file: str | os.PathLike[str], content: Any, places: Mapping[str, Sequence[str]] | None = None) -> None:
        self.file, self.content, self.places = file, content, places or {}
        self.notes, self.refused = Findings(), Findings()
        if not isinstance(self.content, dict):
            kind, first = f"a {type(self.content).__name__}", self.content[:1] if isinstance(self.content, list) else []
            if first and isinstance(first[0], dict) and {"image_id", "score"} <= set(first[0]):
                kind = "a list of predictions"
            raise DataError(f"{file}: {BROKEN} ({kind}); {EXPECTED}")
        self.categories: Entries = {}
        self.names: dict[int, str] = {}

    def read(
        self,
        folder: str | None,
        asked: Sequence[str] | None,
        keep_wrong_sizes: bool,
        sizes: Mapping[str, tuple[int, int] | None] | None,
    ) -> Annotations:
        self._read_categories()
        entries = self._unique("images", self._entries("images")) if "images" in self.content else {}
        for place, entry in entries.values():
            if not isinstance(entry.get("file_name"), str) or not entry["file_name"].strip():
                self.refused.add("images without 'file_name'", place, entry.get("file_name"))
        self._refuse()
        if not entries:
            raise DataError(f"{self.file}: has no images; expected an object with a list 'images'")
        checker = ImageEntries(folder, self.notes, self.refused, keep_wrong_sizes, sizes)
        images = checker.checked(entries, self.file)
        self._refuse()
        classes = self._own() if asked is None else self._asked(list(asked))
        annotations = self._annotations(images, classes, checker.swapped)
        self._refuse()
        categories = [{**self.categories[key][1], "id": key, "name": name} for key, name in classes.items()]
        content = {**self.content, "images": list(images.values()), "annotations": annotations, "categories": categories}
        return Annotations(content, tuple(self.notes))

    def classes(self) -> tuple[tuple[str, ...], frozenset[str]]:
        self._read_categories()
        self._refuse()
        names, used = self._own(), self._used()
        return tuple(names.values()), frozenset(name for key, name in self.names.items() if key in used)

    def _refuse(self) -> None:
        if self.refused:
            raise DataError(f"{self.file}: " + "\n".join(str(finding) for finding in self.refused))

    def _entries(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """The objects in a list of the file, each with its place and id for a message."""
        found = self.content.get(key)
        if key == "annotations" and found is None:  # a test set without boxes
            return []
        if not isinstance(found, list):
            raise DataError(f"{self.file}: {BROKEN} ('{key}' is {shown(found)}); {EXPECTED}")
        kept = []
        places = self.places.get(key)
        for index, entry in enumerate(found):
            if isinstance(entry, dict):
                place = f"{key}[{index}] (id {shown(entry['id'])})" if "id" in entry else f"{key}[{index}]"
                kept.append((place if places is None else places[index], entry))
            else:
                self.refused.add(f"{key} that are no objects", f"{key}[{index}]", entry)
        return kept

    def _id(self, place: str, key: str, value: Any) -> int | None:
        """A whole number, repaired aloud; None for what is none."""
        found = whole_number(value)
        if found is not None and type(value) is not int:
            self.notes.add(f"values of {key} written as text or fractions, read as whole numbers", place, value)
        return found

    def _unique(self, key: str, entries: list[tuple[str, dict[str, Any]]]) -> Entries:
        """Entries by their id; exact copies are left out, an id that stands for two is refused."""
        found: Entries = {}
        for place, entry in entries:
            own = self._id(place, f"id of {key}", entry.get("id"))
            if own is None:
                self.refused.add(f"{key} whose id is no whole number of 64 bits", place, entry.get("id"))
            elif own not in found:
                found[own] = (place, entry)
            elif entry == found[own][1]:
                self.notes.add(f"exact copies of {key} left out", place)
            else:
                name = "name" if key == "categories" else "file_name"
                both = f"{shown(found[own][1].get(name))} and {shown(entry.get(name))}"
                self.refused.add(f"{key} with the id of another", f"{found[own][0]} and {place}, {both}")
        return found

    def _read_categories(self) -> None:
        self.categories = self._unique("categories", self._entries("categories"))
        if not self.categories and not self.refused:
            raise DataError(f"{self.file}: has no categories; {EXPECTED}")
        places: dict[str, str] = {}
        folded: dict[str, str] = {}
        for own, (place, entry) in self.categories.items():
            given = entry.get("name")
            name = str(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else given
            if not isinstance(name, str) or not name.strip():
                self.refused.add("categories without a name (expected a text)", place, given)
                continue
            name = plain_name(name)
            if name != given:
                self.notes.add("names of categories with needless spaces, or numbers, taken as texts without", place, given)
            if name in places:
                self.refused.add("categories with the name of another", f"{places[name]} and {place}", name)
            elif _folded(name) in folded:
                self.notes.add("categories whose names differ in case alone: are they two?", f"{folded[_folded(name)]}, {name}")
            places.setdefault(name, place)
            folded.setdefault(_folded(name), name)
            self.names[own] = name

    def _used(self) -> set[int | None]:
        """Ids of categories that annotations name."""
        found = self.content.get("annotations")
        entries = found if isinstance(found, list) else []
        return {whole_number(entry.get("category_id")) for entry in entries if isinstance(entry, dict)}

    def _own(self) -> dict[int, str]:
        """The file's categories by id, without those that have no box and sum up others: their supercategory, or 0 before 1."""
        used = self._used()
        above = {key: entry.get("supercategory") for key, (_, entry) in self.categories.items()}

        def sums_up(key: int) -> bool:
            named = any(self.names[key] == name for other, name in above.items() if other != key)
            return key not in used and (named or (key == 0 == min(self.names) and len(self.names) > 1))

        left_out = [key for key in self.names if sums_up(key)]
        for key in left_out:
            self.notes.add("super-classes without a box, left out", self.categories[key][0], self.names[key])
        return {key: name for key, name in self.names.items() if key not in left_out}

    def _asked(self, asked: list[str]) -> dict[int, str]:
        """The categories of the names that are asked for, by id, in their order."""
        asked = [plain_name(name) for name in asked]
        key_of = {name: key for key, name in self.names.items()}
        absent = [name for name in asked if name not in key_of]
        if absent:
            meant = {_folded(name): name for name in key_of}.get(_folded(absent[0]))
            own = ", ".join(list(key_of)[:8]) + ", ..." * (len(key_of) > 8)
            raise DataError(
                f"{self.file}: lacks {len(absent)} of the {len(asked)} classes, first {absent[0]}"
                f"{f' (it has {meant})' if meant else ''}; its own are {own}: name those in "
                "*_dataloader.dataset.metainfo.classes, or leave them out to take the file's"
            )
        return {key_of[name]: name for name in asked}

    def _annotations(
        self, images: dict[int, dict[str, Any]], classes: dict[int, str], swapped: set[int]
    ) -> list[dict[str, Any]]:
        known: dict[str, Any] = {"image_id": images, "category_id": self.names}
        unknown: dict[str, set[int | None]] = {key: set() for key in known}
        kept, boxes = [], []
        for place, entry in self._once(self._entries("annotations")):
            ids = {key: self._id(place, key, entry.get(key)) for key in known}
            strange = [key for key in known if ids[key] not in known[key]]
            for key in strange:
                self.refused.add(f"annotations whose {key} is of no {key.removesuffix('_id')}", place, entry.get(key))
                unknown[key].add(ids[key])
            box, crowd = box_of(entry, place, self.notes, self.refused), self._crowd(place, entry)
            image_id, category_id = ids["image_id"], ids["category_id"]
            if box is None or strange or image_id is None or category_id is None:
                continue
            image = images[image_id]
            boxes.append((box, image, place))
            if image_id in swapped and _reaches_out(box, image):
                self.refused.add("boxes outside of an image whose width and height seem swapped", place, list(box))
            if category_id not in classes:
                self.notes.add("boxes of classes that are not asked for, left out", place, self.names[category_id])
                continue
            inside = clipped(box, image["width"], image["height"], place, self.notes)
            if inside is not None:
                area = self._area(place, entry, box, inside)
                clean = {**entry, **ids, "bbox": list(inside), "area": area, "iscrowd": crowd}
                clean.pop("ignore", None)
                kept.append((place, clean))
        self._hints(boxes, unknown, known)
        return self._numbered(kept)

    def _once(self, entries: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
        """Annotations without exact copies, ids included."""
        first: dict[Any, dict[str, Any]] = {}
        kept = []
        for place, entry in entries:
            own = entry.get("id")
            if isinstance(own, (int, str)) and first.setdefault(own, entry) is not entry and first[own] == entry:
                self.notes.add("exact copies of annotations left out", place)
            else:
                kept.append((place, entry))
        return kept

    def _numbered(self, entries: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """All annotations, numbered anew where an id is none or stands twice: COCO's evaluation loses those, and takes 0 for
        no match."""
        seen: set[int] = set()
        anew = False
        for place, annotation in entries:
            own = annotation.get("id")
            if type(own) is int and 0 < own <= LARGEST_ID and own not in seen:
                seen.add(own)
            else:
                self.notes.add("annotations without an id above 0 of their own (all are numbered anew)", place, own)
                anew = True
        return [{**annotation, "id": index} if anew else annotation for index, (_, annotation) in enumerate(entries, 1)]

    def _crowd(self, place: str, entry: dict[str, Any]) -> int:
        given = entry.get("iscrowd")
        crowd = int(given) if isinstance(given, bool) else whole_number(given)
        if given is None:
            self.notes.add("annotations without iscrowd, taken as 0", place)
            crowd = 0
        elif crowd not in (0, 1):
            self.refused.add("annotations whose iscrowd is neither 0 nor 1", place, given)
        elif type(given) is not int:
            self.notes.add("values of iscrowd written as text, fraction or True/False, read as 0 or 1", place, given)
        if entry.get("ignore") not in (None, 0, "", "0", "false"):
            self.notes.add("annotations marked 'ignore', taken as crowds: neither trained on nor counted", place)
            crowd = 1
        return crowd or 0

    def _area(self, place: str, entry: dict[str, Any], box: Box, inside: Box) -> float:
        """In pixels: the annotated one, which is that of the object's shape, where it is above 0 and not beyond the box."""
        given, own = number(entry.get("area")), inside[2] * inside[3]
        if given is None or not 0 < given <= box[2] * box[3] * 1.01 + 1:
            kind = "without an area" if entry.get("area") is None else "whose area is not above 0 and at most their box's"
            self.notes.add(f"annotations {kind}, taken from the box", place, entry.get("area"))
            return own
        return given if inside == box else min(given, own)

    def _hints(self, boxes: list[tuple[Box, dict[str, Any], str]], unknown: dict[str, set[Any]], known: dict[str, Any]) -> None:
        """What the whole file looks like, where it looks wrong."""
        for key, ids in unknown.items():
            own = list(known[key])
            if ids and None not in ids and {found + 1 for found in ids} <= set(own):
                self.refused.hint(f"{key} seems to count from 0 and what it means from {min(own)}: expected the same ids")
            elif ids:
                self.refused.hint(f"expected as {key} one of {', '.join(map(str, own[:8]))}{', ...' * (len(own) > 8)}")
        if boxes and all(max(box) <= 1 for box, _, _ in boxes):
            self.refused.hint(f"boxes are fractions of their image, first {list(boxes[0][0])}; expected pixels")
        corners = [fits_as_corners(box, image["width"], image["height"]) for box, image, _ in boxes]
        reaching = [entry for entry, fits in zip(boxes, corners) if fits and _reaches_out(*entry[:2])]
        if reaching and all(corners):
            for box, _, place in reaching:
                self.refused.add(CORNERS, place, list(box))
        elif len(reaching) * 10 > len(boxes) and all(box[2] > box[0] and box[3] > box[1] for box, _, _ in boxes):
            first = list(reaching[0][0])
            self.notes.hint(f"are boxes such as {first} corners [x1, y1, x2, y2]? Expected [x, y, width, height]")


def _reaches_out(box: Box, image: dict[str, Any]) -> bool:
    return box[0] + box[2] > image["width"] + 1 or box[1] + box[3] > image["height"] + 1


def _folded(name: str) -> str:
    return plain_name(name).casefold()
