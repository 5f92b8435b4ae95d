"""Which images are trained on, and which are kept to measure on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.core.errors import DataError, UserError
from gemnet.core.files import save_text
from gemnet.images.folders import class_images, folder_classes, image_files

HELD_OUT = (0.02, 1000)
"""The share of the images, and at most so many, on which the network is measured."""
PARTS = ("train", "val")


def parts_of(folder: Path) -> tuple[Path, Path | None]:
    """A folder's images to train on and to test with: its `train` and `val`, where it has both; else all, and none."""
    parts = [folder / name for name in PARTS]
    return (parts[0], parts[1]) if all(part.is_dir() for part in parts) else (folder, None)


def unlabelled(folders: Sequence[str]) -> list[str]:
    """The images to train on in folders and all folders below. Raises DataError where one has none."""
    return [str(path) for folder in folders for path in image_files(parts_of(Path(folder))[0])]


def held_out(count: int, seed: int) -> list[int]:
    """Numbers of the images that are not trained on; they follow from the seed. Raises DataError for fewer than two images."""
    number = min(HELD_OUT[1], max(1, round(HELD_OUT[0] * count)))
    if count < 2:
        raise DataError(f"{count} images: expected 2 or more, one of them to compare with the teacher")
    return sorted(np.random.default_rng((seed, count)).permutation(count)[:number].tolist())


@dataclass(frozen=True)
class Labelled:
    """Images with their classes.

    Attributes:
        classes: The names of their folders, sorted.
        train: Paths and labels.
        val: Likewise, of those that are not trained on.
    """

    classes: list[str]
    train: list[tuple[str, int]]
    val: list[tuple[str, int]]


def labelled(folders: Sequence[str], seed: int) -> Labelled:
    """The images of one folder, `<class>/*.jpg`, or `train/<class>/*.jpg` and `val/<class>/*.jpg`.

    Where there is no `val`, a share of the images is held out, which follows from the seed.

    Raises:
        UserError: There are several folders, whose classes may not be the same.
        DataError: There are fewer than two classes, `val` has others than `train`, or a class has no images.
    """
    if len(folders) != 1:
        raise UserError(f"{len(folders)} folders: expected one with --supervised, with a folder below for each class")
    train, val = parts_of(Path(folders[0]))
    classes = folder_classes(train)
    if len(classes) < 2:
        raise DataError(f"{train}: {len(classes)} classes; expected a folder for each of two or more classes")
    entries = _entries(train, classes)
    if val is None:
        out = set(held_out(len(entries), seed))
        kept = [entry for number, entry in enumerate(entries) if number not in out]
        return Labelled(classes, kept, [entries[number] for number in sorted(out)])
    if (found := folder_classes(val)) != classes:
        other = sorted(set(found) ^ set(classes))
        raise DataError(f"{val}: has other classes than {train}, as {other[0]}; expected the same")
    return Labelled(classes, entries, _entries(val, classes))


def tested(folders: Sequence[str], classes: Sequence[str]) -> list[tuple[str, int]]:
    """Paths and labels of images in `val/<class>` of the folders whose classes all are among `classes`, as ImageNet's."""
    number, found = {name: label for label, name in enumerate(classes)}, []
    for folder in folders:
        val = parts_of(Path(folder))[1]
        names = folder_classes(val) if val is not None else []
        if val is not None and names and set(names) <= set(number):
            found += [(path, number[names[label]]) for path, label in _entries(val, names)]
    return found


def _entries(root: Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    return [(str(path), label) for label, paths in enumerate(class_images(root, classes)) for path in paths]


def write_list(file: Path, classes: Iterable[str], entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a list of images in mmengine's form."""
    save_text(file, json.dumps({"metainfo": {"classes": list(classes)}, "data_list": list(entries)}) + "\n")


def write_labels(file: Path, classes: Iterable[str], entries: Iterable[tuple[str, int]]) -> None:
    """Write a list of images with their labels in mmengine's form."""
    write_list(file, classes, ({"img_path": path, "gt_label": label} for path, label in entries))
