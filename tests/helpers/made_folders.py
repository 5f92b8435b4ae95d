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
