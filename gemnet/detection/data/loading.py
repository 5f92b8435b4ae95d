"""A data set in memory: read, mended, checked, in three splits."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from gemnet.annotations.coco import check_coco, content_classes
from gemnet.annotations.findings import TOLD, Findings, plain_name
from gemnet.core.errors import DataError
from gemnet.detection.data.listing import Listing
from gemnet.detection.data.recognition import FORMATS, recognised
from gemnet.detection.data.scanning import ImageFacts, scan
from gemnet.detection.data.similarity import PerceptualHashes
from gemnet.detection.data.sources import SPLITS, Part, Source
from gemnet.detection.data.splitting import divide

NO_BOX = "there is not one box in its"
UNREADABLE = "images that cannot be read, left out (mend them, or fetch them again)"


@dataclass
class Loaded:
    """A data set that has been checked.

    Attributes:
        format: A key of `recognition.FORMATS`.
        classes: In the order of the labels.
        splits: train, val and test -> the images, {"id", "file_name", "width", "height", "boxes"}, the boxes as COCO's
            annotations.
        own_splits: The splits that the data set came with.
        facts: Of all its image files.
        notes: What was mended, counted by kind.
        told: What a user should know, a sentence each.
        hashes: By which images are compared.
    """

    format: str
    classes: tuple[str, ...]
    splits: dict[str, list[dict[str, Any]]]
    own_splits: tuple[str, ...]
    facts: Mapping[str, ImageFacts]
    notes: Findings
    told: list[str]
    hashes: PerceptualHashes


def load(listing: Listing, format: str | None = None, seed: int = 0) -> Loaded:
    """Read the labels in a folder and check them against the images.

    Raises DataError that names file, entry and value where something cannot be mended.
    """
    with _without_collector():
        return _load(listing, format, seed)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause Python's search for garbage: of a million small objects none is, and looking takes a quarter of the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _load(listing: Listing, format: str | None, seed: int) -> Loaded:
    kind = recognised(listing, format)
    source = FORMATS[kind][1](listing)
    if source.refused:
        raise DataError(f"{listing.root}: " + "\n".join(map(str, source.refused)))
    if not source.splits:
        raise DataError(f"{listing.root}: no images with labels in {FORMATS[kind][0]}")
    if not any(part.content["annotations"] for part in _parts(source)):
        raise DataError(f"{listing.root}: {NO_BOX} {sum(len(part.content['images']) for part in _parts(source))} images")
    names = {image["file_name"] for part in _parts(source) for image in _images(part)}
    facts = scan(listing.root, sorted(name for name in names if name in listing.files))
    classes = _classes(source)
    splits, problems = {}, []
    for split, parts in source.splits.items():
        splits[split], found = _split(listing, parts, classes, facts, source)
        problems += found
    if problems:
        raise DataError("\n".join(problems))
    if not any(image["boxes"] for images in splits.values() for image in images):
        raise DataError(f"{listing.root}: {NO_BOX} {sum(map(len, splits.values()))} images")
    own = tuple(split for split in SPLITS if splits.get(split))
    hashes = PerceptualHashes(listing.root)
    divided, made = divide(listing.root, splits, facts, seed, hashes)
    told = [*source.told, *_differences(source), *_classes_told(classes, divided), *_shared(divided), *made]
    return Loaded(kind, classes, divided, own, facts, source.notes, told, hashes)


def _split(
    listing: Listing, parts: list[Part], classes: tuple[str, ...], facts: Mapping[str, ImageFacts], source: Source
) -> tuple[list[dict[str, Any]], list[str]]:
    """The images of all parts of a split, and what is wrong with them."""
    images: list[dict[str, Any]] = []
    problems = []
    for part in parts:
        try:
            images += _checked(listing, part, classes, facts, source)
        except DataError as error:
            problems.append(str(error))
    seen: set[str] = set()
    for image in images:
        if image["file_name"] in seen:
            problems.append(f"{listing.path(image['file_name'])}: several files of labels have boxes of it; keep one")
        seen.add(image["file_name"])
    return images, problems


def _differences(source: Source) -> list[str]:
    """Categories that have other ids, or another order, in another file: they are told apart by their names."""
    parts = _parts(source)
    tables = []
    for part in parts:
        entries = [entry for entry in part.content["categories"] if isinstance(entry, dict)]
        tables.append({str(entry.get("name")): entry.get("id") for entry in entries})
    told = []
    for part, table in zip(parts[1:], tables[1:]):
        same = [name for name in table if name in tables[0]]
        moved = [name for name in same if table[name] != tables[0][name]]
        if moved:
            told.append(
                f"{part.name} numbers classes otherwise than {parts[0].name}, first {moved[0]!r} ({table[moved[0]]} and "
                f"{tables[0][moved[0]]}): they are taken by their names"
            )
        elif same != [name for name in tables[0] if name in table]:
            told.append(f"{part.name} lists classes in another order than {parts[0].name}, which is taken")
    return told


def _classes_told(classes: tuple[str, ...], splits: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Classes that cannot be learned, or not be measured."""
    counts = {split: Counter(box["category_id"] for image in splits[split] for box in image["boxes"]) for split in splits}
    boxless, unlearned, single = [], [], []
    for index, name in enumerate(classes, 1):
        of = {split: counts[split][index] for split in splits}
        if not sum(of.values()):
            boxless.append(name)
        elif not of["train"]:
            unlearned.append(name)
        elif sum(of.values()) == 1:
            single.append(name)
    told = []
    for names, what in (
        (boxless, "no box"),
        (unlearned, "boxes to validate or test with, but none to train on"),
        (single, "one box in all, so that they cannot be measured: more photos of them would help"),
    ):
        if names:
            told.append(f"{len(names)} of {len(classes)} classes have {what}: {', '.join(names)}")
    folded: dict[str, str] = {}
    for name in classes:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            told.append(f"classes {other!r} and {name!r} differ in case alone: are they one?")
    told += [f"no image of {split} has a box: it measures false alarms alone" for split in splits if not counts[split]]
    return told


def _shared(splits: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Images that are in two splits by their very names."""
    names = {split: {image["file_name"] for image in images} for split, images in splits.items()}
    told = []
    for first, second in combinations(SPLITS, 2):
        both = sorted(names[first] & names[second])
        if both:
            told.append(f"{len(both)} images are in {first} and {second} alike, first {both[0]}: what is measured is too good")
    return told


def _parts(source: Source) -> list[Part]:
    return [part for parts in source.splits.values() for part in parts]


def _images(part: Part) -> list[dict[str, Any]]:
    images = part.content["images"]
    return [image for image in images if isinstance(image, dict) and isinstance(image.get("file_name"), str)]


def _classes(source: Source) -> tuple[str, ...]:
    """The classes of all parts, those of the training set first, each part's in its order."""
    parts = [part for split in (None, *SPLITS) for part in source.splits.get(split, [])]
    return tuple(dict.fromkeys(name for part in parts for name in content_classes(part.content, part.name)[0]))


def _checked(
    listing: Listing, part: Part, classes: tuple[str, ...], facts: Mapping[str, ImageFacts], source: Source
) -> list[dict[str, Any]]:
    """The images of a part with their boxes, mended; those of `classes` are numbered from 1 in their order."""
    part = _without_unreadable(listing, part, facts, source.notes)
    if source.fractions:
        _to_pixels(part, facts)
    own = content_classes(part.content, part.name)[0]
    for entry in part.content["categories"]:
        if plain_name(str(entry["name"])) not in classes:
            source.notes.add("super-classes without a box, left out", part.name, entry["name"])
    sizes = {name: fact.size for name, fact in facts.items()}
    found = check_coco(
        part.content, part.name, listing.root, [name for name in classes if name in own], places=part.places, sizes=sizes
    )
    source.notes.merge(found.notes)
    label = {category["id"]: classes.index(category["name"]) + 1 for category in found.content["categories"]}
    boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in found.content["images"]}
    for entry in found.content["annotations"]:
        kept = {"category_id": label[entry["category_id"]], **{key: entry[key] for key in ("bbox", "area", "iscrowd")}}
        boxes[entry["image_id"]].append(kept)
    keys = ("file_name", "width", "height")
    return [{**{key: image[key] for key in keys}, "boxes": boxes[image["id"]]} for image in found.content["images"]]


def _to_pixels(part: Part, facts: Mapping[str, ImageFacts]) -> None:
    """Multiply the boxes of a part by the sizes of their images."""
    sizes = {image["id"]: facts[image["file_name"]].size for image in part.content["images"] if image["file_name"] in facts}
    for entry in part.content["annotations"]:
        size, box = sizes.get(entry["image_id"]), entry["bbox"]
        if size is not None and isinstance(box, list):
            entry["bbox"] = [round(value * size[1 - index % 2], 3) for index, value in enumerate(box)]
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]


def _without_unreadable(listing: Listing, part: Part, facts: Mapping[str, ImageFacts], notes: Findings) -> Part:
    """The part without images that cannot be read. Raises DataError where these are more than half of it."""
    broken: dict[int, dict[str, Any]] = {}
    for index, image in enumerate(part.content["images"]):
        name = image.get("file_name") if isinstance(image, dict) else None
        fact = facts.get(name) if isinstance(name, str) else None
        if fact is not None and fact.size is None:
            broken[index] = image
            notes.add(UNREADABLE, f"{listing.path(str(name))}: {fact.problem}")
    if not broken:
        return part
    images = part.content["images"]
    if len(broken) * 2 > len(images):
        first = [f"{listing.path(image['file_name'])}: {facts[image['file_name']].problem}" for image in broken.values()]
        told = "\n".join(first[:TOLD])
        raise DataError(f"{part.name}: {len(broken)} of {len(images)} images cannot be read; fetch them again\n{told}")
    ids = {str(image.get("id")) for image in broken.values()}
    annotations = part.content["annotations"]
    of = [
        index for index, entry in enumerate(annotations) if not (isinstance(entry, dict) and str(entry.get("image_id")) in ids)
    ]
    kept = [index for index in range(len(images)) if index not in broken]
    places = {
        key: [part.places[key][index] for index in indices]
        for key, indices in (("images", kept), ("annotations", of))
        if key in part.places
    }
    content = {**part.content, "images": [images[index] for index in kept], "annotations": [annotations[i] for i in of]}
    return Part(part.name, content, places)
