"""Crops of images that are the same wherever they are made, so that teacher and student see a view of an image alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

SCALE, RATIO = (0.35, 1.0), (3 / 4, 4 / 3)
"""Of a crop: the share of the image's area, and width to height. Larger crops than a classifier's: a teacher must recognise."""
TRIES = 10


@dataclass(frozen=True)
class View:
    """A part of an image.

    Attributes:
        box: Left, top, right and bottom, in pixels of the image.
        mirrored: Whether left and right change places.
    """

    box: tuple[float, float, float, float]
    mirrored: bool = False


def random_view(shape: tuple[int, int], seed: int, image: int, number: int) -> View:
    """A crop as Inception's training has them (Szegedy et al., CVPR 2015), which follows from the arguments alone.

    Args:
        shape: Height and width of the image.
        seed: Of all views.
        image: The image's number in its list.
        number: The view's number.
    """
    generator = np.random.default_rng((seed, image, number))
    height, width = shape
    mirrored = bool(generator.integers(2))
    for _ in range(TRIES):
        area = generator.uniform(*SCALE) * height * width
        ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
        left, top = generator.uniform(size=2)
        if wide <= width and high <= height:
            left, top = float(left) * (width - wide), float(top) * (height - high)
            return View((left, top, left + wide, top + high), mirrored)
    return View(whole_view(shape).box, mirrored)


def whole_view(shape: tuple[int, int]) -> View:
    """The largest square in the middle of an image of that height and width."""
    height, width = shape
    side = min(shape)
    left, top = (width - side) / 2, (height - side) / 2
    return View((left, top, left + side, top + side))


def cut(image: np.ndarray, view: View, size: int) -> np.ndarray:
    """A view of an image [H, W, 3] as `size` x `size` pixels, bicubic, uint8 [size, size, 3]."""
    cropped = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=view.box)
    pixels = np.asarray(cropped)
    return np.ascontiguousarray(pixels[:, ::-1]) if view.mirrored else pixels
