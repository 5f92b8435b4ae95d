"""Folders of made images, a folder a class."""

import numpy as np
from PIL import Image


def write_folder(root, counts=(("train", 4), ("val", 2)), classes=("bright", "dark")):
    """Bright and dark noise, 32 x 40 pixels."""
    rng = np.random.default_rng(0)
    for split, count in counts:
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, (32, 40, 3), dtype=np.uint8) + np.uint8(0 if label else 150)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40)}


def write_colours(root, counts, side):
    """Photos of two classes that differ in their colour, `side` x `side` pixels. counts: of each class, by split."""
    generator = np.random.default_rng(0)
    for split, count in counts.items():
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(generator.normal(colour, 25, (side, side, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root
