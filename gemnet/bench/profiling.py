"""Where the time of a model goes: its operations by kind, beside another model's; and what fusing them gains."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gemnet.bench.benchmark import RESOLUTION, Setting, build, measure_together, step
from gemnet.core.tables import markdown_table
from gemnet.fusion import fold_batch_norm, fused

KINDS = (
    "1x1 convolution", "depthwise convolution", "other convolution", "normalisation", "activation", "concatenation", "pooling",
    "linear", "other",
)  # fmt: skip
PATTERNS = {
    "normalisation": r"(batch|layer|group|instance)_?norm",
    "activation": r"relu|hardtanh|silu|hardswish|hardsigmoid|sigmoid|gelu|threshold|clamp",
    "concatenation": r"\bcat\b|^catbackward",
    "pooling": r"pool|\bmean\b|^meanbackward",
    "linear": r"\b(linear|addmm|mm|bmm|matmul)\b|^(addmm|mm|bmm)backward",
}
"""Kinds other than convolutions by the names of torch's operations and, in training, of the steps of its backward pass."""


@dataclass(frozen=True)
class Share:
    """What operations of one kind take in one pass: seconds, the median over rounds, and bytes written for each image."""

    seconds: float
    bytes_written: float


def kind(name: str, shapes: Sequence[Sequence[int]]) -> str | None:
    """The kind of the operation `name`, of torch's, with arguments of these shapes; None for one that by itself tells nothing.

    A convolution with one input channel a group and several groups is depthwise; any other with a 1x1 kernel is a 1x1.
    """
    name = name.removeprefix("aten::").removeprefix("autograd::engine::evaluate_function: ").lower()
    if re.search(r"conv(olution|2d)", name):
        tensors = [shape for shape in shapes if len(shape) == 4][-2:] if "backward" in name else shapes
        if len(tensors) < 2 or len(tensors[1]) != 4:
            return None
        (_, channels, *_), (_, group, *kernel) = tensors[0], tensors[1]
        if group == 1 and channels > 1:
            return "depthwise convolution"
        return "1x1 convolution" if tuple(kernel) == (1, 1) else "other convolution"
    return next((what for what, pattern in PATTERNS.items() if re.search(pattern, name)), None)


def profile_models(
    names: Sequence[str], setting: Setting, repeats: int = 10, device: str = "cpu", resolution: int = RESOLUTION
) -> dict[str, dict[str, Share]]:
    """For each model its kinds of operations. In each of `repeats` rounds each model runs once, after one round to warm up.

    An operation counts with its innermost call that has a kind; time between operations is in none. The profiler itself costs
    some microseconds an operation. On a GPU the seconds are those of its kernels. Raises ValueError for repeats below 1, and
    for a setting that is not eager: a compiler leaves no operations to tell apart.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, found {repeats}")
    if setting.how != "eager":
        raise ValueError(f"how={setting.how!r}: only eager runs are profiled")
    calls = {name: step(name, setting, device, resolution) for name in names}
    written = {name: bytes_written(call) for name, call in calls.items()}  # warms up as well
    rounds = [{name: seconds(call, device) for name, call in calls.items()} for _ in range(repeats)]
    return {
        name: {
            what: Share(sorted(in_round[name][what] for in_round in rounds)[repeats // 2], written[name][what] / setting.batch)
            for what in KINDS
        }
        for name in names
    }


def seconds(call: Callable[[], Any], device: str = "cpu") -> dict[str, float]:
    """Seconds of one call by kind: torch.profiler's self time of every operation."""
    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities, record_shapes=True) as profiler:
        call()
        if on_gpu:
            torch.cuda.synchronize()
    total = dict.fromkeys(KINDS, 0.0)
    for event in profiler.events():
        if event.device_type != DeviceType.CPU:
            continue
        place, what = event, None
        while place is not None and what is None:
            what, place = kind(place.name, place.input_shapes or ()), place.cpu_parent
        total[what or "other"] += 1e-6 * (event.self_device_time_total if on_gpu else event.self_cpu_time_total)
    return total


class _Written(TorchDispatchMode):
    """Adds up the bytes of the outputs of all operations by kind; a view writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = dict.fromkeys(KINDS, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # what is a name for other operations is told by these
            outputs = func.decompose(*args, **kwargs)
        if outputs is not NotImplemented:
            return outputs
        outputs = func(*args, **kwargs)
        shapes = [tuple(argument.shape) if isinstance(argument, Tensor) else () for argument in args]
        what = kind(func.name().partition(".")[0], shapes) or "other"
        if not func.is_view:
            self.total[what] += sum(
                leaf.numel() * leaf.element_size() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)
            )
        return outputs


def bytes_written(call: Callable[[], Any]) -> dict[str, int]:
    """Bytes that one call writes by kind: the outputs of its operations, what is overwritten in place included."""
    with _Written() as written:
        call()
    return written.total


def table(shares_of: dict[str, dict[str, Share]]) -> str:
    """Markdown: a row a kind; for each model milliseconds a pass, their share, and MiB written an image."""
    names = [name.removeprefix("timm/") if "gemnet" in name else name for name in shares_of]
    header = ["kind", *(f"{name} {unit}" for name in names for unit in ("ms", "share", "MiB written/image"))]
    rows = []
    totals = [Share(*(sum(getattr(share, field) for share in shares.values()) for field in ("seconds", "bytes_written")))
              for shares in shares_of.values()]  # fmt: skip
    for what in (*KINDS, "all"):
        cells = [what]
        for shares, total in zip(shares_of.values(), totals):
            share = total if what == "all" else shares[what]
            part = share.seconds / total.seconds if total.seconds else 0.0
            cells += [f"{1000 * share.seconds:.1f}", f"{part:.1%}", f"{share.bytes_written / 2**20:.2f}"]
        rows.append(cells)
    return markdown_table(header, rows)


def measure_fusion(names: Sequence[str], repeats: int = 10, device: str = "cpu", resolution: int = RESOLUTION) -> str:
    """Markdown: how many times as fast `fused` makes networks whose normalisation is folded, side by side, in float32."""
    rows = []
    wait = torch.cuda.synchronize if device.startswith("cuda") else None
    for name in names:
        for batch in (16, 1):
            model = build(name).eval().to(device=device).to(memory_format=torch.channels_last)
            images = torch.randn(batch, 3, resolution, resolution).to(device=device, memory_format=torch.channels_last)
            forms = {"folded": fold_batch_norm(model), "fused": fused(model)}
            with torch.inference_mode():
                times = measure_together({k: partial(form, images) for k, form in forms.items()}, repeats, wait=wait)
            before, after = (times[form].median for form in forms)
            rows.append((name, batch, f"{1000 * before:.1f} ms", f"{1000 * after:.1f} ms", f"{before / after:.2f}"))
    return markdown_table(("model", "batch", "folded", "fused", "times"), rows)
