"""Which format the labels in a folder have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from gemnet.core.errors import DataError, UserError
from gemnet.core.files import open_regular
from gemnet.detection.data.coco import is_coco, read_coco_files
from gemnet.detection.data.listing import Listing
from gemnet.detection.data.sources import Source
from gemnet.detection.data.table import is_table, read_tables
from gemnet.detection.data.voc import read_voc
from gemnet.detection.data.yolo import label_files, read_yolo, settings_files

FORMATS: dict[str, tuple[str, Callable[[Listing], Source]]] = {
    "coco": ("COCO JSON", read_coco_files),
    "voc": ("Pascal VOC XML", read_voc),
    "yolo": ("YOLO text files", read_yolo),
    "csv": ("CSV", read_tables),
}
"""The name of a format -> what it is, and what reads it."""
SAMPLE = 50
EXPECTED = (
    "expected one of: COCO's JSON; Pascal VOC's XML, an image each; YOLO's data.yaml or text files, an image each; CSV with "
    "columns such as filename, class, xmin, ymin, xmax, ymax"
)


def recognised(listing: Listing, format: str | None = None) -> str:
    """The format of the labels in a folder, a key of FORMATS; `format`, where it is given, if there are labels of it.

    Raises UserError for an unknown format, DataError where there are no labels, or those of several formats.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    found = {name: files for name, files in labels(listing).items() if files}
    if format is not None:
        if format not in found:
            raise DataError(f"{listing.root}: has no {FORMATS[format][0]}; {_instead(listing, found)}")
        return format
    if len(found) > 1:
        kinds = "; ".join(f"{name}: {_count(files)}" for name, files in found.items())
        raise DataError(
            f"{listing.root}: has labels of {len(found)} formats ({kinds}); choose one with format={' or '.join(found)} "
            f"(--format on the command line), or take the others out of the folder"
        )
    if not found:
        raise DataError(f"{listing.root}: no labels were recognised; {_instead(listing, found)}")
    return next(iter(found))


def labels(listing: Listing) -> dict[str, list[str]]:
    """For each format the files that look like its labels."""
    return {
        "coco": [name for name in listing.with_suffix(".json") if is_coco(listing, name)],
        "voc": _sampled(listing, listing.with_suffix(".xml"), rb"<annotation[\s>]"),
        "yolo": settings_files(listing) or label_files(listing, SAMPLE),
        "csv": [name for name in listing.with_suffix(".csv", ".tsv") if is_table(listing, name)],
    }


def _sampled(listing: Listing, files: tuple[str, ...], pattern: bytes) -> list[str]:
    """`files`, where one of the first SAMPLE of them has `pattern` near its start."""
    return list(files) if any(re.search(pattern, _start(listing.path(name))) for name in files[:SAMPLE]) else []


def _start(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(4096).replace(b"\0", b"")
    except OSError:
        return b""


def _count(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{len(files)} files, first {files[0]}"


def _instead(listing: Listing, found: dict[str, list[str]]) -> str:
    if found:
        return "it has " + "; ".join(f"{FORMATS[name][0]}, {_count(files)}" for name, files in found.items())
    kinds: dict[str, int] = {}
    for name in listing.files:
        if name not in listing.images:
            suffix = Path(name).suffix.lower() or "no suffix"
            kinds[suffix] = kinds.get(suffix, 0) + 1
    others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items(), key=lambda kind: -kind[1])[:5])
    there = f"{len(listing.images)} images" + (f" and {others}" if others else "") if listing.images else others
    return f"there are {there or 'no files'}; {EXPECTED}"
