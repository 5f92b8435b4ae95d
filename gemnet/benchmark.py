"""How fast a model is: images a second and latency, with warm-up, repeats and spread."""

from __future__ import annotations

import multiprocessing
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from gemnet.cell import Cell
from gemnet.complexity import counted
from gemnet.library import create_library_model
from gemnet.models import gemnet
from gemnet.tables import publish


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
    return measure_together({"": call}, repeats, warm_up, wait)[""]


def measure_together(
    calls: Mapping[str, Callable[[], object]], repeats: int = 10, warm_up: int = 2, wait: Callable[[], None] | None = None
) -> dict[str, Timing]:
    """Time calls side by side: in each round each runs once, so that what disturbs the machine disturbs all; as `measure`."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, found {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(warm_up + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if wait:
                wait()
            if i >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(sorted(s)[len(s) // 2], min(s), max(s)) for name, s in seconds.items()}


MEASURED = "configs/benchmark.json"
MARKS = ("<!-- models: made by tools/benchmark.py models --write -->", "<!-- end of models -->")
PEERS = ("torchvision/mnasnet1_3", "timm/mobilenetv2_140", "timm/efficientnet_b0", "timm/rexnet_100")
"""The networks that GEMNet is measured beside."""


def build(name: str) -> nn.Module:
    """`timm/NAME`, `torchvision/NAME`, a plain name of timm's, or `shape/NAME` at GEMNet-A's budget, with random weights."""
    library, _, model = name.rpartition("/")
    if library == "shape":
        operators, edges = SHAPES[model]
        return gemnet(cell=Cell(("input", *operators), edges), target_macs=463e6, target_params=4.3e6)
    return create_library_model(name if library else f"timm/{name}")


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
    """Time models side by side in each of the settings."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else None
    return {
        setting: measure_together({name: step(name, setting, device, resolution) for name in names}, repeats, wait=wait)
        for setting in settings
    }


SHAPES = {
    "sepconv3x3 -> conv1x1": (("sepconv3x3", "conv1x1"), ((0, 1), (1, 2))),
    "conv1x1 -> sepconv3x3": (("conv1x1", "sepconv3x3"), ((0, 1), (1, 2))),
    "sepconv3x3": (("sepconv3x3",), ((0, 1),)),
    "conv1x1 -> sepconv3x3 -> conv1x1": (("conv1x1", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2), (2, 3))),
    "two leaves: conv1x1, sepconv3x3": (("conv1x1", "sepconv3x3"), ((0, 1), (0, 2))),
    "four leaves: sepconv3x3": (("sepconv3x3",) * 4, tuple((0, i) for i in range(1, 5))),
    "conv1x1 -> four leaves sepconv3x3": (("conv1x1",) + ("sepconv3x3",) * 4, ((0, 1), *((1, i) for i in range(2, 6)))),
    "dense: 3 nodes, each reads all before": (("sepconv3x3",) * 3, ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))),
}
"""Cells of small shapes, to see which are fast at one budget: operators of the nodes after the input, edges."""


def cost(name: str) -> tuple[int, int]:
    """Params, and MACs at 224x224 of convolutions and linear layers, counted on shapes."""
    with torch.device("meta"):
        _, found = counted(build(name).eval(), torch.empty(1, 3, 224, 224))
    return found.params, found.macs


def peak_memory(name: str, setting: Setting) -> int:
    """Bytes by which two steps on the CPU raise the peak of a fresh process above what it had with the model built."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, name, setting).result()


def _peak(name: str, setting: Setting) -> int:
    call = step(name, setting)
    before = _high_water()
    call()
    call()
    return _high_water() - before


def _high_water() -> int:
    """The peak resident memory of this process in bytes, from Linux; getrusage's would be the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="ignore").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def measure_models(names: Sequence[str], repeats: int = 10, device: str = "cpu") -> dict[str, Any]:
    """Everything about `names`, measured side by side, with machine, versions and date: what the data file holds."""
    found = compare(names, SETTINGS, repeats, device)
    models = []
    for name in names:
        params, macs = cost(name)
        rates = {
            str(setting): {"images_per_second": setting.batch / timings[name].median, "seconds": asdict(timings[name])}
            for setting, timings in found.items()
        }
        memory = peak_memory(name, SETTINGS[-1]) if device == "cpu" else None
        models.append({"name": name, "params": params, "macs": macs, "training_memory": memory, "rates": rates})
    return {
        "date": date.today().isoformat(),
        "machine": f"{_processor()}, {torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__},
        "repeats": repeats,
        "models": models,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(measured: dict[str, Any]) -> str:
    """Markdown: a row a model, a column a setting; images a second, latency at batch 1."""
    settings = list(measured["models"][0]["rates"])
    lines = [
        "| model | params M | MACs M | " + " | ".join(settings) + " | its memory MiB |",
        "|---|" + "---|" * (len(settings) + 3),
    ]
    for row in measured["models"]:
        cells = []
        for setting, rate in row["rates"].items():
            seconds = rate["seconds"]["median"]
            cells.append(f"{1000 * seconds:.1f} ms" if setting.startswith("batch 1,") else f"{rate['images_per_second']:.1f}/s")
        memory = "" if row["training_memory"] is None else f"{row['training_memory'] / 2**20:.0f}"
        name = row["name"].removeprefix("timm/") if "gemnet" in row["name"] else row["name"]
        lines.append(f"| {name} | {row['params'] / 1e6:.2f} | {row['macs'] / 1e6:.0f} | {' | '.join(cells)} | {memory} |")
    lines.append(
        f"\n{measured['machine']}, torch {measured['versions']['torch']}, {measured['date']}, median of {measured['repeats']}"
    )
    return "\n".join(lines)


def write(root: Path, measured: dict[str, Any]) -> None:
    """Write the data file below `root` and renew README's table."""
    publish(root, MEASURED, measured, "README.md", MARKS, table(measured))
