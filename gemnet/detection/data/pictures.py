"""Images with their boxes at the size at which a detector sees them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gemnet.detection.data.doctor import SIDE, Example
from gemnet.images.pixels import read_image

GREY = (114, 114, 114)
"""The filling beside an image that is not square."""


def drawn(example: Example, classes: Sequence[str]) -> Image.Image:
    """The image, resized so that its longer side is SIDE, on a grey square, with its boxes and their classes.

    Raises ImageError where it cannot be read.
    """
    pixels = read_image(example.path, at_least=(SIDE, SIDE))
    scale = SIDE / max(example.size)
    height, width = (max(1, round(side * scale)) for side in example.size)
    picture = Image.new("RGB", (SIDE, SIDE), GREY)
    picture.paste(Image.fromarray(np.asarray(pixels)).resize((width, height), Image.Resampling.BILINEAR))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(10)
    for label, (x, y, wide, high) in example.boxes:
        corners = [round(value * scale) for value in (x, y, x + wide, y + high)]
        corners[2:] = [max(low, min(SIDE - 1, top)) for low, top in zip(corners[:2], corners[2:])]
        pen.rectangle(corners, outline=colour(label))
        text = classes[label].encode("ascii", "replace").decode()[:24]  # what Pillow's own font has
        if corners[3] - corners[1] > 12:
            pen.rectangle(pen.textbbox((corners[0] + 1, corners[1]), text, font), fill=colour(label))
            pen.text((corners[0] + 1, corners[1]), text, "white", font)
    return picture


def colour(label: int) -> tuple[int, int, int]:
    """Of a class: hues far apart for numbers that are near."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)
