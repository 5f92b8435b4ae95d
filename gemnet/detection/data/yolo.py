"""YOLO's text files, with data.yaml or without: a line an object, its class by number, box or polygon in fractions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gemnet.annotations.findings import number, plain_name, whole_number
from gemnet.core.errors import DataError
from gemnet.core.extras import need
from gemnet.detection.data.listing import Listing
from gemnet.detection.data.parallel import mapped
from gemnet.detection.data.sources import SPLITS, Builder, ImageFinder, Source, folder_of, split_named, split_of_folders
from gemnet.detection.data.text_files import lines_of, text_of

NAME_FILES = ("classes.txt", "obj.names", "classes.names", "labels.names", "coco.names", "data.names")
"""Files with a name of a class a line, where there is no data.yaml."""
LISTS = ("train.txt", "val.txt", "valid.txt", "test.txt", "trainval.txt", "readme.txt", "requirements.txt", "notes.json")
LINE = re.compile(r"[0-9]+(\.0*)?(\s+[-+.0-9eE]+){4,}")
LARGEST = 1 << 24
MOST_LINES = 100_000
OVER = 1.01
"""Fractions up to this are taken for rounding."""


def settings_files(listing: Listing) -> list[str]:
    """The files such as data.yaml that name classes, and where the images are."""
    found = []
    for name in listing.with_suffix(".yaml", ".yml"):
        if listing.files[name][0] < 1 << 20:
            content = listing.path(name).read_bytes().replace(b"\0", b"")
            if re.search(rb"^\s*[\"']?names[\"']?\s*:", content, re.MULTILINE) and re.search(
                rb"^\s*[\"']?(train|val|nc)[\"']?\s*:", content, re.MULTILINE
            ):
                found.append(name)
    return found


def label_files(listing: Listing, sample: int) -> list[str]:
    """The text files, if one of the first `sample` that are not empty has lines of YOLO's form."""
    files = [name for name in listing.with_suffix(".txt") if name.rpartition("/")[2].lower() not in (*NAME_FILES, *LISTS)]
    firsts = []
    for name in [name for name in files if listing.files[name][0]][:sample]:
        with listing.path(name).open("rb") as file:
            firsts += file.read(4096).decode("utf-8", "replace").lstrip("\ufeff").strip().splitlines()[:1]
    if not firsts:  # images without objects alone, where the files have names of images
        stems = {image.rpartition("/")[2].rpartition(".")[0] for image in listing.images}
        return [name for name in files if name.rpartition("/")[2][:-4] in stems]
    return files if any(LINE.fullmatch(first.strip()) for first in firsts) else []


def read_yolo(listing: Listing) -> Source:
    """Read all images and their text files. Raises DataError where data.yaml is broken, or no text file has an image."""
    source = Source(fractions=True)
    settings_file, settings = _settings(listing, source)
    names = _names(listing, settings_file, settings)
    labels = _label_of_image(listing, label_files(listing, 1000))
    rows = dict(zip(labels.values(), mapped(read_rows, [str(listing.path(name)) for name in labels.values()])))
    if not labels:
        raise DataError(
            f"{listing.root}: none of {len(listing.images)} images has a text file of its name, beside it or with the folder "
            "'labels' for 'images'"
        )
    keypoints = settings.get("kpt_shape") is not None
    classes = {name: index for index, name in enumerate(names, 1)} if names else {}
    builders = []
    for split, images in _splits(listing, settings_file, settings, source).items():
        builder = Builder(f"{listing.root}{'' if split is None else f' ({split})'}", classes)
        for image in images:
            own = builder.add_image(image, image)
            for place, problem, row in rows.get(labels.get(image, ""), []):
                _add(builder, own, f"{labels[image]}, line {place}", problem, row, names, keypoints, source)
        builders.append((split, builder))
    if not names:
        source.told.append("no names of classes (data.yaml, classes.txt): they are named by their numbers")
        ordered = sorted(classes, key=int)
        numbers = {classes[name]: index for index, name in enumerate(ordered, 1)}
        for _, builder in builders:
            for entry in builder.annotations:
                entry["category_id"] = numbers.get(entry["category_id"])
        classes.clear()
        classes.update((name, index) for index, name in enumerate(ordered, 1))
    for split, builder in builders:
        source.add(split, builder.part())
    without = sum(image not in labels for _, builder in builders for image in (e["file_name"] for e in builder.images))
    if without:
        source.told.append(f"{without} images have no text file: they are taken as images without boxes, as YOLO does")
    return source


def _add(
    builder: Builder, image: int, place: str, problem: str, row: list[Any], names: list[str], keypoints: bool, source: Source
) -> None:
    """One line of a text file."""
    if problem:
        source.refused.add(problem, place, row)
        return
    label, values = row[0], row[1:]
    if names and label >= len(names):
        source.refused.add(f"classes beyond the {len(names)} names (numbered from 0)", place, label)
        return
    if any(abs(value) > OVER for value in values[: 4 if keypoints else None]):
        source.refused.add("lines with values that are no fractions of the image, 0 to 1", place, values[:8])
        return
    if len(values) == 4 or keypoints:
        x, y, width, height = values[:4]
        box = [x - width / 2, y - height / 2, width, height]
    elif len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        source.notes.add("polygons, of which the box around them is taken", place)
    else:
        source.refused.add("lines that are neither a box (class x y width height) nor a polygon", place, row)
        return
    builder.add_box(image, names[label] if names else str(label), box, place)


def read_rows(path: str) -> list[tuple[int, str, list[Any]]]:
    """The lines of a text file: (number, "", [class, values...]), or (number, problem, texts). Raises DataError."""
    found: list[tuple[int, str, list[Any]]] = []
    for index, line in enumerate(text_of(Path(path), LARGEST).splitlines(), 1):
        texts = line.split()
        if not texts:
            continue
        if index > MOST_LINES:
            raise DataError(f"{path}: more than {MOST_LINES} lines; expected the objects of one image")
        label = whole_number(texts[0]) if "." not in texts[0] else whole_number(number(texts[0]))
        values = [number(text) for text in texts[1:]]
        if label is None or label < 0:
            found.append((index, "lines that do not begin with the number of a class", texts[:6]))
        elif any(value is None for value in values):
            found.append((index, "lines with a value that is not a finite number", texts[:6]))
        else:
            found.append((index, "", [label, *values]))
    return found


def _settings(listing: Listing, source: Source) -> tuple[str, dict[str, Any]]:
    """The name and the content of data.yaml; empty where there is none."""
    files = settings_files(listing)
    if not files:
        return "", {}
    files.sort(key=lambda name: (name.count("/"), name.rpartition("/")[2] not in ("data.yaml", "data.yml"), name))
    if len(files) > 1:
        source.told.append(f"{files[0]} is read; passed over: {', '.join(files[1:])}")
    need("detection", "yaml")
    import yaml

    try:
        content = yaml.safe_load(text_of(listing.path(files[0]), 1 << 20))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        raise DataError(f"{listing.path(files[0])}: broken YAML ({first}); mend it, or remove it") from error
    if not isinstance(content, dict):
        raise DataError(f"{listing.path(files[0])}: expected entries 'names', 'train' and 'val'")
    return files[0], content


def _names(listing: Listing, file: str, settings: dict[str, Any]) -> list[str]:
    """The names of the classes by number; none where they are nowhere."""
    given: Any = settings.get("names")
    if not file:
        files = [name for name in listing.with_suffix(".txt", ".names") if name.rpartition("/")[2].lower() in NAME_FILES]
        if not files:
            return []
        file = min(files, key=lambda name: (name.count("/"), name))
        given = lines_of(listing.path(file), 1 << 20)
    where = listing.path(file)
    if isinstance(given, dict):
        numbers = [whole_number(key) for key in given]
        if sorted(key for key in numbers if key is not None) != list(range(len(given))):
            raise DataError(f"{where}: names has the numbers {list(given)[:8]}; expected 0, 1, 2, ... without gaps")
        given = [name for _, name in sorted(zip(numbers, given.values()), key=lambda entry: entry[0] or 0)]
    if not isinstance(given, list) or not given or not all(isinstance(name, (str, int, float)) for name in given):
        raise DataError(f"{where}: names: expected a list of the names of the classes")
    names = [plain_name(str(name)) for name in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or "" in names:
        raise DataError(f"{where}: names: {twice or ''!r} is there twice, or empty; expected a name of its own for each class")
    return names


def _label_of_image(listing: Listing, labels: Iterable[str]) -> dict[str, str]:
    """By image its text file: `labels` in the place of the last `images` of its path, else beside it."""
    known = {label.rpartition(".")[0]: label for label in labels}
    found = {}
    for image in listing.images:
        stem = image.rpartition(".")[0]
        head, middle, tail = f"/{stem}".rpartition("/images/")
        for form in ((f"{head}/labels/{tail}".lstrip("/"),) if middle else ()) + (stem,):
            if form in known:
                found[image] = known[form]
                break
    if not found:  # labels apart from images: by their names alone, where these are unique
        stems: dict[str, list[str]] = {}
        for label in known:
            stems.setdefault(label.rpartition("/")[2], []).append(label)
        for image in listing.images:
            own = stems.get(image.rpartition("/")[2].rpartition(".")[0], [])
            if len(own) == 1:
                found[image] = known[own[0]]
    return found


def _splits(listing: Listing, file: str, settings: dict[str, Any], source: Source) -> dict[str | None, list[str]]:
    """The images of each split: by data.yaml, else by lists of images, else by folders."""
    found: dict[str | None, list[str]] = {}
    for split in SPLITS:
        given = settings.get(split, settings.get("valid") if split == "val" else None)
        entries = given if isinstance(given, list) else [given]
        for entry in entries:
            if isinstance(entry, str) and entry.strip():
                images = _images_of(listing, file, settings, entry.strip(), split, source)
                if not images and split != "test":
                    raise DataError(
                        f"{listing.path(file)}: {split}: {entry!r} leads to no images in {listing.root}; expected a folder "
                        "or a list of images in it"
                    )
                found.setdefault(split, []).extend(images)
    if not found:
        for name in listing.with_suffix(".txt"):
            base = name.rpartition("/")[2].lower()
            listed = split_named(base[:-4]) if base in LISTS else None
            if listed is not None:
                found.setdefault(listed, []).extend(_listed(listing, name, source))
    if not any(found.values()):
        found = {}
        for image in listing.images:
            found.setdefault(split_of_folders(image), []).append(image)
        if None in found and len(found) > 1:
            loose = found.pop(None)
            source.told.append(f"{len(loose)} images lie in no folder of a split, left out, first {loose[0]}")
    return {split: list(dict.fromkeys(images)) for split, images in found.items() if images}


def _images_of(listing: Listing, file: str, settings: dict[str, Any], entry: str, split: str, source: Source) -> list[str]:
    """The images that an entry of data.yaml means: a folder or a list; exporters write paths of their own machine."""
    entry = entry.replace("\\", "/")
    here, base = folder_of(file), settings.get("path")
    starts = [here, *([f"{here}/{base}", base] if isinstance(base, str) else []), ""]
    for start in starts:
        path = os.path.normpath(f"{start}/{entry}" if start else entry)
        if os.path.isabs(path):
            path = os.path.relpath(path, listing.root)
        found = _below(listing, path, source)
        if found:
            return found
    parts = [part for part in entry.split("/") if part not in ("", ".", "..")]
    for first in range(len(parts)):
        found = _below(listing, "/".join([*([here] if here else []), *parts[first:]]), source)
        if found:
            source.told.append(f"{file}: {split}: {entry!r} is taken as {'/'.join(parts[first:])}")
            return found
    return []


def _below(listing: Listing, path: str, source: Source) -> list[str]:
    if path in listing.files and path.endswith(".txt"):
        return _listed(listing, path, source)
    if path == ".":
        return list(listing.images)
    return [image for image in listing.images if image.startswith(path + "/")]


def _listed(listing: Listing, name: str, source: Source) -> list[str]:
    """The images that a list names, a path a line."""
    finder = ImageFinder(listing, source.notes)
    found = []
    for line in lines_of(listing.path(name)):
        image = finder.named(line, [folder_of(name), ""], name)
        if image is None:
            source.notes.add("lines of lists that name no image, left out", name, line)
        else:
            found.append(image)
    return found
