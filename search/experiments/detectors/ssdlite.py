"""torchvision's SSDLite320 with MobileNetV3-Large, by torchvision's own training recipe."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.transforms import v2

from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.measures import figures
from search.experiments.detectors.budget import Pace, at_tenths, cpu_seconds, epochs_within
from search.experiments.detectors.outcome import Trained
from search.experiments.detectors.tasks import Task

BATCH = 8
RATE, OF_BATCH = 0.15, 192
"""The recipe's learning rate, and the batch that it is for: 8 GPUs of 24 images."""
MOMENTUM, DECAY = 0.9, 4e-5
WARM_UP = 1000
"""Iterations at most in which the learning rate rises, in the first epoch alone."""
TIMED = 12
SKIPPED = 2
"""Iterations of the warm-up, and those of them that are not timed."""


class CocoImages(Dataset):
    """The images of a COCO file with their boxes, as torchvision's detectors take them."""

    def __init__(self, file: Path, root: Path, transform: v2.Transform) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        self.root, self.transform, self.images = root, transform, content["images"]
        self.boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self.images}
        for box in content["annotations"]:
            self.boxes[box["image_id"]].append(box)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        entry = self.images[index]
        with Image.open(self.root / entry["file_name"]) as file:
            image = file.convert("RGB")
        found = self.boxes[entry["id"]]
        corners = torch.tensor([one["bbox"] for one in found], dtype=torch.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        target = {
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(image.height, image.width)),
            "labels": torch.tensor([one["category_id"] for one in found], dtype=torch.int64),
        }
        pixels, target = self.transform(image, target)
        return pixels, {**target, "image_id": entry["id"]}


def training_transform() -> v2.Transform:
    """The changes of images in torchvision's references, `--data-augmentation ssdlite`."""
    return v2.Compose(
        [v2.RandomIoUCrop(), v2.RandomHorizontalFlip(), *_to_pixels(), v2.SanitizeBoundingBoxes(), v2.ToPureTensor()]
    )


def test_transform() -> v2.Transform:
    """Pixels between 0 and 1; the model resizes them itself."""
    return v2.Compose([*_to_pixels(), v2.ToPureTensor()])


def _to_pixels() -> list[v2.Transform]:
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]


def build(classes: int) -> nn.Module:
    """The detector with random weights, all of which are trained."""
    return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes + 1)


class Run:
    """A training from scratch.

    Args:
        task: Its data, seed and budget.
        prepared: The data set.
    """

    def __init__(self, task: Task, prepared: Prepared) -> None:
        torch.manual_seed(task.seed)
        self.model = build(len(prepared.classes))
        self.rate = RATE * BATCH / OF_BATCH
        self.optimizer = torch.optim.SGD(self.model.parameters(), self.rate, MOMENTUM, weight_decay=DECAY)
        self.loader = DataLoader(
            CocoImages(prepared.files["train"], prepared.root, training_transform()), BATCH, shuffle=True, drop_last=True,
            collate_fn=_together,
        )  # fmt: skip
        self.images = self.steps = 0

    def step(self, batch: Sequence[tuple[Tensor, dict[str, Any]]]) -> float:
        """Train with a batch at the learning rate as it is; returns the loss."""
        images, targets = zip(*batch)
        loss = sum(self.model(list(images), list(targets)).values())
        assert isinstance(loss, Tensor)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"ssdlite320: the loss is {float(loss.detach())} at step {self.steps}")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.images += len(images)
        self.steps += 1
        return float(loss.detach())

    def epoch(self, epoch: int, epochs: int) -> float:
        """Train on all images once; returns the mean loss."""
        self.model.train()
        losses = []
        for index, batch in enumerate(self.loader):
            warm = min(WARM_UP, len(self.loader) - 1)
            rising = min(1.0, 1 / WARM_UP + index / max(1, warm)) if epoch == 0 else 1.0
            rate = self.rate * rising * (1 + math.cos(math.pi * epoch / epochs)) / 2
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses.append(self.step(batch))
        return sum(losses) / max(1, len(losses))


def train_ssdlite(task: Task, prepared: Prepared) -> Trained:
    """Train with a cosine an epoch at a time, validate at each tenth of the run, and keep the weights of the best validation.

    Raises FloatingPointError where the loss is not finite.
    """
    torch.set_num_threads(1)
    pace = measured_pace(task, prepared)
    epochs = epochs_within(task.budget, pace, lambda epochs: math.ceil(epochs / at_tenths(epochs)))
    wall, start = time.monotonic(), cpu_seconds()
    run, curve, best = Run(task, prepared), [], -1.0
    weights = task.work_dir / "best.pth"
    for epoch in range(epochs):
        loss = run.epoch(epoch, epochs)
        print(f"epoch {epoch + 1}/{epochs}: loss {loss:.3f}", flush=True)
        if (epoch + 1) % at_tenths(epochs) == 0 or epoch + 1 == epochs:
            content = json.loads(prepared.files["val"].read_text(encoding="utf-8"))
            ap = figures(content, predict(run.model, prepared, "val")).ap or 0.0
            curve.append((float(epoch + 1), ap))
            print(f"epoch {epoch + 1}/{epochs}: validation AP {ap:.3f}", flush=True)
            if ap > best:
                best = ap
                torch.save({"state_dict": run.model.state_dict()}, weights)
    settings = {"optimizer": "SGD", "batch_size": BATCH, "learning_rate": run.rate, "image_size": [320, 320]}
    cpu, wall = cpu_seconds() - start, time.monotonic() - wall
    return Trained(epochs, run.images, cpu, wall, pace, curve, settings, weights)


def measured_pace(task: Task, prepared: Prepared) -> Pace:
    """Measure a few steps and one validation of a model that is thrown away."""
    run = Run(task, prepared)
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate / WARM_UP
    start = cpu_seconds()
    for index, batch in enumerate(run.loader):
        if index == SKIPPED:
            start = cpu_seconds()
        if index == TIMED:
            break
        run.step(batch)
    timed = run.steps - SKIPPED if run.steps > SKIPPED else run.steps
    epoch = (cpu_seconds() - start) / timed * len(run.loader)
    start = cpu_seconds()
    figures(json.loads(prepared.files["val"].read_text(encoding="utf-8")), predict(run.model, prepared, "val"))
    return Pace(epoch, cpu_seconds() - start)


def predict_ssdlite(task: Task, prepared: Prepared, trained: Trained) -> list[dict[str, Any]]:
    """Predictions on the test images, in COCO's form."""
    model = build(len(prepared.classes))
    model.load_state_dict(torch.load(trained.weights, weights_only=True)["state_dict"])
    return predict(model, prepared, "test")


def predict(model: nn.Module, prepared: Prepared, split: str) -> list[dict[str, Any]]:
    """Predictions on the images of a split, in COCO's form."""
    model.eval()
    found = []
    with torch.inference_mode():
        images = CocoImages(prepared.files[split], prepared.root, test_transform())
        for pixels, target in map(images.__getitem__, range(len(images))):
            result = model([pixels])[0]
            corners = result["boxes"].clone()
            corners[:, 2:] -= corners[:, :2]
            found += [
                {"image_id": target["image_id"], "category_id": label, "bbox": box, "score": score}
                for box, label, score in zip(corners.tolist(), result["labels"].tolist(), result["scores"].tolist())
            ]
    return found


def _together(batch: list[Any]) -> list[Any]:
    return batch
