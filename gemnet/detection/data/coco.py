"""COCO's JSON: one file, a file a split in `annotations/`, or one in each of the folders train, valid and test."""

from __future__ import annotations

import re
from typing import Any

from gemnet.annotations.json_file import read_json
from gemnet.core.errors import DataError
from gemnet.core.files import open_regular
from gemnet.detection.data.listing import Listing
from gemnet.detection.data.sources import ImageFinder, Part, Source, folder_of, split_named, split_of_file

PEEK = 1 << 16
"""Bytes at the start and the end of a JSON file by which it is recognised."""
SAMPLE = 50


def is_coco(listing: Listing, name: str) -> bool:
    """Whether a JSON file looks like COCO's: an object with `images` and `annotations` or `categories`."""
    try:
        with open_regular(listing.path(name)) as file:
            start = file.read(PEEK)
            file.seek(max(0, listing.files[name][0] - PEEK))
            end = file.read(PEEK)
    except OSError:
        return False
    text = (start + b" " + end).replace(b"\0", b"")  # UTF-16 and UTF-32
    if re.match(rb"[^{]{0,16}\{", text) is None:
        return False
    return sum(f'"{key}"'.encode() in text for key in ("images", "annotations", "categories")) >= 2


def read_coco_files(listing: Listing) -> Source:
    """Read all files of COCO's form. Raises DataError where one is broken, or two are of one split and the same images."""
    source = Source()
    finder = ImageFinder(listing, source.notes)
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name in listing.with_suffix(".json"):
        if not is_coco(listing, name):
            continue
        content = read_json(listing.path(name))
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            continue
        if not isinstance(content.get("annotations"), list) or not content.get("categories"):
            source.told.append(f"{name}: has no annotations of objects, passed over")
            continue
        found.setdefault(split_of_file(name) or "", []).append((name, content))
    for split, files in found.items():
        chosen = _without_repeats(listing, split, files, source)
        for name, content in chosen:
            source.add(split or None, _part(listing, name, split, content, finder))
    if None in source.splits and len(source.splits) > 1:
        source.splits = _without_union(source)
    parts = [part for parts in source.splits.values() for part in parts]
    taken = {str(image.get("file_name")) for part in parts for image in part.content["images"] if isinstance(image, dict)}
    left = [image for image in listing.images if image not in taken]
    if left:
        source.told.append(f"{len(left)} images are in no JSON file that is read, left out, first {left[0]}")
    return source


def _without_repeats(
    listing: Listing, split: str, files: list[tuple[str, dict[str, Any]]], source: Source
) -> list[tuple[str, dict[str, Any]]]:
    """Of several files of one split: those with boxes of other images each, or COCO's own `instances_`."""
    files = [entry for entry in files if _has_boxes(entry[1])] or files
    instances = [entry for entry in files if entry[0].rpartition("/")[2].startswith("instances")]
    if len(files) > 1 and len(instances) == 1:
        others = ", ".join(name for name, _ in files if name != instances[0][0])
        source.told.append(f"{instances[0][0]} is read of the {split or 'whole'} set; passed over: {others}")
        return instances
    seen: dict[str, str] = {}
    for name, content in files:
        for image in content["images"]:
            key = str(image.get("file_name")) if isinstance(image, dict) else ""
            if seen.setdefault(f"{folder_of(name)}/{key}", name) != name:
                raise DataError(
                    f"{listing.root}: {seen[f'{folder_of(name)}/{key}']} and {name} both have annotations of the image {key}"
                    f"{f' for {split}' if split else ''}; keep the one that counts, or put the boxes of an image into one file"
                )
    return files


def _has_boxes(content: dict[str, Any]) -> bool:
    entries = [entry for entry in content["annotations"][:SAMPLE] if isinstance(entry, dict)]
    return not entries or any("bbox" in entry or "segmentation" in entry for entry in entries)


def _without_union(source: Source) -> dict[str | None, list[Part]]:
    """The splits, without files of no split: they sum up the others, or their place is not known."""
    splits = dict(source.splits)
    for part in splits.pop(None):
        source.told.append(f"{part.name}: its name and folders tell no split, as those of others do; left out")
    return splits


def _part(listing: Listing, name: str, split: str, content: dict[str, Any], finder: ImageFinder) -> Part:
    """A file's content with the paths of its images relative to the folder."""
    images = content["images"]
    names = [image["file_name"] for image in images if isinstance(image, dict) and isinstance(image.get("file_name"), str)]
    folders = _image_folders(listing, name, split, names[:: max(1, len(names) // SAMPLE)])
    moved, places = [], []
    for index, image in enumerate(images):
        own = f" (id {image['id']!r:.40})" if isinstance(image, dict) and "id" in image else ""
        places.append(f"images[{index}]{own}")
        given = image.get("file_name") if isinstance(image, dict) else None
        path = finder.named(given, folders, f"{name}, {places[-1]}") if isinstance(given, str) and given.strip() else None
        moved.append(image if path is None else {**image, "file_name": path})
    return Part(str(listing.path(name)), {**content, "images": moved}, {"images": places})


def _image_folders(listing: Listing, name: str, split: str, sample: list[str]) -> list[str]:
    """Folders in which the images of a file may lie, that which has most of `sample` first."""
    here = folder_of(name)
    above = folder_of(here)
    stem = name.rpartition("/")[2].rpartition(".")[0]
    folders = {folder_of(path) for path in listing.images}
    near = [here, f"{here}/images".lstrip("/"), above, f"{above}/images".lstrip("/"), "", "images"]
    ends = [folder for folder in sorted(folders) if stem.endswith(folder.rpartition("/")[2] or "\0")]
    same = [folder for folder in sorted(folders) if split and split_named(folder.rpartition("/")[2]) == split]
    tried = list(dict.fromkeys([*near, *ends, *same, *sorted(folders)]))[:1000]

    def found(folder: str) -> int:
        return sum((f"{folder}/{given}" if folder else given) in listing.files for given in sample)

    return sorted(tried, key=found, reverse=True)[:3]
