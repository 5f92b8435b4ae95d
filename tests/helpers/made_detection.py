"""Small data sets for detection: the same photos and boxes in every form in which people have them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("red", "blue")
SIZE = (96, 64)
"""Width and height of the photos."""


def photo(path: Path, seed: int, size: tuple[int, int] = SIZE, **saved: object) -> Path:
    """A photo that looks like no other of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, **saved)
    return path


def truth(count: int, first: int = 0) -> dict[str, list[tuple[str, tuple[int, int, int, int]]]]:
    """By photo its boxes (class, x, y, width, height): one or two of each, in turn; each tenth photo has none."""
    found = {}
    for index in range(first, first + count):
        boxes = [(CLASSES[index % 2], (4 + index % 20, 8, 24, 16)), ("red", (40, 20 + index % 9, 32, 32))]
        found[f"p{index:03d}.jpg"] = [] if index % 10 == 9 else boxes[: 1 + index % 3 % 2]
    return found


def photos(folder: Path, names: object) -> None:
    for name in names:
        photo(folder / name, int(Path(name).stem[1:]))


def write_coco(file: Path, boxes: dict, prefix: str = "", categories: object = None, **changes: object) -> None:
    names = {name: number for number, name in enumerate(CLASSES, 1)} if categories is None else categories
    images = [
        {"id": number, "file_name": prefix + name, "width": SIZE[0], "height": SIZE[1]} for number, name in enumerate(boxes, 1)
    ]
    annotations = [
        {"image_id": number, "category_id": names[label], "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
        for number, own in enumerate(boxes.values(), 1)
        for label, box in own
    ]
    for number, entry in enumerate(annotations, 1):
        entry["id"] = number
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in names.items()],
        **changes,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def voc(name: str, boxes: list, size: tuple[int, int] = SIZE, more: str = "") -> str:
    objects = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + width}</xmax><ymax>{y + height}</ymax></bndbox></object>"
        for label, (x, y, width, height) in boxes
    )
    width, height = size
    return (
        f"<annotation>{more}<filename>{name}</filename><size><width>{width}</width><height>{height}</height>"
        f"<depth>3</depth></size>{objects}</annotation>"
    )


def write_voc(folder: Path, boxes: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, own in boxes.items():
        (folder / name).with_suffix(".xml").write_text(voc(name, own))


def write_yolo(folder: Path, boxes: dict, polygons: bool = False) -> None:
    """Text files; of `polygons`, each second line is one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, own in boxes.items():
        lines = []
        for index, (label, (x, y, width, height)) in enumerate(own):
            x1, y1, x2, y2 = x / SIZE[0], y / SIZE[1], (x + width) / SIZE[0], (y + height) / SIZE[1]
            values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            if polygons and index % 2:
                values = [x1, y1, x2, y1, x2, y2, (x1 + x2) / 2, y2, x1, y2]
            lines.append(" ".join([str(CLASSES.index(label)), *(f"{value:.8f}" for value in values)]))
        (folder / name).with_suffix(".txt").write_text("\n".join(lines) + "\n")


def write_csv(file: Path, boxes: dict, columns: str = "filename,width,height,class,xmin,ymin,xmax,ymax") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns.split(","))
        for name, own in boxes.items():
            for label, (x, y, width, height) in own or [("", ("", "", "", ""))]:
                far = (x + width, y + height) if own else ("", "")
                values = {
                    "filename": name, "width": SIZE[0], "height": SIZE[1], "class": label, "xmin": x, "ymin": y,
                    "xmax": far[0], "ymax": far[1], "image_id": Path(name).stem, "label": label,
                    "bbox": [x, y, width, height] if own else "",
                }  # fmt: skip
                writer.writerow([values[column] for column in columns.split(",")])


def boxes_in(prepared: object) -> dict[str, dict[str, list[tuple[str, list[float]]]]]:
    """What a prepared data set has: by split, by the photo's own name, its boxes with their classes, sorted."""
    found: dict[str, dict] = {}
    for split, file in prepared.files.items():
        content = json.loads(file.read_text())
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        images = {entry["id"]: Path(entry["file_name"]).name for entry in content["images"]}
        found[split] = {name: [] for name in images.values()}
        for entry in content["annotations"]:
            found[split][images[entry["image_id"]]].append((names[entry["category_id"]], entry["bbox"]))
        for own in found[split].values():
            own.sort()
    return found


def as_read(boxes: dict) -> dict[str, list[tuple[str, list[float]]]]:
    return {name: sorted((label, list(map(float, box))) for label, box in own) for name, own in boxes.items()}
