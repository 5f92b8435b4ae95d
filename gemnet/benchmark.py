"""How fast a model is: images a second and latency, with warm-up, repeats and spread."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import timm
import torch
import torchvision
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


PEERS = ("torchvision/mnasnet1_3", "timm/mobilenetv2_140", "timm/efficientnet_b0", "timm/rexnet_100")
"""The networks that GEMNet is measured beside."""


def build(name: str) -> nn.Module:
    """`timm/NAME`, `torchvision/NAME`, or a plain name of timm's, with random weights."""
    library, _, model = name.rpartition("/")
    return torchvision.models.get_model(model) if library == "torchvision" else timm.create_model(model)


@dataclass(frozen=True)
class Setting:
    """One way to run a model: images a pass, precision, with training or not, normalisation folded or not."""

    batch: int
    dtype: str = "float32"
    training: bool = False
    folded: bool = False

    def __str__(self) -> str:
        words = [f"batch {self.batch}", {"float32": "fp32", "bfloat16": "bf16"}[self.dtype]]
        return ", ".join(words + ["training step"] * self.training + ["folded"] * self.folded)


SETTINGS = (
    Setting(16), Setting(1), Setting(16, "bfloat16"), Setting(16, folded=True), Setting(1, folded=True),
    Setting(16, training=True),
)  # fmt: skip


def step(name: str, setting: Setting, device: str = "cpu", resolution: int = 224) -> Callable[[], object]:
    """A call that runs the model once, channels-last. Folded: traced and frozen by TorchScript, for ours and peers alike."""
    dtype = getattr(torch, setting.dtype)
    model = build(name).to(device=device, memory_format=torch.channels_last)
    images = torch.randn(setting.batch, 3, resolution, resolution).to(device=device, memory_format=torch.channels_last)
    if setting.training:
        optimiser = torch.optim.SGD(model.train().parameters(), lr=0.01)
        labels = torch.randint(0, 1000, (setting.batch,), device=device)

        def train() -> None:
            optimiser.zero_grad()
            with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
                loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()

        return train
    model, images = model.eval().to(dtype), images.to(dtype)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if setting.folded:
            model = torch.jit.freeze(torch.jit.trace(model, images, check_trace=False))

    def infer() -> None:
        with torch.inference_mode():
            model(images)

    return infer


def compare(
    names: Sequence[str], settings: Sequence[Setting] = SETTINGS, repeats: int = 10, device: str = "cpu", resolution: int = 224
) -> dict[Setting, dict[str, Timing]]:
    """Time models side by side: in each round every model runs once, so that what disturbs the machine disturbs all."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    found: dict[Setting, dict[str, Timing]] = {}
    for setting in settings:
        calls = {name: step(name, setting, device, resolution) for name in names}
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for round_number in range(repeats + 2):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                wait()
                if round_number >= 2:  # the first two warm up
                    seconds[name].append(time.perf_counter() - start)
        found[setting] = {name: Timing(sorted(s)[len(s) // 2], min(s), max(s)) for name, s in seconds.items()}
    return found


def inference(
    model: nn.Module, batch: int, resolution: int = 224, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Timing:
    """Time of a forward pass over `batch` images, channels-last, in evaluation mode."""
    model = model.eval().to(device=device, dtype=dtype, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, resolution, resolution).to(device=device, dtype=dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        return measure(lambda: model(images), wait=torch.cuda.synchronize if device.startswith("cuda") else None)
