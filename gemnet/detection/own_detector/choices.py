"""Settings of a training that follow from the data set and the machine: image size, batch, learning rate, workers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gemnet.core.errors import DataError
from gemnet.core.machine import cores

SIZES = (320, 416, 512, 640)
"""The longer sides of images to choose from, in pixels."""
SMALL = 12
"""Pixels on a side below which an object is hard to find on maps of stride 8."""
FEW = 0.1
"""The share of objects that may be smaller than that before a larger image size is taken."""
STRIDE = 32
ALIKE = 0.9, 1.15
"""Images are of one shape where this share of them is within this factor of the median shape."""
BATCHES = {"cpu": (4, 8), "cuda": (8, 32)}
"""The smallest and the largest batch of a process, by kind of device."""
STEPS = 50
"""Steps of an epoch that are aimed at: with fewer, small data sets are learned too slowly."""
RATE = 1e-3
"""The learning rate of AdamW for a batch of 8; it goes with the square root of the batch."""


@dataclass(frozen=True)
class Facts:
    """What settings follow from, of a COCO file.

    Attributes:
        images: Their number.
        boxes: Their number.
        shapes: Width by height of every image, in pixels.
        sides: Of every box, the square root of its area as a share of its image's longer side.
    """

    images: int
    boxes: int
    shapes: list[tuple[int, int]]
    sides: list[float]


def facts(file: str | os.PathLike[str]) -> Facts:
    """Read them. Raises DataError for a file that is no COCO file with images and boxes."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        shapes = {image["id"]: (int(image["width"]), int(image["height"])) for image in content["images"]}
        boxes = [(one["bbox"], shapes[one["image_id"]]) for one in content["annotations"]]
        sides = [math.sqrt(max(box[2] * box[3], 0)) / max(shape) for box, shape in boxes]
    except (OSError, ValueError, KeyError, TypeError, IndexError, ZeroDivisionError) as error:
        raise DataError(f"{file}: not a COCO file that was prepared for training ({type(error).__name__}: {error})") from error
    if not shapes or not sides:
        raise DataError(f"{file}: {len(shapes)} images and {len(sides)} boxes; expected at least one of each to train on")
    return Facts(len(shapes), len(sides), list(shapes.values()), sides)


def image_size(found: Facts, longer: int | None = None) -> tuple[int, int]:
    """Width and height that images are fitted into, multiples of 32: the images' own shape where most have one, else a square.

    Args:
        found: Of the training images.
        longer: The longer side, or None: the least of `SIZES` at which few objects are smaller than `SMALL` pixels, but not
            above the images' own.
    """
    if longer is None:
        own = median(max(shape) for shape in found.shapes)
        fitting = [size for size in SIZES if size < 1.2 * own] or [SIZES[0]]
        enough = [size for size in fitting if sum(side * size < SMALL for side in found.sides) <= FEW * len(found.sides)]
        longer = enough[0] if enough else fitting[-1]
    ratios = [min(shape) / max(shape) for shape in found.shapes]
    lying = sum(width >= height for width, height in found.shapes)
    middle = median(ratios)
    near = sum(middle / ALIKE[1] <= ratio <= middle * ALIKE[1] for ratio in ratios)
    longer = -(-longer // STRIDE) * STRIDE
    if max(lying, len(ratios) - lying) < ALIKE[0] * len(ratios) or near < ALIKE[0] * len(ratios):
        return longer, longer
    shorter = min(longer, math.ceil(longer * middle / STRIDE - 0.05) * STRIDE)
    return (longer, shorter) if 2 * lying >= len(ratios) else (shorter, longer)


def batch_size(images: int, device: str, processes: int = 1) -> int:
    """Of one process: a power of two that leaves some `STEPS` steps to an epoch, within `BATCHES`."""
    least, most = BATCHES[device]
    wanted = max(1.0, images / STEPS / processes)
    return min(images, max(least, min(most, 2 ** round(math.log2(wanted)))))


def learning_rate(batch: int) -> float:
    """For a batch of all processes together."""
    return float(f"{RATE * math.sqrt(batch / 8):.2g}")


def workers(images: int, device: str) -> int:
    """Processes that load images for one of training; none where an epoch is so short that starting them takes longer."""
    if images < 64 or cores() < 2:
        return 0
    return 1 if device == "cpu" else min(8, cores() // max(1, torch.cuda.device_count()))


def chosen(found: Facts, device: str, processes: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a config (dotted keys) for a training; those that are `given` stay, and what follows from them follows.

    Args:
        found: Of the training images.
        device: cpu or cuda.
        processes: That train together.
        given: Options that the user sets, as image_size and batch_size.
    """
    size = given.get("image_size")
    side = size if isinstance(size, int) and not isinstance(size, bool) else None
    options: dict[str, Any] = {"image_size": list(image_size(found, side)) if side or size is None else size}
    batch = given.get("batch_size") or batch_size(found.images, device, processes)
    options["batch_size"] = batch
    options["optim_wrapper.optimizer.lr"] = learning_rate(batch * processes)
    loading = workers(found.images, device)
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options[f"{loader}.num_workers"] = loading
        options[f"{loader}.pin_memory"] = device == "cuda"
    return {**options, **{key: value for key, value in given.items() if key != "image_size"}}
