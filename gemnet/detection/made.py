"""A made COCO set for trying things without a download: coloured rectangles and ellipses on noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from PIL import Image, ImageDraw

OBJECTS = (("person", (200, 40, 40), "rectangle"), ("car", (40, 60, 200), "ellipse"), ("cat", (40, 170, 60), "rectangle"))


def write_made_coco(root: str | Path, train: int = 8, val: int = 4, size: tuple[int, int] = (96, 128), seed: int = 0) -> Path:
    """Write `train` and `val` images of height x width `size` in COCO's layout below `root`; returns `root`.

    Each image has one to three objects of three of COCO's 80 classes: the class is the colour and shape.
    """
    root, random = Path(root), np.random.default_rng(seed)
    ids = {name: number for number, name in enumerate(CocoDataset.METAINFO["classes"], 1)}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, count in (("train2017", train), ("val2017", val)):
        (root / split).mkdir(exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            file_name = f"{number:012d}.jpg"
            image = Image.fromarray(random.integers(90, 140, (*size, 3), dtype=np.uint8))
            draw = ImageDraw.Draw(image)
            for _ in range(random.integers(1, 4)):
                name, colour, shape = OBJECTS[random.integers(len(OBJECTS))]
                height, width = (int(random.integers(side // 4, side // 2)) for side in size)
                y, x = int(random.integers(0, size[0] - height)), int(random.integers(0, size[1] - width))
                getattr(draw, shape)((x, y, x + width - 1, y + height - 1), fill=colour)
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": number, "category_id": ids[name], "iscrowd": 0,
                        "bbox": [x, y, width, height], "area": width * height, "segmentation": [],
                    }
                )  # fmt: skip
            image.save(root / split / file_name, quality=95)
            images.append({"id": number, "file_name": file_name, "height": size[0], "width": size[1]})
        categories = [{"id": number, "name": name} for name, number in ids.items()]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return root
