"""Where ONNX Runtime spends the time of a network: its nodes by kind, as its own profiler tells them, on one thread."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.bench.profiling import kind

WARM_UP = 3
KINDS = {
    "1x1 convolution": (), "depthwise convolution": (), "other convolution": (), "linear": ("Gemm", "MatMul"),
    "concatenation": ("Concat",), "addition": ("Add",), "reordering": ("ReorderInput", "ReorderOutput"),
    "pooling": ("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"), "other": (),
}  # fmt: skip
"""The nodes of each kind; of convolutions, the weights tell it. Reordering is between rows and the blocks of channels that
convolutions work on."""


def profile(files: Mapping[str, Path], folder: Path, resolution: int, passes: int) -> dict[str, dict[str, dict[str, float]]]:
    """For each network and kind: nodes, seconds of a pass (the sum of each node's median) and MACs of convolutions.

    files: By the networks' names; in each of `passes` rounds each runs once, on one image. MACs are those that are computed:
    ONNX Runtime fills channels up to whole blocks. folder: for the profiler's files.
    """
    import onnxruntime

    sessions = {}
    for index, (name, path) in enumerate(files.items()):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling, options.profile_file_prefix = True, str(folder / f"profile{index}")
        sessions[name] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, resolution, resolution), np.float32)
    for _ in range(WARM_UP + passes):
        for session in sessions.values():
            session.run(None, {session.get_inputs()[0].name: image})
    return {name: by_kind(json.loads(Path(s.end_profiling()).read_text(encoding="utf-8"))) for name, s in sessions.items()}


def by_kind(events: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The events of a profile by kind, as `profile` returns them; the first WARM_UP of each node do not count."""
    durations: dict[str, list[float]] = {}
    about: dict[str, Any] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            durations.setdefault(event["name"], []).append(1e-6 * event["dur"])
            about[event["name"]] = event["args"]
    found = {name: {"nodes": 0, "seconds": 0.0, "macs": 0} for name in KINDS}
    for name, seconds in durations.items():
        what, macs = _kind_and_macs(about[name])
        found[what]["nodes"] += 1
        found[what]["seconds"] += statistics.median(seconds[WARM_UP:])
        found[what]["macs"] += macs
    return found


def _kind_and_macs(node: Mapping[str, Any]) -> tuple[str, int]:
    operator = node["op_name"]
    if operator not in ("Conv", "FusedConv"):
        return next((what for what, operators in KINDS.items() if operator in operators), "other"), 0
    shapes, (output, *_) = (
        [next(iter(one.values())) for one in node[key]] for key in ("input_type_shape", "output_type_shape")
    )
    return kind("conv2d", shapes[:2]) or "other", math.prod(output) * math.prod(shapes[1][1:])
