"""How fast a model is: images a second and latency, with warm-up, repeats and spread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Timing:
    """Seconds of a call over its repeats."""

    median: float
    fastest: float
    slowest: float

    def rate(self, items: int) -> str:
        """Items a second: median (slowest - fastest)."""
        return f"{items / self.median:,.1f}/s ({items / self.slowest:,.1f} - {items / self.fastest:,.1f})"


def measure(call: Callable[[], object], repeats: int = 10, warm_up: int = 2, wait: Callable[[], None] | None = None) -> Timing:
    """Time `call`. wait: waits for work that a call leaves running, as on a GPU. Raises ValueError for repeats below 1."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, found {repeats}")
    seconds = []
    for i in range(warm_up + repeats):
        start = time.perf_counter()
        call()
        if wait:
            wait()
        if i >= warm_up:
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    return Timing(seconds[len(seconds) // 2], seconds[0], seconds[-1])


def inference(
    model: nn.Module, batch: int, resolution: int = 224, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Timing:
    """Time of a forward pass over `batch` images, channels-last, in evaluation mode."""
    model = model.eval().to(device=device, dtype=dtype, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, resolution, resolution).to(device=device, dtype=dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        return measure(lambda: model(images), wait=torch.cuda.synchronize if device.startswith("cuda") else None)
