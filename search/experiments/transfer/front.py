"""Accuracy beside latency and MACs, of the networks that the record has from scratch: which no other is ahead of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gemnet.bench.benchmark import RESOLUTION, Setting, compare, cost
from gemnet.core.errors import UserError
from gemnet.core.machine import processor
from gemnet.core.tables import markdown_table, marks, publish, spread
from gemnet.drawing.palette import SERIES, save_svg
from gemnet.drawing.plots import legend_below, page_figure, panels
from search.experiments.transfer.tasks import SCRATCH, TRIED, TUNED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, DATA, PICTURE = "docs/results/front.md", "docs/results/front.json", "docs/results/front.svg"
MARKS = marks("front", "tools/compare_weights.py front --write")
EAGER, ONNX = Setting(1), Setting(1, how="onnxruntime")
"""How latency is measured: a pass of one image, by PyTorch as the network is written, and by ONNX Runtime."""
CONDITIONS = ("data", "image_size", "labels", "epochs", "precision")
"""What accuracies must have in common to be compared."""
NOTHING = "Nothing is trained yet."


@dataclass(frozen=True)
class Network:
    """A network of the front.

    Attributes:
        name: As the record has it.
        params: Of 1,000 classes.
        macs: On one image of `RESOLUTION` pixels.
        milliseconds: Of one such image, by the name of the setting: median, fastest and slowest.
        accuracies: On the test images, a seed each.
    """

    name: str
    params: int
    macs: int
    milliseconds: Mapping[str, Mapping[str, float]]
    accuracies: Sequence[float]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.accuracies))

    def beats(self, other: Network, setting: str) -> bool:
        """Whether it is both faster and more accurate, in the median and the mean."""
        return self.milliseconds[setting]["median"] < other.milliseconds[setting]["median"] and self.accuracy > other.accuracy


def conditions(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the trainings from scratch that most networks have, the longest of them where that leaves a choice; empty for none."""
    found: dict[tuple[Any, ...], set[str]] = {}
    for row in _scratch(rows):
        found.setdefault(tuple(row[name] for name in CONDITIONS), set()).add(row["model"])
    if not found:
        return {}
    epochs = CONDITIONS.index("epochs")
    most = max(found.items(), key=lambda item: (len(item[1]), item[0][epochs]))
    return dict(zip(CONDITIONS, most[0]))


def _scratch(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["way"] == TUNED and row["start"] == SCRATCH]


def measured(
    rows: Sequence[Mapping[str, Any]], repeats: int = 30, told: Callable[[str], object] = lambda line: None
) -> dict[str, Any]:
    """Costs and latencies of the networks of the record, side by side, with the machine: what the data file holds.

    Raises:
        UserError: The record has no training from scratch, or ONNX Runtime is not installed.
    """
    shared = conditions(rows)
    if not shared:
        raise UserError("the record has no training from scratch: train with compare-weights --ways tuned MODEL@scratch")
    names = list(dict.fromkeys(row["model"] for row in _scratch(rows) if _fits(row, shared)))
    told(f"timing {len(names)} networks, {repeats} rounds in each of two settings")
    timings, left_out = compare(names, (EAGER, ONNX), repeats)
    if left_out:
        raise UserError(f"{', '.join(map(str, left_out))}: {next(iter(left_out.values()))}")
    networks = []
    for name in names:
        params, macs = cost(name)
        times = {
            str(setting): {key: 1000 * value for key, value in asdict(own[name]).items()} for setting, own in timings.items()
        }
        networks.append({"name": name, "params": params, "macs": macs, "milliseconds": times})
    machine = f"{processor()}, {torch.get_num_threads()} threads"
    return {
        "date": date.today().isoformat(), "machine": machine, "torch": torch.__version__, "repeats": repeats,
        "resolution": RESOLUTION, "networks": networks,
    }  # fmt: skip


def _fits(row: Mapping[str, Any], shared: Mapping[str, Any]) -> bool:
    return all(row[name] == value for name, value in shared.items())


def networks(rows: Sequence[Mapping[str, Any]], costs: Mapping[str, Any]) -> list[Network]:
    """Those that were timed and trained, the fastest in ONNX Runtime first."""
    shared, found = conditions(rows), []
    for held in costs["networks"]:
        own = [row for row in _scratch(rows) if row["model"] == held["name"] and _fits(row, shared)]
        if own:
            rate = _chosen_rate(rows, own[0])
            accuracies = [row["accuracy"] for row in own if row["learning_rate"] == rate]
            found.append(Network(**held, accuracies=accuracies))
    return sorted(found, key=lambda network: network.milliseconds[str(ONNX)]["median"])


def _chosen_rate(rows: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> float:
    """Of the learning rates that were tried with a network the one that was best on training images; else its first row's."""
    same = ("data", "image_size", "model", "precision")
    tried = [row for row in rows if row["way"] == TRIED and all(row[name] == first[name] for name in same)]
    best = max(tried, key=lambda row: row["accuracy"]) if tried else first
    return float(best["learning_rate"])


def table(rows: Sequence[Mapping[str, Any]], costs: Mapping[str, Any]) -> str:
    """Markdown: a row a network, with those that are both faster and more accurate; then the conditions."""
    found = networks(rows, costs)
    if not found:
        return NOTHING
    shared, lines = conditions(rows), []
    for network in found:
        percent = spread([100 * value for value in network.accuracies], 1)
        cells = [network.name, percent, len(network.accuracies), f"{network.params / 1e6:.2f}", f"{network.macs / 1e6:.0f}"]
        for setting in map(str, (EAGER, ONNX)):
            ahead = [other.name for other in found if other.beats(network, setting)]
            cells += [f"{network.milliseconds[setting]['median']:.1f}", ", ".join(ahead) or "none"]
        lines.append(cells)
    columns = ["network", "accuracy in %", "seeds", "params M", "MACs M"]
    columns += ["PyTorch, ms", "faster and more accurate", "ONNX Runtime, ms", "faster and more accurate"]
    trained = (
        f"{shared['data']} at {shared['image_size']} pixels, {shared['labels']:.0%} of the labels, {shared['epochs']} epochs "
        f"from scratch in {shared['precision']}."
    )
    timed = (
        f"Params, MACs and time are of one image of {costs['resolution']} pixels and 1,000 classes, the time the median of "
        f"{costs['repeats']} rounds: {costs['machine']}, torch {costs['torch']}, {costs['date']}."
    )
    return "\n\n".join([markdown_table(columns, lines), f"{trained} {timed}"])


def picture(found: Sequence[Network]) -> Figure:
    """Accuracy with its deviation over the seeds against latency in ONNX Runtime, and against MACs."""
    figure = page_figure(6.4)
    axes = panels(figure, ["latency in ONNX Runtime, ms", "MACs, millions"], ylabel="accuracy, %", columns=1)
    for network, marker, colour in zip(found, cycle("osD^vPX"), cycle(SERIES)):
        percent = [100 * value for value in network.accuracies]
        error = float(np.std(percent, ddof=1)) if len(percent) > 1 else 0.0
        for place, x in zip(axes, (network.milliseconds[str(ONNX)]["median"], network.macs / 1e6)):
            place.errorbar([x], [np.mean(percent)], [error], fmt=marker, color=colour, capsize=2, label=network.name)
    legend_below(axes[-1])
    return figure


def write(root: Path, rows: Sequence[Mapping[str, Any]], costs: Mapping[str, Any]) -> None:
    """Renew the page, its data and its picture below `root`. Raises UserError where the page has no place for the table."""
    publish(root, DATA, costs, PAGE, MARKS, table(rows, costs))
    save_svg(picture(networks(rows, costs)), root / PICTURE)


def read(root: Path) -> dict[str, Any]:
    """The data file below `root`. Raises UserError without one."""
    path = root / DATA
    if not path.is_file():
        raise UserError(f"{path}: no such file; without --kept the times are measured")
    return dict(json.loads(path.read_text(encoding="utf-8")))
