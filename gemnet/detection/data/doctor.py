"""What is to be known of a data set before it is trained on: counts, sizes, copies, doubtful labels, and what was mended."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.annotations.boxes import overlaps
from gemnet.annotations.findings import Finding, Findings
from gemnet.core.errors import DataError
from gemnet.detection.data.listing import Listing, list_folder
from gemnet.detection.data.loading import Loaded, load
from gemnet.detection.data.similarity import exact_copies, near_copies
from gemnet.detection.data.sources import SPLITS
from gemnet.images.formats import FORMATS as IMAGE_FORMATS

SIDE = 320
"""Pixels of the longer side of an image as the detector sees it."""
TINY = 8
"""Pixels: the step of a detector's finest features. A box whose area is below its square is hardly seen."""
DOUBLE = 0.9
"""Two boxes of a class with a greater IoU are one object that was marked twice."""
FEW_BOXES = 20
HUGE_PIXELS = 25_000_000
EXAMPLES = 8


@dataclass(frozen=True)
class Example:
    """An image to be drawn: its path, its size (height, width), its boxes (class from 0, (x, y, width, height))."""

    path: Path
    name: str
    split: str
    size: tuple[int, int]
    boxes: tuple[tuple[int, tuple[float, float, float, float]], ...]


@dataclass(frozen=True)
class Diagnosis:
    """What `check` found.

    Attributes:
        root: The data set's folder.
        format: Of the labels; None where none was recognised.
        classes: In the order of the labels, from 0.
        own_splits: The splits that the data set came with; the others are made.
        images: By split, how many images.
        without_boxes: By split, how many images without a box.
        boxes: By split, the boxes of each class.
        image_sizes: Least, median and greatest width and height in pixels.
        box_sides: Of each class, the least, median and greatest side (root of the area) in pixels when the image is resized to
            SIDE; None for a class without boxes.
        refused: What must be mended before training, each with file, entry and value. Nothing else is known then.
        doubtful: What is worth a look; training takes it as it is.
        mended: What is mended in memory, and counted.
        notes: What else a user should know, a sentence each.
        examples: Images to be drawn, with their boxes.
    """

    root: Path
    format: str | None = None
    classes: tuple[str, ...] = ()
    own_splits: tuple[str, ...] = ()
    images: Mapping[str, int] | None = None
    without_boxes: Mapping[str, int] | None = None
    boxes: Mapping[str, tuple[int, ...]] | None = None
    image_sizes: Mapping[str, tuple[int, int, int]] | None = None
    box_sides: tuple[tuple[float, float, float] | None, ...] = ()
    refused: tuple[str, ...] = ()
    doubtful: tuple[Finding, ...] = ()
    mended: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether it can be trained on."""
        return not self.refused


def check(folder: Path, *, format: str | None = None, seed: int = 0, without: Iterable[Path] = ()) -> Diagnosis:
    """Look at the data set in `folder` as `prepare` reads it. Nothing is written.

    Args:
        folder: Images and labels.
        format: As for `prepare`.
        seed: As for `prepare`.
        without: Folders in it that are not part of the data, such as the working directory of a training.

    Raises:
        UserError: `format` is not known. What is wrong with the data is in `refused` instead.
    """
    folder = Path(os.path.abspath(folder))
    try:
        listing = list_folder(folder, without)
        loaded = load(listing, format, seed)
    except DataError as error:
        return Diagnosis(folder, refused=tuple(str(error).splitlines()))
    return _diagnosis(listing, loaded)


def _diagnosis(listing: Listing, loaded: Loaded) -> Diagnosis:
    images = [(split, image) for split in SPLITS for image in loaded.splits[split]]
    sizes = np.array([(image["width"], image["height"]) for _, image in images])
    number = range(1, len(loaded.classes) + 1)
    counts = {
        split: Counter(box["category_id"] for image in loaded.splits[split] for box in image["boxes"] if not box["iscrowd"])
        for split in SPLITS
    }
    sides = _sides(loaded)
    return Diagnosis(
        listing.root,
        loaded.format,
        loaded.classes,
        loaded.own_splits,
        {split: len(loaded.splits[split]) for split in SPLITS},
        {split: sum(not image["boxes"] for image in loaded.splits[split]) for split in SPLITS},
        {split: tuple(counts[split][index] for index in number) for split in SPLITS},
        {key: _spread(sizes[:, axis], int) for axis, key in enumerate(("width", "height"))},
        tuple(_spread(sides[index], float) if index in sides else None for index in number),
        doubtful=tuple(_doubtful(listing, loaded, counts)),
        mended=tuple(loaded.notes),
        notes=tuple(loaded.told),
        examples=tuple(_examples(listing, loaded)),
    )


def _spread(values: Any, kind: Callable[[Any], Any]) -> Any:
    return kind(np.min(values)), kind(np.median(values)), kind(np.max(values))


def _scale(image: dict[str, Any]) -> float:
    return SIDE / max(image["width"], image["height"])


def _sides(loaded: Loaded) -> dict[int, list[float]]:
    """By class the sides of its boxes, resized."""
    found: dict[int, list[float]] = {}
    for split in SPLITS:
        for image in loaded.splits[split]:
            for box in image["boxes"]:
                side = (box["bbox"][2] * box["bbox"][3]) ** 0.5 * _scale(image)
                found.setdefault(box["category_id"], []).append(side)
    return found


def _doubtful(listing: Listing, loaded: Loaded, counts: Mapping[str, Counter[int]]) -> Findings:
    """What training takes as it is, though it may be wrong."""
    found = Findings()
    for split in SPLITS:
        for image in loaded.splits[split]:
            _look_at(image, loaded, split, found)
    for index, name in enumerate(loaded.classes, 1):
        if 0 < counts["train"][index] < FEW_BOXES:
            found.add(f"classes with fewer than {FEW_BOXES} boxes to train on", name, counts["train"][index])
    _compare(listing, loaded, found)
    return found


def _look_at(image: dict[str, Any], loaded: Loaded, split: str, found: Findings) -> None:
    """An image by itself."""
    name, fact = image["file_name"], loaded.facts[image["file_name"]]
    suffix = os.path.splitext(name)[1].lower()
    if fact.kind and suffix not in IMAGE_FORMATS.get(fact.kind, ()):
        found.add("images whose suffix tells another format than their content (read all the same)", name, fact.kind)
    if fact.turned:
        found.add("images turned by their EXIF orientation: boxes are expected in the image as it is shown", name)
    if image["width"] * image["height"] > HUGE_PIXELS:
        found.add("images of more than 25 megapixels, slow to read: make them smaller", name, (image["width"], image["height"]))
    scale = _scale(image)
    for box in image["boxes"]:
        if box["bbox"][2] * box["bbox"][3] * scale**2 < TINY**2:
            kind = f"boxes smaller than {TINY}x{TINY} pixels when the image is resized to {SIDE}: hardly to be found"
            found.add(kind, name, box["bbox"])
    for first, second in _double(image["boxes"]):
        kind = f"boxes of one class that cover each other by more than {DOUBLE:.0%}: marked twice?"
        found.add(kind, f"{name} ({split})", [first["bbox"], second["bbox"]])


def _double(boxes: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of boxes of one class with an IoU above DOUBLE."""
    if len(boxes) < 2:
        return []
    all_boxes, label = [box["bbox"] for box in boxes], np.array([box["category_id"] for box in boxes])
    found = []
    for start in range(0, len(boxes), 256):
        rows = slice(start, start + 256)
        double = (overlaps(all_boxes[rows], all_boxes) > DOUBLE) & (label[rows, None] == label)
        for first, second in np.argwhere(double).tolist():
            if start + first < second:
                found.append((boxes[start + first], boxes[second]))
    return found


def _compare(listing: Listing, loaded: Loaded, found: Findings) -> None:
    """Copies of images: within a split, and between splits, where they make what is measured too good."""
    split_of = {image["file_name"]: split for split in SPLITS for image in loaded.splits[split]}
    boxes_of = {image["file_name"]: image["boxes"] for split in SPLITS for image in loaded.splits[split]}
    facts = {name: loaded.facts[name] for name in sorted(split_of)}
    exact = set()
    for group in exact_copies(listing.root, facts):
        for first, second in combinations(group[:20], 2):
            exact.add((first, second))
            _pair(found, "exact copies of images", first, second, split_of)
            if boxes_of[first] != boxes_of[second]:
                found.add("exact copies of images with other boxes: which are right?", f"{first}, {second}")
    for first, second in near_copies(loaded.hashes, list(facts)):
        if (first, second) not in exact:
            _pair(found, "images that look alike", first, second, split_of)


def _pair(found: Findings, what: str, first: str, second: str, split_of: Mapping[str, str]) -> None:
    one, other = split_of[first], split_of[second]
    if one == other:
        found.add(f"{what} in one split", f"{first}, {second} ({one})")
    else:
        found.add(f"{what} in two splits: what is measured is too good", f"{first} ({one}), {second} ({other})")


def _examples(listing: Listing, loaded: Loaded) -> list[Example]:
    """EXAMPLES training images with boxes, so that each class is among them while there is room; the same at each call."""
    images = sorted(
        (image for image in loaded.splits["train"] if image["boxes"]),
        key=lambda image: hashlib.sha256(image["file_name"].encode("utf-8", "surrogateescape")).digest(),
    )
    shown: set[int] = set()
    chosen: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for image in images:
        own = {box["category_id"] for box in image["boxes"]}
        (others if own <= shown else chosen).append(image)
        shown |= own
    return [
        Example(
            listing.path(image["file_name"]),
            image["file_name"],
            "train",
            (image["height"], image["width"]),
            tuple((box["category_id"] - 1, tuple(box["bbox"])) for box in image["boxes"]),
        )
        for image in (chosen + others)[:EXAMPLES]
    ]
