"""What an int8 file is beside the float file that it was made from: told in lines, and as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gemnet.bench.benchmark import Timing, measure_in_bursts
from gemnet.deploy.int8.layers import Layer
from gemnet.deploy.int8.measuring import Top1
from gemnet.deploy.int8.mixed_precision import Trial
from gemnet.deploy.int8.targets import target
from gemnet.deploy.runtimes.table import Runtime

if TYPE_CHECKING:
    from gemnet.deploy.int8.average_precision import AveragePrecision

ROUNDS = 10
"""In which both files are timed."""


@dataclass(frozen=True)
class LayerReport:
    """A layer: error, of what leaves the network when it alone is int8, relative (1 is as large as the values); precision."""

    name: str
    kind: str
    weights: int
    error: float
    precision: str


@dataclass(frozen=True)
class Report:
    """An int8 file beside the float file that it was made from.

    Attributes:
        path: The int8 file.
        sizes: Bytes of the float file and of this.
        latencies: Seconds of a call at batch 1, of both.
        difference: How the float file differs from the model, relative; None where it was not compared here.
        measured: Accuracy or AP on labelled images; of a detector, first on the photos by which the layers were chosen.
        layers: In the order in which they are computed; empty where nothing was measured.
        trials: What was lost with some layers kept float.
        settings: weight_bits, calibration_images, max_loss.
    """

    path: Path
    sizes: tuple[int, int]
    latencies: tuple[Timing, Timing]
    difference: float | None = None
    measured: tuple[Top1 | AveragePrecision, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    trials: tuple[Trial, ...] = ()
    settings: Mapping[str, Any] | None = None

    @property
    def top1(self) -> Top1 | None:
        """The classifier's accuracy, if it was measured."""
        return next((one for one in self.measured if isinstance(one, Top1)), None)

    @property
    def kept_float(self) -> list[str]:
        """Names of the layers that stay float."""
        return [layer.name for layer in self.layers if layer.precision == "float"]

    def __str__(self) -> str:
        before, after = self.sizes
        slow, fast = (1e3 * timing.median for timing in self.latencies)
        proof = "" if self.difference is None else f"; its float form equals the model to {self.difference:.1e}"
        lines = [
            f"{self.path}: int8{proof}",
            f"size     float {before / 1e6:.2f} MB, int8 {after / 1e6:.2f} MB: {before / after:.1f} x smaller",
            f"latency  float {slow:.2f} ms, int8 {fast:.2f} ms at batch 1: {slow / fast:.2f} x as fast",
            *map(str, self.measured),
        ]
        if self.layers:
            lines += [self._choice(), "", *layer_lines(self.layers)]
        return "\n".join(lines)

    def _choice(self) -> str:
        kept = self.kept_float
        if not kept:
            return f"layers   all {len(self.layers)} in int8"
        with_all = self.trials[0].lost
        told = f"with all in int8 {with_all:.2f} points were lost"
        return f"layers   {len(self.layers) - len(kept)} of {len(self.layers)} in int8; float: {', '.join(kept)} ({told})"

    def as_json(self) -> dict[str, Any]:
        """The report, for JSON; latency as the ratio alone, which says more than the milliseconds of one machine."""
        return {
            "file": self.path.name, "runtime": target(self.path).runtime.title,
            "bytes": {"float": self.sizes[0], "int8": self.sizes[1]},
            "times_as_fast": round(self.latencies[0].median / self.latencies[1].median, 3), **(self.settings or {}),
            "measured": [measured_json(one) for one in self.measured],
            "trials": [asdict(trial) for trial in self.trials], "layers": [asdict(layer) for layer in self.layers],
        }  # fmt: skip


def beside_float(entry: Runtime, plain: Path, path: Path, image: np.ndarray) -> tuple[tuple[int, int], tuple[Timing, Timing]]:
    """Weigh and time both files of a runtime, float and int8, on one image: bytes of each, and seconds of a call of each."""
    before, after = measure_in_bursts({one: partial(entry.open(one), image) for one in (plain, path)}, ROUNDS).values()
    return (entry.bytes_of(plain), entry.bytes_of(path)), (before, after)


def measured_json(one: Top1 | AveragePrecision) -> dict[str, Any]:
    """A measurement, for JSON: its measure, images, float, int8, lost."""
    if isinstance(one, Top1):
        return {
            "measure": "top-1", "images": one.images, "float": one.reference, "int8": one.accuracy,
            "lost": round(one.lost, 4), "agreement": one.agreement,
        }  # fmt: skip
    return {
        "measure": "AP", "set": Path(one.name).stem, "images": one.photos, "float": one.reference, "int8": one.ap,
        "lost": round(one.lost, 4), "AP50": {"float": one.reference50, "int8": one.ap50},
    }  # fmt: skip


def layer_reports(layers: Sequence[Layer], errors: Mapping[str, float], kept_float: Collection[str]) -> tuple[LayerReport, ...]:
    """Tell of each layer how sensitive it is and what it became."""
    return tuple(
        LayerReport(
            layer.name, layer.kind, layer.weights, round(errors[layer.name], 6),
            "float" if layer.name in kept_float else "int8",
        )
        for layer in layers
    )  # fmt: skip


def layer_lines(layers: Sequence[LayerReport]) -> list[str]:
    """A table for a terminal: layer by layer, its error when it alone is int8."""
    width = max(len(layer.name) for layer in layers)
    head = f"{'layer':{width}}  {'kind':18}  {'weights':>9}  {'error':>8}  precision"
    rows = [
        f"{layer.name:{width}}  {layer.kind:18}  {layer.weights:9,}  {layer.error:8.2%}  {layer.precision}" for layer in layers
    ]
    return [head, *rows]
