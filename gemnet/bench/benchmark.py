"""How fast a model is: images a second and latency, with warm-up, repeats and spread."""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gemnet.cell import Cell
from gemnet.core.errors import UserError
from gemnet.core.machine import processor
from gemnet.core.tables import markdown_table, marks, publish
from gemnet.counting import counted
from gemnet.library import create_library_model
from gemnet.model_table import MODELS
from gemnet.models import gemnet

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Timing:
    """Seconds of a call over its repeats."""

    median: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Of the seconds of each repeat."""
        return cls(sorted(seconds)[len(seconds) // 2], min(seconds), max(seconds))

    def rate(self, items: int) -> str:
        """Items a second: median (slowest - fastest)."""
        return f"{items / self.median:,.1f}/s ({items / self.slowest:,.1f} - {items / self.fastest:,.1f})"


def measure(call: Callable[[], object], repeats: int = 10, warm_up: int = 2, wait: Callable[[], None] | None = None) -> Timing:
    """Time `call`. wait: waits for work that a call leaves running, as on a GPU. Raises ValueError for repeats below 1."""
    return measure_together({"": call}, repeats, warm_up, wait)[""]


def measure_together(
    calls: Mapping[Name, Callable[[], object]], repeats: int = 10, warm_up: int = 2, wait: Callable[[], None] | None = None
) -> dict[Name, Timing]:
    """Time calls side by side: in each round each runs once, so that what disturbs the machine disturbs all; as `measure`."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, found {repeats}")
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for i in range(warm_up + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if wait:
                wait()
            if i >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing.of(taken) for name, taken in seconds.items()}


PAUSE = 0.15
"""Seconds in which the threads of what ran before go to sleep: those of ONNX Runtime wait awake, and take a core meanwhile."""
BURST = 5
"""Passes in a row of which a round counts the median."""


def measure_in_bursts(
    calls: Mapping[Name, Callable[[], object]], rounds: int, warm_up: int = 1, told: Callable[[int], object] = lambda done: None
) -> dict[Name, Timing]:
    """Time calls side by side that have threads of their own: in each round each rests, runs once uncounted, then BURST times.

    told: Called after each round with 1. The timings are of the rounds' medians.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, found {rounds}")
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for index in range(warm_up + rounds):
        for name, call in calls.items():
            time.sleep(PAUSE)
            timing = measure(call, BURST, 1)
            if index >= warm_up:
                seconds[name].append(timing.median)
        told(1)
    return {name: Timing.of(taken) for name, taken in seconds.items()}


MEASURED, PAGE = "configs/benchmark.json", "docs/results/speed.md"
MARKS = marks("models", "tools/benchmark.py models --write")
RESOLUTION = 224
"""Height and width of the images that the published table is measured on."""
PEERS = ("torchvision/mnasnet1_3", "timm/mobilenetv2_140", "timm/efficientnet_b0", "timm/rexnet_100")
"""The networks that GEMNet is measured beside."""


def ours() -> list[str]:
    """The models of `gemnet.model_table`, as `build` takes them."""
    return [f"timm/{name}" for name in MODELS]


def build(name: str) -> nn.Module:
    """`timm/NAME`, `torchvision/NAME`, a plain name of timm's, or `shape/NAME` at GEMNet-A's budget, with random weights."""
    library, _, model = name.rpartition("/")
    if library == "shape":
        operators, edges = SHAPES[model]
        return gemnet(cell=Cell(("input", *operators), edges), target_macs=463e6, target_params=4.3e6, residual=True)
    return create_library_model(name if library else f"timm/{name}")


def _eager(model: nn.Module, images: Tensor) -> Callable[[], Any]:
    return lambda: model(images)


def folded(model: nn.Module, images: Tensor) -> Callable[[], Any]:
    """A pass of `model`, which evaluates, over `images`; TorchScript's freezing folds normalisation into convolutions."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(model, images, check_trace=False))
    return lambda: frozen(images)


def _compiled(model: nn.Module, images: Tensor) -> Callable[[], Any]:
    compiled = torch.compile(model, dynamic=False, fullgraph=True)
    # Models of one class share dynamo's cache, whose limit is meant for one model that changes.
    with torch.inference_mode(), torch._dynamo.config.patch(recompile_limit=1000):
        compiled(images)
    return lambda: compiled(images)


def _onnxruntime(model: nn.Module, images: Tensor) -> Callable[[], Any]:
    if images.device.type != "cpu":
        raise NotOffered("onnxruntime is measured on the CPU alone")
    for package in ("onnxruntime", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise NotOffered(f"{package} is not installed")
    import onnxruntime

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    assert program is not None  # with dynamo
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options, ["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: images.contiguous().numpy()}
    return lambda: torch.from_numpy(session.run(None, inputs)[0])


WAYS: dict[str, Callable[[nn.Module, Tensor], Callable[[], Any]]] = {
    "eager": _eager, "folded": folded, "compiled": _compiled, "onnxruntime": _onnxruntime
}  # fmt: skip
"""How a model runs: as written; traced and frozen by TorchScript; by torch.compile; exported to ONNX, on as many threads."""


class NotOffered(Exception):
    """A setting that cannot be measured here; the message tells why."""


@dataclass(frozen=True)
class Setting:
    """One way to run a model: images a pass, precision, with training or not, and how, one of WAYS; training is eager."""

    batch: int
    dtype: str = "float32"
    training: bool = False
    how: str = "eager"

    def __post_init__(self) -> None:
        if self.how not in (("eager",) if self.training else WAYS):
            raise ValueError(f"how={self.how!r}; expected one of {', '.join(WAYS)}, and eager for training")

    def __str__(self) -> str:
        words = [f"batch {self.batch}", {"float32": "fp32", "bfloat16": "bf16"}[self.dtype]]
        return ", ".join(words + ["training step"] * self.training + [self.how] * (self.how != "eager"))


SETTINGS = (
    Setting(16), Setting(1), Setting(16, "bfloat16"), Setting(16, how="folded"), Setting(1, how="folded"),
    Setting(16, how="compiled"), Setting(16, how="onnxruntime"), Setting(1, how="onnxruntime"), Setting(16, training=True),
)  # fmt: skip


def settings_named(names: Sequence[str] | None = None) -> tuple[Setting, ...]:
    """Those of SETTINGS with these names, in its order; all for None. Raises UserError for a name that is not there."""
    known = {str(setting): setting for setting in SETTINGS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UserError(f"no setting is named {unknown[0]!r}; expected {'; '.join(known)}")
    return tuple(setting for name, setting in known.items() if names is None or name in names)


def step(name: str, setting: Setting, device: str = "cpu", resolution: int = RESOLUTION) -> Callable[[], Any]:
    """A call that runs the model once, channels-last, and returns its logits, or in training its loss.

    Raises NotOffered, with the reason, where a compiler or an exporter cannot run or does not take the model.
    """
    dtype = getattr(torch, setting.dtype)
    model = build(name).to(device=device).to(memory_format=torch.channels_last)
    images = torch.randn(setting.batch, 3, resolution, resolution).to(device=device, memory_format=torch.channels_last)
    if setting.training:
        optimiser = torch.optim.SGD(model.train().parameters(), lr=0.01)
        labels = torch.randint(0, 1000, (setting.batch,), device=device)

        def train() -> Tensor:
            optimiser.zero_grad()
            with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
                loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()
            return loss.detach()

        return train
    model, images = model.eval().to(dtype), images.to(dtype)
    try:
        call = WAYS[setting.how](model, images)
    except NotOffered:
        raise
    except Exception as error:  # whatever a compiler raises: the other settings are still worth measuring
        raise NotOffered(f"{name}: {_reason(error)}") from error

    def infer() -> Tensor:
        with torch.inference_mode():
            return call()

    return infer


def _reason(error: Exception) -> str:
    """One line: what a C++ compiler in the background complained of, or else the first line of the message that is no heading,
    as "backend='inductor' raised:"."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    lines = [line for line in lines if not line.rstrip().endswith(" raised:")] or lines
    compiler = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return f"{type(error).__name__}: {(compiler or lines)[0].strip()[:200]}"


def compare(
    names: Sequence[str],
    settings: Sequence[Setting] = SETTINGS,
    repeats: int = 10,
    device: str = "cpu",
    resolution: int = RESOLUTION,
) -> tuple[dict[Setting, dict[str, Timing]], dict[Setting, str]]:
    """Time models side by side in each of the settings; then which settings were left out, for all models alike, and why."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else None
    timings, left_out = {}, {}
    for setting in settings:
        try:
            calls = {name: step(name, setting, device, resolution) for name in names}
        except NotOffered as error:
            left_out[setting] = str(error)
            continue
        timings[setting] = measure_together(calls, repeats, wait=wait)
    return timings, left_out


SHAPES = {
    "sepconv3x3 -> conv1x1": (("sepconv3x3", "conv1x1"), ((0, 1), (1, 2))),
    "conv1x1 -> sepconv3x3": (("conv1x1", "sepconv3x3"), ((0, 1), (1, 2))),
    "sepconv3x3": (("sepconv3x3",), ((0, 1),)),
    "conv1x1 -> sepconv3x3 -> conv1x1": (("conv1x1", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2), (2, 3))),
    "two leaves: conv1x1, sepconv3x3": (("conv1x1", "sepconv3x3"), ((0, 1), (0, 2))),
    "four leaves: sepconv3x3": (("sepconv3x3",) * 4, tuple((0, i) for i in range(1, 5))),
    "conv1x1 -> four leaves sepconv3x3": (("conv1x1",) + ("sepconv3x3",) * 4, ((0, 1), *((1, i) for i in range(2, 6)))),
    "four leaves: conv1x1": (("conv1x1",) * 4, tuple((0, i) for i in range(1, 5))),
    "conv1x1 -> four leaves conv3x3": (("conv1x1",) + ("conv3x3",) * 4, ((0, 1), *((1, i) for i in range(2, 6)))),
    "dense: 3 nodes, each reads all before": (("sepconv3x3",) * 3, ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))),
}
"""Cells of small shapes, to see which are fast at one budget: operators of the nodes after the input, edges."""


def cost(name: str, resolution: int = RESOLUTION) -> tuple[int, int]:
    """Params, and MACs at resolution x resolution of convolutions and linear layers, counted on shapes."""
    with torch.device("meta"):
        _, counts = counted(build(name).eval(), torch.empty(1, 3, resolution, resolution))
    return counts.params, counts.macs


def peak_memory(name: str, setting: Setting, resolution: int = RESOLUTION) -> int:
    """Bytes by which two steps on the CPU raise the peak of a fresh process above what it had with the model built."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, name, setting, resolution).result()


def _peak(name: str, setting: Setting, resolution: int) -> int:
    call = step(name, setting, resolution=resolution)
    before = _high_water()
    call()
    call()
    return _high_water() - before


def _high_water() -> int:
    """The peak resident memory of this process in bytes, from Linux; getrusage's would be the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="ignore").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def measure_models(
    names: Sequence[str],
    repeats: int = 10,
    device: str = "cpu",
    settings: Sequence[Setting] = SETTINGS,
    resolution: int = RESOLUTION,
) -> dict[str, Any]:
    """Everything about `names`, measured side by side, with machine, versions and date: what the data file holds.

    Memory is that of the first training setting; None where there is none, and on another device than the CPU.
    """
    costs = {name: cost(name, resolution) for name in names}  # first: a name that is not known is told before the long work
    by_setting, left_out = compare(names, settings, repeats, device, resolution)
    training = next((setting for setting in by_setting if setting.training), None)
    models = []
    for name in names:
        rates = {
            str(setting): {"images_per_second": setting.batch / timings[name].median, "seconds": asdict(timings[name])}
            for setting, timings in by_setting.items()
        }
        memory = peak_memory(name, training, resolution) if training and device == "cpu" else None
        params, macs = costs[name]
        models.append({"name": name, "params": params, "macs": macs, "training_memory": memory, "rates": rates})
    return {
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(),
        "versions": _versions(by_setting),
        "repeats": repeats,
        "resolution": resolution,
        "left_out": [{"setting": str(setting), "reason": reason} for setting, reason in left_out.items()],
        "models": models,
    }


def _versions(settings: Iterable[Setting]) -> dict[str, str]:
    used = ["torch", "torchvision", "timm"] + ["onnxruntime"] * any(setting.how == "onnxruntime" for setting in settings)
    return {package: importlib.import_module(package).__version__ for package in used}


def table(measured: dict[str, Any]) -> str:
    """Markdown: a row a model, a column a setting; images a second, latency at batch 1; below, what was left out and why.

    The last row tells how many times the first model is as fast as the first one that is not a GEMNet, and its share of memory.
    """
    settings = list(measured["models"][0]["rates"])
    header = ["model", "params M", "MACs M", *settings]
    if any(row["training_memory"] is not None for row in measured["models"]):
        header.append("its memory MiB")
    rows = []
    for row in measured["models"]:
        name = row["name"].removeprefix("timm/") if row["name"] in ours() else row["name"]
        cells = [name, f"{row['params'] / 1e6:.2f}", f"{row['macs'] / 1e6:.0f}"]
        for setting, rate in row["rates"].items():
            seconds = rate["seconds"]["median"]
            cells.append(f"{1000 * seconds:.1f} ms" if setting.startswith("batch 1,") else f"{rate['images_per_second']:.1f}/s")
        if row["training_memory"] is not None:
            cells.append(f"{row['training_memory'] / 2**20:.0f}")
        rows.append(cells)
    peer = next((row for row in measured["models"] if row["name"] not in ours()), None)
    if measured["models"][0]["name"] in ours() and peer is not None:
        rows.append(_times(measured["models"][0], peer))
    circumstances = (
        f"{measured['machine']}, torch {measured['versions']['torch']}, {measured['date']}, median of {measured['repeats']}"
    )
    if measured.get("resolution", RESOLUTION) != RESOLUTION:
        circumstances += ", at {0}x{0}".format(measured["resolution"])
    left_out = [f"Left out: {entry['setting']}: {entry['reason']}" for entry in measured.get("left_out", [])]
    return "\n\n".join([markdown_table(header, rows), circumstances, *left_out])


def _times(ours: dict[str, Any], peer: dict[str, Any]) -> list[str]:
    """A row: the one model against the other."""
    cells = [f"{ours['name'].removeprefix('timm/')} against {peer['name'].split('/')[-1]}"]
    cells += [f"{ours[count] / peer[count]:.2f} x" for count in ("params", "macs")]
    for setting, rate in ours["rates"].items():
        cells.append(f"{peer['rates'][setting]['seconds']['median'] / rate['seconds']['median']:.2f} x")
    if ours["training_memory"] is not None:
        cells.append(f"{ours['training_memory'] / peer['training_memory']:.2f} x")
    return cells


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with the settings that were measured in `new` renewed, in the order of SETTINGS; the date is the span of both.

    Raises UserError where machine, versions, repeats or models are others: then the columns of one table would not compare.
    """
    versions = old["versions"] | new["versions"]
    compared = {
        "machine": (old["machine"], new["machine"]),
        "versions": (versions, new["versions"] | old["versions"]),
        "repeats": (old["repeats"], new["repeats"]),
        "models": tuple([[row[key] for key in ("name", "params", "macs")] for row in data["models"]] for data in (old, new)),
    }
    for what, (before, now) in compared.items():
        if before != now:
            raise UserError(f"{MEASURED}: {what}: {before}; now {now}; measure all settings anew")
    models = []
    for before, after in zip(old["models"], new["models"]):
        rates, memory = before["rates"] | after["rates"], after["training_memory"]
        order = [str(setting) for setting in SETTINGS if str(setting) in rates]
        memory = before["training_memory"] if memory is None else memory
        models.append({**after, "training_memory": memory, "rates": {name: rates[name] for name in order}})
    reasons = {entry["setting"]: entry for data in (old, new) for entry in data.get("left_out", [])}
    left_out = [entry for setting, entry in reasons.items() if setting not in models[0]["rates"]]
    first = old["date"].partition(" to ")[0]
    span = new["date"] if first == new["date"] else f"{first} to {new['date']}"
    return {**new, "date": span, "versions": versions, "left_out": left_out, "models": models}


def write(root: Path, measured: dict[str, Any]) -> None:
    """Write the data file below `root` and renew the table in PAGE. Where not all of SETTINGS were measured, the others stay.

    Raises UserError for images of another size than RESOLUTION, and as `merged` does.
    """
    if measured["resolution"] != RESOLUTION:
        raise UserError(f"resolution {measured['resolution']}: {MEASURED} is measured at {RESOLUTION}")
    tried = {*measured["models"][0]["rates"], *(entry["setting"] for entry in measured["left_out"])}
    if tried != set(map(str, SETTINGS)):
        measured = merged(json.loads((root / MEASURED).read_text(encoding="utf-8")), measured)
    publish(root, MEASURED, measured, PAGE, MARKS, table(measured))
