"""The record of trainings that have ended well: a JSON line each, added when one ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from search.core.json_lines import Format, Store
from search.experiments.lines import Fields, checked_fields, open_lines

FIELDS: Fields = {
    "data": str, "method": str, "seed": int, "budget": (int, float), "AP": (int, float), "AP50": (int, float), "classes": dict,
    "epochs": int, "images": int, "cpu_seconds": (int, float), "wall_seconds": (int, float), "validation": list,
    "settings": dict,
}  # fmt: skip
"""What a line has at least."""


def parse(row: Any) -> dict[str, Any]:
    """A line of the record. Raises ValueError, TypeError or KeyError for what is none."""
    checked_fields(row, FIELDS)
    for name in ("AP", "AP50"):
        if not 0 <= row[name] <= 1:
            raise ValueError(f"{name} is {row[name]}, not between 0 and 1")
    for name in ("budget", "cpu_seconds", "wall_seconds"):
        if not 0 < row[name] < math.inf:
            raise ValueError(f"{name} is {row[name]}, not above 0")
    return row


def key(row: dict[str, Any]) -> tuple[str, str, int, float]:
    """By which a training is known: data set, method, seed, budget."""
    return row["data"], row["method"], row["seed"], float(row["budget"])


def told(row: dict[str, Any]) -> str:
    """A line for people."""
    return (
        f"AP {row['AP']:.3f}, AP50 {row['AP50']:.3f} on the test images; {row['epochs']} epochs, {row['cpu_seconds']:.0f} CPU"
        f" seconds ({row['cpu_seconds'] / row['budget'] - 1:+.1%} of the budget)"
    )


FORMAT = Format(parse, key, ", line {number}: not a training of this comparison: {reason}")


def open_record(path: Path, work_dir: Path | None = None) -> Store[dict[str, Any]]:
    """The record at `path`: see `open_lines`."""
    return open_lines(path, FORMAT, work_dir)
