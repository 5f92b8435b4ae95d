"""Crops of a detection data set's boxes, and of its background, as a classification task for the proxy training."""

from __future__ import annotations

import math
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gemnet.core.settings import Setting
from gemnet.core.telling import tell
from gemnet.detection.data.listing import list_folder
from gemnet.detection.data.loading import Loaded, load
from gemnet.detection.data.recognition import FORMATS
from gemnet.images.pixels import ImageError, read_image
from search.core.checks import as_search_errors, takes_settings
from search.core.types import SearchError
from search.evaluation.data import ProxyData, Root

BACKGROUND = "(background)"
FREE = 0.1
"""Less than this share of a background crop lies in any box, and of any box in the crop; so their overlap (IoU) is below it."""
TRIES = 20
"""Places that are tried in an image for one background crop."""
SHRINKING = (1.0, 1.0, 0.7, 0.5, 0.35, 0.25)
"""The images are gone through so often for background crops, which get smaller where objects leave little room."""
NAMED = 5
_told: set[str] = set()


@dataclass(frozen=True)
class Crop:
    """A square of an image: its upper left corner and its side in pixels of the image as it is shown. label: its class."""

    label: int
    image: Mapping[str, Any]
    left: int
    top: int
    side: int


@takes_settings("data")
def box_crops(
    root: Annotated[Root, Setting("folder of photos with boxes, as COCO, Pascal VOC, YOLO or CSV have them")],
    format: Annotated[str | None, Setting("of the labels; None finds it out", choices=tuple(FORMATS), optional=True)] = None,
    size: Annotated[int, Setting("height and width that crops are resized to", at_least=1, unit="pixels")] = 48,
    margin: Annotated[float, Setting("around a box, as a share of its longer side, on each side", at_least=0)] = 0.1,
    min_side: Annotated[
        int, Setting("boxes whose longer side is shorter are left out, and counted", at_least=1, unit="pixels")
    ] = 8,
    train_per_class: Annotated[
        int | None, Setting("training crops a class at most; None for all boxes", at_least=1, unit="crops")
    ] = 200,
    val_per_class: Annotated[int, Setting("validation crops a class at most", at_least=1, unit="crops")] = 80,
    seed: Annotated[int, Setting("of the splits that are made where the data have none, and of the crops", at_least=0)] = 0,
    without: Annotated[Sequence[str], Setting("folders that are not read where they lie in root")] = ("work_dirs",),
) -> ProxyData:
    """The boxes of a detection data set, and as many pieces of background as the median class has, as images of size x size.

    A box is cut out as a square around its centre, with a margin, moved into the image where it sticks out, and no larger than
    the image is. The labels are read, mended and checked as `gemnet detect` does it, and the splits are the same. Training
    crops are of the training split, validation crops of the validation split; the test split is not looked at. Crowds and
    tiny boxes are left out. Nothing is written. Raises SearchError where the data cannot be used.
    """
    folder = Path(os.path.abspath(root))
    with as_search_errors():
        loaded = load(list_folder(folder, [Path(name) for name in without]), format, seed)
    train_images = sorted(loaded.splits["train"], key=_name)
    in_training = {image["file_name"] for image in train_images}
    val_images = sorted((i for i in loaded.splits["val"] if i["file_name"] not in in_training), key=_name)
    boxes = {"train": _squares(train_images, margin, min_side), "val": _squares(val_images, margin, min_side)}
    learned = sorted({crop.label for crop in boxes["train"]})
    if not learned:
        raise SearchError(
            f"box_crops: {folder}: no box to train on has a longer side of {min_side} pixels or more; lower data.min_side"
        )
    titles = [loaded.classes[label - 1] for label in learned]
    train = _drawn(boxes["train"], learned, titles, train_per_class, (seed, 0))
    val = _drawn(boxes["val"], learned, titles, val_per_class, (seed, 1))
    if not any(val):
        raise SearchError(f"box_crops: {folder}: {len(val_images)} validation images have no box of a class that is trained")
    train.append(_background(train_images, train, len(learned), np.random.default_rng((seed, 2))))
    val.append(_background(val_images, val, len(learned), np.random.default_rng((seed, 3))))
    if train[-1]:
        titles.append(BACKGROUND)
    else:
        del train[-1], val[-1]
    if len(titles) < 2:
        raise SearchError(
            f"box_crops: {folder}: its one class {titles[0]!r} leaves no background to tell it from; expected photos with "
            "some room beside the boxes, or two classes"
        )
    _tell(f"{folder}: {note}" for note in (*loaded.told, *loaded.notes))
    _tell([f"{folder}: crops of {size}x{size} pixels, to train and to validate with: {_counted(titles, train, val)}"])
    _tell(_left_out(folder, loaded, learned, min_side, len(loaded.splits["val"]) - len(val_images)))
    (train_crops, train_labels, lost), (val_crops, val_labels, also) = (_read(folder, part, size) for part in (train, val))
    if missing := set(range(len(titles))) - set(train_labels.tolist()):
        raise SearchError(f"box_crops: {folder}: no image with {titles[min(missing)]!r} can be read; fetch them again")
    return ProxyData("box_crops", tuple(titles), train_crops, train_labels, val_crops, val_labels, lost + also)


def _name(image: Mapping[str, Any]) -> str:
    return image["file_name"]


def _squares(images: Iterable[Mapping[str, Any]], margin: float, min_side: int) -> list[Crop]:
    """The crops of all boxes but crowds and tiny ones; in an order that does not depend on that of the labels."""
    crops = []
    for image in images:
        own = [box for box in image["boxes"] if not box["iscrowd"] and max(box["bbox"][2:]) >= min_side]
        cut = {(box["category_id"], *_square(box["bbox"], margin, image["width"], image["height"])) for box in own}
        crops += [Crop(label, image, *square) for label, *square in sorted(cut)]
    return crops


def _square(box: Sequence[float], margin: float, width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the square around a box [x, y, width, height], in an image of width x height pixels."""
    x, y, wide, high = box
    side = max(1, min(round(max(wide, high) * (1 + 2 * margin)), width, height))
    left, top = (round(middle - side / 2) for middle in (x + wide / 2, y + high / 2))
    return max(0, min(left, width - side)), max(0, min(top, height - side)), side


def _drawn(
    crops: Sequence[Crop], labels: Sequence[int], titles: Sequence[str], most: int | None, seed: tuple[int, int]
) -> list[list[Crop]]:
    """Of each class at most `most` crops. What is drawn of a class depends on its name and its own boxes alone."""
    drawn = []
    for label, title in zip(labels, titles, strict=True):
        own = [crop for crop in crops if crop.label == label]
        rng = np.random.default_rng((*seed, zlib.crc32(title.encode("utf-8", "surrogateescape"))))
        drawn.append([own[i] for i in sorted(rng.permutation(len(own))[:most])])
    return drawn


def _background(
    images: Sequence[Mapping[str, Any]], crops: Sequence[Sequence[Crop]], label: int, rng: np.random.Generator
) -> list[Crop]:
    """Squares that lie in no box, as many as the median class has crops, or fewer where there is no room.

    They are as large as the crops are, each as a share of its image's shorter side, or smaller where there is no room.
    """
    count = round(median(len(own) for own in crops))
    shares = np.sort([c.side / min(c.image["width"], c.image["height"]) for own in crops for c in own])
    found: list[Crop] = []
    for factor in SHRINKING:
        for index in rng.permutation(len(images)):
            if len(found) == count:
                return found
            square = _free_square(images[index], factor * shares, rng)
            found += [Crop(label, images[index], *square)] if square else []
    return found


def _free_square(image: Mapping[str, Any], shares: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int] | None:
    """Left, top and side of a square of the image that is free of its boxes; None where none was found."""
    width, height = image["width"], image["height"]
    boxes = np.array([box["bbox"] for box in image["boxes"]], float).reshape(-1, 4)
    sides = np.maximum(1, np.rint(rng.choice(shares, TRIES) * min(width, height)))
    corners = np.floor(rng.random((TRIES, 2)) * (np.array([width, height]) - sides[:, None] + 1))
    low = np.maximum(corners[:, None], boxes[None, :, :2])
    high = np.minimum(corners[:, None] + sides[:, None, None], boxes[None, :, :2] + boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)  # [TRIES, boxes]
    smaller = np.minimum(sides[:, None] ** 2, boxes[None, :, 2:].prod(-1))
    free = np.flatnonzero((common < FREE * smaller).all(1))
    return (int(corners[free[0], 0]), int(corners[free[0], 1]), int(sides[free[0]])) if len(free) else None


def _read(folder: Path, crops: Sequence[Sequence[Crop]], size: int) -> tuple[Tensor, Tensor, int]:
    """The crops as uint8 [N, 3, size, size], their classes [N], and how many were lost with images that cannot be read."""
    flat = [(label, crop) for label, own in enumerate(crops) for crop in own]
    pixels = torch.empty(len(flat), 3, size, size, dtype=torch.uint8)
    by_file: dict[str, list[int]] = {}
    for i, (_, crop) in enumerate(flat):
        by_file.setdefault(crop.image["file_name"], []).append(i)

    def cut(name: str) -> tuple[list[int], str]:
        places = by_file[name]
        try:
            for i, piece in zip(places, _cut(folder / name, [flat[i][1] for i in places], size), strict=True):
                pixels[i] = torch.from_numpy(piece).permute(2, 0, 1)
        except ImageError as error:
            return places, str(error)
        return [], ""

    with ThreadPoolExecutor() as pool:  # PIL decodes outside Python's lock
        broken = [(places, error) for places, error in pool.map(cut, by_file) if error]
    if broken:
        _tell([f"{folder}: {len(broken)} images cannot be read, and are left out with their crops; the first: {broken[0][1]}"])
    lost = {i for places, _ in broken for i in places}
    kept = [i for i in range(len(flat)) if i not in lost]
    return pixels[kept], torch.tensor([flat[i][0] for i in kept], dtype=torch.long), len(lost)


def _cut(path: Path, crops: Sequence[Crop], size: int) -> list[np.ndarray]:
    """uint8 [size, size, 3] of each crop of one image. Raises ImageError."""
    width, height = crops[0].image["width"], crops[0].image["height"]
    needed = min(1.0, size / min(crop.side for crop in crops))  # a large JPEG is decoded at a fraction of its size
    image = Image.fromarray(read_image(path, at_least=(math.ceil(height * needed), math.ceil(width * needed))))
    across, down = image.width / width, image.height / height
    pieces = []
    for crop in crops:
        right, bottom = min(image.width, (crop.left + crop.side) * across), min(image.height, (crop.top + crop.side) * down)
        place = (crop.left * across, crop.top * down, right, bottom)
        pieces.append(np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=place)))
    return pieces


def _counted(titles: Sequence[str], train: Sequence[Sequence[Crop]], val: Sequence[Sequence[Crop]]) -> str:
    parts = [f"{title} {len(one)} and {len(other)}" for title, one, other in zip(titles, train, val, strict=True)]
    return ", ".join(parts[: 4 * NAMED]) + (f" and {len(parts) - 4 * NAMED} more classes" if len(parts) > 4 * NAMED else "")


def _left_out(folder: Path, loaded: Loaded, learned: Sequence[int], min_side: int, shared: int) -> list[str]:
    """What of the training and validation splits is not used, a sentence each."""
    boxes = [box for split in ("train", "val") for image in loaded.splits[split] for box in image["boxes"]]
    crowds = sum(bool(box["iscrowd"]) for box in boxes)
    tiny = sum(max(box["bbox"][2:]) < min_side for box in boxes if not box["iscrowd"])
    counts = Counter(box["category_id"] for box in boxes if not box["iscrowd"])
    dropped = [loaded.classes[label - 1] for label in sorted(counts) if label not in learned]
    told = [f"{crowds} crowds are left out"] * bool(crowds)
    told += [f"{tiny} boxes are left out whose longer side is below {min_side} pixels (data.min_side)"] * bool(tiny)
    if dropped:
        told.append(f"{len(dropped)} classes are left out, for none of their boxes can be trained on: {_names(dropped)}")
    told += [f"{shared} validation images are left out, for they are training images as well"] * bool(shared)
    return [f"{folder}: {sentence}" for sentence in told]


def _names(titles: Sequence[str]) -> str:
    return ", ".join(titles[:NAMED]) + (f" and {len(titles) - NAMED} more" if len(titles) > NAMED else "")


def _tell(sentences: Iterable[str]) -> None:
    """Say them on standard error, each once a process."""
    for sentence in sentences:
        if sentence not in _told:
            _told.add(sentence)
            tell(sentence)
