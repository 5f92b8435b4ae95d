"""Images to calibrate and to measure with, as a classifier sees them and as a detector's file takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import CenterCrop
from mmengine.dataset import Compose
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from gemnet.core.progress import tracked
from gemnet.deploy.int8.layers import QuantizationError
from gemnet.images.folders import class_images
from gemnet.images.pixels import read_image
from gemnet.openmmlab.images import DataError, LoadImage, folder_classes, image_files

CALIBRATION_IMAGES = 256
FEWEST_IMAGES = 16
"""Below this many calibration images the ranges of the activations are chance."""
MARGIN = 256 / 224
"""Short edge of an image before the centre crop, relative to the crop: the validation pipeline's."""


def calibration_files(folder: str | Path, count: int = CALIBRATION_IMAGES) -> list[Path]:
    """`count` images of `folder`, flat or a folder a class, spread evenly over their sorted paths, so over the classes.

    Raises DataError where the folder is missing or has fewer, QuantizationError for a count below FEWEST_IMAGES.
    """
    if count < FEWEST_IMAGES:
        raise QuantizationError(f"{count} calibration images are too few; expected at least {FEWEST_IMAGES}")
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder (from {Path.cwd()}); expected images to calibrate with")
    files = image_files(Path(folder))
    if len(files) < count:
        raise DataError(f"{folder}: {len(files)} images, too few to calibrate with {count}; add images or ask for fewer")
    return spread(files, count)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """`count` of some files, or all where there are fewer, at equal distances."""
    count = min(count, len(files))
    return [files[index * len(files) // count] for index in range(count)]


def labelled_files(folder: str | Path) -> tuple[list[Path], np.ndarray, list[str]]:
    """The images `folder`/class/*.jpg, their labels [images] (the class's place among the sorted names), and these names.

    Raises DataError where the folder is missing, has fewer than two classes, or a class has no images.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder (from {Path.cwd()}); expected images as <folder>/<class>/*.jpg")
    classes = folder_classes(Path(folder))
    if len(classes) < 2:
        raise DataError(f"{folder}: {len(classes)} classes; expected a folder for each of two or more classes")
    found = [(file, label) for label, files in enumerate(class_images(Path(folder), classes)) for file in files]
    return [file for file, _ in found], np.array([label for _, label in found]), classes


def read_batches(
    files: Sequence[Path], height: int, width: int, edge: int | None = None, batch_size: int = 64, title: str = "images"
) -> Iterator[np.ndarray]:
    """Images as the configs' validation pipeline gives them: batches [<= batch_size, 3, height, width], float32, RGB.

    The short edge is resized to `edge` pixels (256 at 224, and in proportion), bicubic, the centre is cropped, ImageNet's mean
    and deviation are taken. Raises DataError that names an image that cannot be read, QuantizationError for an edge too small.
    """
    from mmpretrain.datasets.transforms import ResizeEdge

    edge = round(max(height, width) * MARGIN) if edge is None else edge
    if edge < max(height, width):
        told = f"images resized to {edge} pixels do not cover the network's {height}x{width}"
        raise QuantizationError(f"{told}; resize to more (--image-size), or export for smaller ones (--input-size)")
    resize = ResizeEdge(scale=edge, edge="short", backend="pillow", interpolation="bicubic")
    pipeline = Compose([LoadImage(), resize, CenterCrop(crop_size=(width, height))])
    mean, std = (255 * np.array(values, np.float32) for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    starts = range(0, len(files), batch_size)
    for start in tracked(starts, title, least=3):
        images = [pipeline({"img_path": str(file)})["img"] for file in files[start : start + batch_size]]
        yield np.ascontiguousarray(((np.stack(images)[..., ::-1] - mean) / std).transpose(0, 3, 1, 2))


def read_photos(files: Sequence[Path], title: str = "photos") -> Iterator[np.ndarray]:
    """Photos as a detector's file takes them, one by one: [1, H, W, 3], uint8, RGB.

    Raises DataError that names a photo that cannot be read.
    """
    for file in tracked(files, title, least=3):
        yield read_image(file)[None]
