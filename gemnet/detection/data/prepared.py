"""A data set as training reads it: three checked COCO files, written once and found again while the data are unchanged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet.core.errors import DataError
from gemnet.detection.data.listing import list_folder
from gemnet.detection.data.loading import Loaded, load
from gemnet.detection.data.sources import SPLITS

VERSION = 1
"""Of what `prepare` writes: data prepared by another one are prepared anew."""
SUMMARY = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for training.

    Attributes:
        format: What it was read from: coco, voc, yolo or csv.
        root: The data set's folder, to which names of images are relative.
        classes: In the order of the labels; the categories of the files are numbered from 1 in this order.
        files: train, val and test -> the COCO file.
        images: How many images each split has, those without boxes included.
        boxes: How many boxes each split has; crowds do not count.
        repairs: What was mended, by kind -> how many entries.
        notes: What a user should know, a sentence each; of repairs also the first entries.
    """

    format: str
    root: Path
    classes: tuple[str, ...]
    files: Mapping[str, Path]
    images: Mapping[str, int]
    boxes: Mapping[str, int]
    repairs: Mapping[str, int]
    notes: tuple[str, ...]


def prepare(folder: Path, work_dir: Path, *, format: str | None = None, seed: int = 0) -> Prepared:
    """Read the data set in `folder`, check it, and write `train.json`, `val.json` and `test.json` to `work_dir`/data.

    They are COCO files whose images have names relative to `folder`. With the same data, `format` and `seed`, the files of an
    earlier call are found again. Nothing is written to `folder`; a call that is stopped leaves the files as they were.

    Args:
        folder: Images and labels in one of the formats of `recognition.FORMATS`.
        work_dir: Where `data` is written; made if it is missing. If it lies in `folder`, its images are not part of the data.
        format: One of the formats, where the folder has several.
        seed: Of the splits that are made where the data have none.

    Raises:
        DataError: Names file, entry and value of what cannot be mended, and the remedy.
        UserError: `format` is not known.
        OSError: The files cannot be written.
    """
    folder, work_dir = Path(os.path.abspath(folder)), Path(work_dir)
    target = work_dir / "data"
    listing = list_folder(folder, without=[work_dir])
    key = listing.fingerprint(VERSION, str(folder), format, seed)
    found = _found(target, key)
    if found is not None:
        return found
    loaded = load(listing, format, seed)
    for split in SPLITS:
        if not loaded.splits[split]:
            raise DataError(f"{folder}: has no images to {split} with")
    summary = _write(target, folder, loaded, key)
    return _prepared(target, summary)


def _write(target: Path, folder: Path, loaded: Loaded, key: str) -> dict[str, Any]:
    """Write all files, then put them into place together."""
    staged = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        sizes = {}
        first_image, first_box = 1, 1
        for split in SPLITS:
            content = _content(loaded, split, first_image, first_box)
            first_image += len(content["images"])
            first_box += len(content["annotations"])
            path = staged / f"{split}.json"
            path.write_text(json.dumps(content) + "\n", encoding="utf-8")
            sizes[split] = path.stat().st_size
        summary = {
            "key": key,
            "sizes": sizes,
            "format": loaded.format,
            "root": os.fspath(folder),
            "classes": loaded.classes,
            "images": {split: len(images) for split, images in loaded.splits.items()},
            "boxes": {
                split: sum(not box["iscrowd"] for image in images for box in image["boxes"])
                for split, images in loaded.splits.items()
            },
            "repairs": {note.kind: note.count for note in loaded.notes if note.count},
            "notes": [*loaded.told, *map(str, loaded.notes)],
        }
        (staged / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        _exchange(staged, target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return summary


def _exchange(staged: Path, target: Path) -> None:
    """Put the folder `staged` into the place of `target`, which is there, or back there, whatever happens."""
    old = target.with_name(f"{target.name}.{os.getpid()}.old")
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(staged, target)
    finally:
        if old.exists() and not target.exists():
            os.rename(old, target)
        shutil.rmtree(old, ignore_errors=True)


def _content(loaded: Loaded, split: str, first_image: int, first_box: int) -> dict[str, Any]:
    """A split in COCO's form; ids of images and boxes are unique over all splits."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(loaded.splits[split], first_image):
        images.append({"id": number, **{key: image[key] for key in ("file_name", "width", "height")}})
        for box in image["boxes"]:
            annotations.append({"id": first_box + len(annotations), "image_id": number, **box})
    categories = [{"id": index, "name": name} for index, name in enumerate(loaded.classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _found(target: Path, key: str) -> Prepared | None:
    """What an earlier call wrote for the same data; None where there is none, or a file of it is missing or changed."""
    try:
        summary = json.loads((target / SUMMARY).read_text(encoding="utf-8"))
        if summary["key"] != key:
            return None
        for split in SPLITS:
            if (target / f"{split}.json").stat().st_size != summary["sizes"][split]:
                return None
        return _prepared(target, summary)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _prepared(target: Path, summary: dict[str, Any]) -> Prepared:
    files = {split: target / f"{split}.json" for split in SPLITS}
    counts = {key: dict(summary[key]) for key in ("images", "boxes", "repairs")}
    return Prepared(
        summary["format"], Path(summary["root"]), tuple(summary["classes"]), files, notes=tuple(summary["notes"]), **counts
    )
