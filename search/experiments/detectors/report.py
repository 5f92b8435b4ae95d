"""What a comparison found: a table a data set, made from the record and from the file of speeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.tables import markdown_table, marks, renew, spread
from search.experiments.detectors.budget import KEPT
from search.experiments.detectors.tasks import METHODS

PAGE, RECORD, SPEEDS = (
    "docs/results/own_detector.md",
    "docs/results/own_detector.jsonl",
    "docs/results/own_detector_speed.json",
)
COMMAND = "tools/compare_detectors.py table --write"
MARKS, SPEED_MARKS = marks("own_detector", COMMAND), marks("own_detector_speed", "tools/compare_detectors.py speed --write")
HEAD = ("detector", "AP", "AP50", "seeds", "epochs", "CPU seconds")
SPEED_HEAD = ("detector", "params M", "MACs G at 320", "images/s", "slowest - fastest round", "of YOLO11n's")


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the tables of all budgets that are recorded, the largest first."""
    return "\n\n".join(table(rows, budget) for budget in sorted({float(row["budget"]) for row in rows}, reverse=True))


def table(rows: Sequence[Mapping[str, Any]], budget: float) -> str:
    """Markdown: a table for each data set, a row a method, from the trainings of one budget.

    Mean ± the sample's standard deviation over the seeds; of a single seed the value alone. Below each table, what kept the
    trainings from the budget, if anything, and what was seen of a class.
    """
    chosen = [row for row in rows if float(row["budget"]) == budget]
    if not chosen:
        return f"No training with a budget of {budget:g} CPU seconds is recorded yet."
    parts = []
    for data in dict.fromkeys(row["data"] for row in chosen):
        parts += _of_data(data, [row for row in chosen if row["data"] == data], budget)
    return "\n\n".join(parts)


def _of_data(data: str, rows: Sequence[Mapping[str, Any]], budget: float) -> list[str]:
    classes = list(rows[0]["classes"])
    shown = classes if len(classes) > 1 else []
    lines = []
    for method, about in METHODS.items():
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        of_classes = [_spread([row["classes"][name]["ap"] or 0.0 for row in own]) for name in shown]
        seconds = _range([row["cpu_seconds"] for row in own])
        seeds = ", ".join(str(row["seed"]) for row in sorted(own, key=lambda row: row["seed"]))
        entries = [about, _spread([row["AP"] for row in own]), _spread([row["AP50"] for row in own])]
        lines.append([*entries, seeds, _range([row["epochs"] for row in own]), seconds, *of_classes])
    split = rows[0]["split"]
    objects = sum(one["objects"] for one in rows[0]["classes"].values())
    images = f"{split['train']} images to train on, {split['val']} to validate, {split['test']} to test with {objects} objects"
    head = f"**{data}**, {budget:,.0f} CPU seconds: {images}."
    found = [head, markdown_table([*HEAD, *(f"AP {name}" for name in shown)], lines)]
    missed = [row for row in rows if abs(row["cpu_seconds"] / budget - 1) > KEPT]
    if missed:
        told = ", ".join(f"{row['method']} seed {row['seed']} {row['cpu_seconds'] / budget - 1:+.0%}" for row in missed)
        found.append(f"The budget was missed by more than {KEPT:.0%} by {told}.")
    return found


def speed_table(speeds: Mapping[str, Any]) -> str:
    """Markdown: a row a method, with what was timed and where; from what `speed.measured` gives."""
    rows = []
    timed = speeds["methods"]
    yolo = next((one for name, one in timed.items() if name.startswith("yolo")), None)
    for name, one in timed.items():
        ratio = None if yolo is None else f"{yolo['seconds']['median'] / one['seconds']['median']:.2f}"
        seconds = one["seconds"]
        rows.append(
            [
                METHODS[name], f"{one['params'] / 1e6:.2f}", f"{one['macs'] / 1e9:.2f}", f"{1 / seconds['median']:.1f}",
                f"{1 / seconds['slowest']:.1f} - {1 / seconds['fastest']:.1f}", ratio,
            ]
        )  # fmt: skip
    about = f"{speeds['machine']}, onnxruntime {speeds['onnxruntime']}, {speeds['rounds']} rounds, {speeds['date']}."
    return f"{markdown_table(SPEED_HEAD, rows)}\n\n{about}"


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Renew the tables of AP in the page below `root`. Raises UserError where the page has no place for them."""
    renew(root, PAGE, MARKS, tables(rows))


def _spread(values: Sequence[float]) -> str:
    return (spread(values, 3) or "").replace("0.", ".")


def _range(values: Sequence[float]) -> str:
    least, most = round(min(values)), round(max(values))
    return f"{least:,}" if least == most else f"{least:,} - {most:,}"
