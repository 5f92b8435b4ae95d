"""Detect objects in images: pictures with boxes and one JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.progress import track

from gemnet import engine
from gemnet.images import DataError, image_files
from gemnet.weights import load_weights

PALETTE = ((220, 20, 60), (0, 82, 204), (0, 130, 70), (204, 102, 0), (128, 0, 160), (0, 120, 140), (150, 100, 40), (90, 90, 90))


def predict(
    config: str,
    checkpoint: str,
    inputs: Sequence[str],
    out_dir: str,
    score_threshold: float = 0.3,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Run a detector on image files and folders of images; returns how many images could not be read.

    Into `out_dir`: a picture with the boxes for each image, and `predictions.json`, a list of {"image", "width", "height",
    "objects": [{"box": [x, y, width, height] in pixels, "score", "class"}]} with boxes of at least `score_threshold`.
    An image that cannot be read is told on standard error and left out. Raises DataError where there is no image at all.
    """
    images = list(_images(inputs))
    settings = engine.load_config(config, options)
    detector = Detector(settings, checkpoint, device)
    folder, records, failed = Path(out_dir), [], 0
    for path, name in track(images, "images", console=Console(stderr=True), disable=len(images) < 3):
        try:
            boxes, scores, labels, size = detector(path)
        except DataError as error:
            print(f"predict: {error}", file=sys.stderr)
            failed += 1
            continue
        kept = scores >= score_threshold
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept].tolist()
        names = [detector.classes[label] for label in labels]
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _draw(path, boxes, [f"{n} {s:.2f}" for n, s in zip(names, scores.tolist())], labels).save(target, quality=92)
        corners = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
        objects = [
            {"box": [round(x, 2) for x in box], "score": round(score, 4), "class": label}
            for box, score, label in zip(corners, scores.tolist(), names)
        ]
        records.append({"image": str(path), "width": size[1], "height": size[0], "objects": objects})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictions.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(f"{len(records)} pictures and predictions.json in {folder}" + (f"; {failed} images could not be read" * (failed > 0)))
    return failed


class Detector:
    """A detector with its weights and its test pipeline: path of an image -> boxes, scores, labels, (height, width)."""

    def __init__(self, config: Config, checkpoint: str, device: str | None = None) -> None:
        engine.complete(config)
        dataset = config.test_dataloader.dataset
        scope = config.get("default_scope", "mmdet")
        DefaultScope.get_instance(f"predict_{scope}", scope_name=scope)
        with DefaultScope.overwrite_default_scope(scope):
            self.model = MODELS.build(config.model)
            self.pipeline = Compose([step for step in dataset.pipeline if step["type"] != "LoadAnnotations"])
        engine.check_parts(self.model)
        load_weights(self.model, checkpoint)
        self.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self.classes = dataset.get("metainfo", {}).get("classes", CocoDataset.METAINFO["classes"])

    def __call__(self, path: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, int]]:
        data = self.pipeline({"img_path": str(path), "img_id": 0})
        if data is None:
            raise DataError(f"{path}: cannot be read")
        with torch.no_grad():
            sample = self.model.test_step({"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]})[0]
        found = sample.pred_instances
        return found.bboxes.cpu(), found.scores.cpu(), found.labels.cpu(), sample.ori_shape


def _images(inputs: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """The image files with the names that their pictures get: no two the same."""
    found: list[tuple[Path, Path]] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found += [(file, file.relative_to(path)) for file in image_files(path)]
        elif path.is_file():
            found.append((path, Path(path.name)))
        else:
            raise DataError(f"{path}: no such image or folder")
    taken: set[str] = set()
    for path, name in found:
        stem, number = str(name.with_suffix("")), 1
        unique = stem
        while unique in taken:
            number += 1
            unique = f"{stem}_{number}"
        taken.add(unique)
        yield path, unique + ".jpg"


def _draw(path: Path, boxes: torch.Tensor, texts: list[str], labels: list[int]) -> Image.Image:
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")  # as the detector saw it
    draw = ImageDraw.Draw(image)
    unit = max(1, round(min(image.size) / 300))
    font = ImageFont.load_default(10 * unit)
    for (x1, y1, x2, y2), text, label in zip(boxes.tolist(), texts, labels):
        colour = PALETTE[label % len(PALETTE)]
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, image.width - 1), min(y2, image.height - 1)
        if x1 <= x2 and y1 <= y2:
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=2 * unit)
            draw.rectangle(draw.textbbox((x1, y1), text, font), fill=colour)
            draw.text((x1, y1), text, "white", font)
    return image
