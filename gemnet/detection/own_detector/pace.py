"""How fast a detector trains and predicts on this machine, from a few steps on noise."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from gemnet.openmmlab.engine import lay_out
from gemnet.openmmlab.precision import precision

STEPS = 3
OBJECTS = 8


@dataclass(frozen=True)
class Pace:
    """Seconds an image, of training and of prediction, on one process."""

    training: float
    prediction: float


def measure_pace(config: Config, device: str) -> Pace:
    """Take a few steps of a config's model, whose parts are complete, at its batch and image size. Images are not loaded."""
    init_default_scope("mmdet")
    width, height = config.image_size
    batch = config.batch_size
    model = MODELS.build(config.model).to(device)
    lay_out(model, config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)
    dtype, seconds = getattr(torch, precision(config)), []
    for _ in range(STEPS):
        start = time.perf_counter()
        data = model.data_preprocessor(_noise(batch, height, width), True)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            losses, _ = model.train().parse_losses(model(**data, mode="loss"))
        optimiser.zero_grad()
        losses.backward()
        optimiser.step()
        seconds.append(_now(device) - start)
    start = time.perf_counter()
    with torch.no_grad():
        model.eval().test_step(_noise(batch, height, width))
    return Pace(min(seconds[1:]) / batch, (_now(device) - start) / batch)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _noise(count: int, height: int, width: int) -> dict[str, Any]:
    """A batch as a data loader gives it, of grey noise with boxes of the first class."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(count):
        corners = torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([width, height]) / 2
        sample = DetDataSample(
            metainfo={
                "img_id": 0, "img_shape": (height, width), "ori_shape": (height, width), "scale_factor": (1.0, 1.0),
            }
        )  # fmt: skip
        boxes = torch.cat([corners, corners + torch.tensor([width, height]) / 4], 1)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(OBJECTS, dtype=torch.long))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    inputs = [torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8) for _ in range(count)]
    return {"inputs": inputs, "data_samples": samples}
