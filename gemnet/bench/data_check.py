"""How long the check of a data set for detection takes (`gemnet detect check`), on made photos."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gemnet.core.files import save_text
from gemnet.detection.data.doctor import check
from gemnet.detection.data.page import write_page
from gemnet.detection.data.parallel import mapped

SIZE = (640, 480)
"""Width and height of the photos."""
BOXES = 5
"""Boxes a photo."""
CLASSES = 10


@dataclass(frozen=True)
class CheckTime:
    """What a check of `images` photos took.

    Attributes:
        images: How many.
        megabytes: Of all files together.
        wall: Seconds on the clock.
        own: CPU seconds of this process.
        children: CPU seconds of the processes that it started.
    """

    images: int
    megabytes: float
    wall: float
    own: float
    children: float

    def __str__(self) -> str:
        return (
            f"{self.images:,} photos of {SIZE[0]}x{SIZE[1]} ({self.megabytes:,.0f} MB): {self.wall:.1f} s; "
            f"CPU {self.own:.1f} s alone and {self.children:.1f} s in processes"
        )


def measure_check(images: int) -> CheckTime:
    """Make a data set of photos in a temporary folder, check it, write its page, and remove it."""
    with tempfile.TemporaryDirectory(prefix="gemnet_check_") as folder:
        root = Path(folder) / "photos"
        root.mkdir()
        sizes = mapped(_photo, [str(root / f"{number:07d}.jpg") for number in range(images)])
        save_text(root / "labels.json", json.dumps(_labels(images)))
        start, before = time.perf_counter(), os.times()
        write_page(check(root), Path(folder) / "check.html")
        wall, after = time.perf_counter() - start, os.times()
    own = after.user + after.system - before.user - before.system
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return CheckTime(images, sum(sizes) / 1e6, wall, own, children)


def _photo(path: str) -> int:
    """Write a photo that looks like no other; returns its bytes."""
    coarse = np.random.default_rng(int(Path(path).stem)).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC).save(content, "JPEG", quality=85)
    return Path(path).write_bytes(content.getvalue())


def _labels(images: int) -> dict[str, list[dict[str, object]]]:
    generator = np.random.default_rng(0)
    corners = generator.integers(0, min(SIZE) // 2, (images, BOXES, 2)).tolist()
    sides = generator.integers(10, min(SIZE) // 2, (images, BOXES, 2)).tolist()
    numbers = generator.integers(1, CLASSES + 1, (images, BOXES)).tolist()
    return {
        "images": [
            {"id": key, "file_name": f"{key:07d}.jpg", "width": SIZE[0], "height": SIZE[1]} for key in range(images)
        ],
        "annotations": [
            {
                "id": key * BOXES + place, "image_id": key, "category_id": numbers[key][place], "iscrowd": 0,
                "bbox": [*corners[key][place], *sides[key][place]], "area": sides[key][place][0] * sides[key][place][1],
            }
            for key in range(images)
            for place in range(BOXES)
        ],
        "categories": [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)],
    }  # fmt: skip
