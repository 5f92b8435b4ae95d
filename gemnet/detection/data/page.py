"""The doctor's page: one HTML file that holds everything and asks the network for nothing; and the same for a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gemnet.annotations.findings import Finding
from gemnet.core.files import save_text
from gemnet.core.html_page import escaped, jpeg_url, page, section, table
from gemnet.core.telling import printable
from gemnet.detection.data.doctor import SIDE, Diagnosis, Example
from gemnet.detection.data.pictures import colour, drawn
from gemnet.detection.data.recognition import FORMATS
from gemnet.detection.data.sources import SPLITS
from gemnet.images.pixels import ImageError

Table = tuple[str, Sequence[str], list[Sequence[object]]]
"""A heading, the names of the columns, the rows."""


def write_page(diagnosis: Diagnosis, path: Path) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    save_text(path, _page(diagnosis))


def as_text(diagnosis: Diagnosis) -> str:
    """The page as plain text for a terminal, without the pictures; nothing in it acts on a terminal."""
    parts = [summary(diagnosis)]
    for heading, columns, rows in tables(diagnosis):
        cells = [list(map(printable, columns)), *(list(map(printable, row)) for row in rows)]
        widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
        lines = ["  ".join(_aligned(cell, width, at) for at, (cell, width) in enumerate(zip(row, widths))) for row in cells]
        parts.append("\n".join([heading, *(f"  {line}".rstrip() for line in lines)]))
    for heading, entries in lists(diagnosis):
        parts.append("\n".join([heading, *(f"  - {printable(entry)}" for entry in entries)]))
    return "\n\n".join(parts)


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def summary(diagnosis: Diagnosis) -> str:
    """What it is, and whether it can be trained on."""
    near = os.path.relpath(diagnosis.root)
    root = printable(diagnosis.root if near.startswith(os.pardir) else near)
    if diagnosis.images is None or diagnosis.boxes is None:
        return f"{root}: cannot be trained on before this is mended."
    images, boxes = sum(diagnosis.images.values()), sum(map(sum, diagnosis.boxes.values()))
    kind = FORMATS[diagnosis.format][0] if diagnosis.format else ""
    classes = f"{len(diagnosis.classes)} class{'es' * (len(diagnosis.classes) > 1)}"
    doubts = "; see what is worth a look" if diagnosis.doubtful else ""
    return f"{root}: {kind}, {images:,} images, {boxes:,} boxes of {classes}. It can be trained on{doubts}."


def tables(diagnosis: Diagnosis) -> Iterator[Table]:
    """The figures; none where the data are refused."""
    if diagnosis.images is None or diagnosis.boxes is None or diagnosis.without_boxes is None or not diagnosis.image_sizes:
        return
    made = {split: "" if split in diagnosis.own_splits else " (made)" for split in SPLITS}
    rows: list[Sequence[object]] = [
        (split + made[split], diagnosis.images[split], diagnosis.without_boxes[split], sum(diagnosis.boxes[split]))
        for split in SPLITS
    ]
    yield "Splits", ("split", "images", "of these without boxes (kept)", "boxes"), rows
    rows = []
    for index, name in enumerate(diagnosis.classes):
        sides = diagnosis.box_sides[index]
        spread = ("", "", "") if sides is None else tuple(f"{side:.0f}" for side in sides)
        rows.append((name, *(diagnosis.boxes[split][index] for split in SPLITS), *spread))
    columns = ("class", *SPLITS, "least side", "median", "greatest")
    yield f"Boxes a class, and the root of their area in pixels at {SIDE}", columns, rows
    rows = [(key, *sizes) for key, sizes in diagnosis.image_sizes.items()]
    yield "Sizes of images in pixels", ("side", "least", "median", "greatest"), rows


def lists(diagnosis: Diagnosis) -> Iterator[tuple[str, list[str]]]:
    """Headings with what was found, those that have entries."""
    for heading, entries in (
        ("To be mended before training", diagnosis.refused),
        ("Worth a look", diagnosis.doubtful),
        ("Mended in memory", diagnosis.mended),
        ("To be known", diagnosis.notes),
    ):
        if entries:
            yield heading, list(map(str, entries))


def _page(diagnosis: Diagnosis) -> str:
    body = []
    for heading, entries in lists(diagnosis):
        if heading.startswith("To be mended"):
            body.append(section(heading, f"<ul class=bad>{_items(entries)}</ul>"))
    for heading, columns, rows in tables(diagnosis):
        body.append(section(heading, table(columns, rows)))
    for heading, found in (("Worth a look", diagnosis.doubtful), ("Mended in memory", diagnosis.mended)):
        if found:
            body.append(section(heading, f"<ul>{''.join(map(_finding, found))}</ul>"))
    if diagnosis.notes:
        body.append(section("To be known", f"<ul>{_items(diagnosis.notes)}</ul>"))
    if diagnosis.examples:
        figures = "".join(_figure(example, diagnosis.classes) for example in diagnosis.examples)
        body.append(section(f"Training images, resized to {SIDE}", f"<div class=figures>{figures}</div>"))
    title = f"Data set {os.path.basename(diagnosis.root) or diagnosis.root}"
    return page(title, "\n".join([f"<p>{escaped(summary(diagnosis))}</p>", *body]))


def _items(entries: Iterable[str]) -> str:
    return "".join(f"<li>{escaped(entry)}</li>" for entry in entries)


def _finding(finding: Finding) -> str:
    if not finding.count:
        return f"<li>{escaped(finding.kind)}</li>"
    first = "; ".join(finding.first) + ("; ..." if finding.count > len(finding.first) else "")
    return f"<li>{escaped(finding.kind)}: {finding.count:,}<small>{escaped(first)}</small></li>"


def _figure(example: Example, classes: Sequence[str]) -> str:
    labels = sorted({label for label, _ in example.boxes})
    counts = ", ".join(
        f'<b style="border-color:rgb{colour(label)}">{escaped(classes[label])}'
        f" {sum(other == label for other, _ in example.boxes)}</b>"
        for label in labels
    )
    caption = f"<figcaption>{escaped(example.name)}: {counts}</figcaption>"
    try:
        address = jpeg_url(drawn(example, classes), 88)
    except ImageError as error:
        return f"<figure><p>{escaped(error)}</p>{caption}</figure>"
    alt = f"{escaped(example.name)} with {len(example.boxes)} boxes"
    return f'<figure><img width="{SIDE}" height="{SIDE}" src="{address}" alt="{alt}">{caption}</figure>'
