"""CSV, a line a box, as small public sets have it: with names of columns, or RetinaNet's `path,x1,y1,x2,y2,class` without."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from gemnet.annotations.findings import number, plain_name, whole_number
from gemnet.core.errors import DataError
from gemnet.core.files import open_regular
from gemnet.detection.data.listing import Listing
from gemnet.detection.data.sources import (
    Builder,
    ImageFinder,
    Part,
    Source,
    corners_box,
    folder_of,
    split_named,
    split_of_file,
)  # fmt: skip
from gemnet.detection.data.text_files import text_of

LARGEST = 1 << 28
"""Bytes of a CSV file; larger ones are refused."""
COLUMNS = {
    "file": "filename file image imageid imagename imagepath path filepath imgname img imagefilename filenames",
    "class": "class label labelname classname category categoryname name objectclass classid labels",
    "x1": "xmin x1 left bboxxmin xtl", "y1": "ymin y1 top bboxymin ytl",
    "x2": "xmax x2 right bboxxmax xbr", "y2": "ymax y2 bottom bboxymax ybr",
    "x": "x bboxx", "y": "y bboxy", "w": "w bboxwidth bboxw boxwidth", "h": "h bboxheight bboxh boxheight",
    "bbox": "bbox box boundingbox",
    "width": "width imagewidth imgwidth", "height": "height imageheight imgheight",
    "split": "split set subset usage partition",
}  # fmt: skip
"""What a column holds -> the names that it may have, in lower case, letters and figures alone."""
_MEANING = {name: meaning for meaning, names in COLUMNS.items() for name in names.split()}
HEADLESS = ("file", "x1", "y1", "x2", "y2", "class")


def columns_of(line: str) -> tuple[str, list[str]] | None:
    """The delimiter and what each column holds, by a file's first line; None where it is no table of boxes."""
    for delimiter in (",", ";", "\t"):
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        columns = [_MEANING.get(re.sub(r"[^a-z0-9]", "", cell.lower()), "") for cell in cells]
        if {"x", "y", "width", "height"} <= set(columns) and not {"w", "x1"} & set(columns):  # a box's, beside x and y
            columns = [{"width": "w", "height": "h"}.get(column, column) for column in columns]
        has = set(columns)
        if "file" in has and ({"x1", "y1", "x2", "y2"} <= has or {"x", "y", "w", "h"} <= has or "bbox" in has):
            return delimiter, columns
        if len(cells) == 6 and re.search(r"\.\w{2,5}$", cells[0]) and all(_is_number_or_empty(cell) for cell in cells[1:5]):
            return delimiter, list(HEADLESS)
    return None


def _is_number_or_empty(cell: str) -> bool:
    return not cell.strip() or number(cell) is not None


def is_table(listing: Listing, name: str) -> bool:
    """Whether a CSV file is a table of boxes, by its first line."""
    try:
        with open_regular(listing.path(name)) as file:
            start = file.read(1 << 14)
    except OSError:
        return False
    lines = start.replace(b"\0", b"").decode("utf-8", "replace").lstrip("\ufeff\ufffd").splitlines()
    return bool(lines) and columns_of(lines[0]) is not None


def read_tables(listing: Listing) -> Source:
    """Read all tables of boxes. Raises DataError that names a file that cannot be read."""
    source = Source()
    finder = ImageFinder(listing, source.notes)
    classes: dict[str, int] = {}
    builders: dict[str | None, dict[str, Builder]] = {}
    images: dict[str, set[str]] = {}
    for name in listing.with_suffix(".csv", ".tsv"):
        if is_table(listing, name):
            own = _read_table(listing, name, classes, finder, source)
            for split, builder in own.items():
                builders.setdefault(split, {})[name] = builder
                images.setdefault(name, set()).update(image["file_name"] for image in builder.images)
    if None in builders and len(builders) > 1:
        for name in builders.pop(None):
            source.told.append(f"{name}: its name and folders tell no split, as those of others do; left out")
    if None in builders and len(builders[None]) > 1:
        _without_repeats(listing, builders[None], images, source)
    taken: set[str] = set()
    for split, parts in builders.items():
        for name, builder in parts.items():
            taken |= images[name]
            part = builder.part()
            source.add(split, Part(str(listing.path(name)), part.content, part.places))
    left = [image for image in listing.images if image not in taken]
    if left:
        source.told.append(f"{len(left)} images are in no table that is read, left out, first {left[0]}")
    source.fractions = _all_fractions(source)
    return source


def _without_repeats(listing: Listing, builders: dict[str, Builder], images: dict[str, set[str]], source: Source) -> None:
    """Of tables of no split, leave out those whose images are all in others."""
    for name in sorted(builders, key=lambda name: (len(images[name]), name)):
        others = set().union(*(images[other] for other in builders if other != name))
        if len(builders) > 1 and images[name] <= others:
            source.told.append(f"{name}: all its images are in other tables; left out")
            del builders[name]


def _all_fractions(source: Source) -> bool:
    """Whether all boxes are fractions of their image: as pixels each would be smaller than one."""
    boxes = [entry["bbox"] for parts in source.splits.values() for part in parts for entry in part.content["annotations"]]
    values = [value for box in boxes if isinstance(box, list) for value in box]
    found = bool(values) and all(isinstance(value, (int, float)) and -0.01 <= value <= 1.01 for value in values)
    if found:
        source.told.append("boxes are fractions of their image, taken times its size")
    return found


def _read_table(
    listing: Listing, name: str, classes: dict[str, int], finder: ImageFinder, source: Source
) -> dict[str | None, Builder]:
    """A builder for each split that a file tells, by a column or by its name."""
    text = text_of(listing.path(name), LARGEST)
    first = text.splitlines()[0]
    delimiter, columns = columns_of(first) or (",", [])
    headless = columns == list(HEADLESS) and number(next(csv.reader([first], delimiter=delimiter))[1]) is not None
    place_of = {meaning: index for index, meaning in reversed(list(enumerate(columns))) if meaning}
    default = split_of_file(name)
    builders: dict[str | None, Builder] = {}
    numbers: dict[tuple[str | None, str], int] = {}
    folders = [folder_of(name), "images", "", f"{folder_of(folder_of(name))}/images".lstrip("/")]
    for line, row in _rows(listing, name, text, delimiter, skip=not headless):
        place = f"{name}, line {line}"
        cells = {meaning: row[index].strip() for meaning, index in place_of.items() if index < len(row)}
        given = cells.get("file", "")
        if not given:
            source.refused.add("lines without the name of an image", place, row[:8])
            continue
        split = split_named(cells.get("split", "")) or default
        builder = builders.setdefault(split, Builder(name, classes))
        key = (split, given)
        if key not in numbers:
            image = finder.named(given, folders, place) or finder.anywhere(given) or given
            width, height = (whole_number(cells.get(side)) for side in ("width", "height"))
            numbers[key] = builder.add_image(image, place, width, height)
        raw, box = _box(cells, source, place)
        if all(value == "" for value in raw):
            source.notes.add("lines without a box: images without boxes", place)
            continue
        label = plain_name(cells["class"]) if "class" in cells else "object"
        if label:
            builder.add_box(numbers[key], label, box, place)
        else:
            source.refused.add("boxes without a class", place, row[:8])
    if "class" not in place_of:
        source.told.append(f"{name}: has no column of classes: all are of one, 'object'")
    return builders


def _box(cells: dict[str, str], source: Source, place: str) -> tuple[Sequence[str], list[Any]]:
    """The texts of a box and the box."""
    if "x1" in cells:
        raw = [cells.get(key, "") for key in ("x1", "y1", "x2", "y2")]
        return raw, corners_box(_numbers(raw), source.notes, place)
    if "bbox" in cells:
        raw = re.sub(r"[\[\]()]", " ", cells["bbox"]).replace(",", " ").split()
        raw = [""] if raw in ([], ["nan"]) else raw
    else:
        raw = [cells.get(key, "") for key in ("x", "y", "w", "h")]
    return raw, _numbers(raw)


def _numbers(texts: Sequence[str]) -> list[Any]:
    """Numbers where they are that, else the texts."""
    return [text if (value := number(text)) is None else value for text in texts]


def _rows(listing: Listing, name: str, text: str, delimiter: str, skip: bool) -> Iterator[tuple[int, list[str]]]:
    """The rows with the number of their line. Raises DataError where the file is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for index, row in enumerate(reader):
            if any(cell.strip() for cell in row) and not (skip and index == 0):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{listing.path(name)}: line {reader.line_num}: broken CSV ({error}); mend it") from error
