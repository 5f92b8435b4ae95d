"""What the networks of NASGEM's Table 1 cost beside what the table says: counted on shapes, at 224 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

import gemnet
from gemnet.core.tables import markdown_table, marks, publish, spread
from gemnet.counting import counted
from search.experiments.published.catalogue import NETWORKS, published

PAGE, RECORD = "docs/results/table1.md", "docs/results/table1.json"
MARKS = marks("table1", "tools/reproduce.py table1 --write")
PIXELS = 224
SEEDS = range(5)
"""Of RandWire's graphs."""
OURS = {"gemnet_a": ("GEMNet-A", 4.3, 463.0), "gemnet_b": ("GEMNet-B", 4.5, 563.0)}
"""By name: title, and params and MACs in Table 1, in millions."""
COLUMNS = "network | params M | Table 1's | difference | MACs M | Table 1's | difference | second count M | difference"

Row = dict[str, Any]


def measure() -> list[Row]:
    """Build every network on the device `meta` and count it; one row for each, and for each seed of RandWire."""
    rows = []
    for name, entry in NETWORKS.items():
        for seed in SEEDS if entry.genotype is None else [None]:
            rows.append(_measured(name, seed, {} if seed is None else {"seed": seed}))
    return rows + [_measured(name, None, {}) for name in OURS]


def _measured(name: str, seed: int | None, settings: dict[str, Any]) -> Row:
    with torch.device("meta"):
        network = getattr(gemnet, name)() if name in OURS else published(name, **settings)
        params, macs, others = cost(network.eval(), torch.empty(1, 3, PIXELS, PIXELS))
    return {"name": name, "seed": seed, "params": params, "macs": macs, "others": others}


def cost(network: nn.Module, images: Tensor) -> tuple[int, int, int]:
    """Params, MACs of convolutions and products of matrices, and what some tools count besides.

    The last has 2 for each element that batch normalisation makes, 1 for each that a ReLU or a pooling makes.
    """
    others = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal others
        others += output.numel() * (2 if isinstance(module, nn.BatchNorm2d) else 1)

    kinds = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, kinds)]
    try:
        _, plain = counted(network, images)
    finally:
        for hook in hooks:
            hook.remove()
    return int(plain.params), int(plain.macs), others


def table(rows: Sequence[Row]) -> str:
    """Markdown: ours and Table 1's, the difference, then a line for each network with its source and what explains it."""
    lines, notes = [], []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        title, params, macs = OURS[name] if name in OURS else _of_table1(name)
        both = [row["macs"] + row["others"] for row in own]
        beside_params = _beside([row["params"] for row in own], params, 2)
        beside_macs = _beside([row["macs"] for row in own], macs, 1)
        second, _, difference = _beside(both, macs, 1)
        lines.append([title, *beside_params, *beside_macs, second, difference])
        if name in NETWORKS:
            entry = NETWORKS[name]
            notes.append(f"- **{title}** (`{name}`, {entry.channels} channels): {f'{entry.source}. {entry.note}'.strip()}")
    return "\n".join([markdown_table(COLUMNS.split(" | "), lines), "", *notes])


def _of_table1(name: str) -> tuple[str, float, float | None]:
    entry = NETWORKS[name]
    return entry.title, entry.params_m, entry.macs_m


def _beside(counts: Sequence[int], told: float | None, digits: int) -> tuple[str, str, str]:
    """Ours in millions, mean ± deviation of several, what Table 1 tells, and the difference in percent."""
    millions = [value / 1e6 for value in counts]
    return (
        spread(millions, digits) or "-",
        "-" if told is None else f"{told:g}",
        "-" if told is None else f"{100 * (mean(millions) / told - 1):+.1f} %",
    )


def write(root: Path, rows: list[Row]) -> None:
    """Write the record and the table of the page below `root`. Raises UserError where the page has no place for it."""
    publish(root, RECORD, rows, PAGE, MARKS, table(rows))
