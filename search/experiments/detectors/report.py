"""What a comparison found: a table a data set, made from the record and from the file of speeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gemnet.core.tables import markdown_table, marks, spread
from search.experiments.detectors.budget import KEPT
from search.experiments.detectors.tasks import METHODS

PAGE, RECORD, SPEEDS = (
    "docs/results/own_detector.md",
    "docs/results/own_detector.jsonl",
    "docs/results/own_detector_speed.json",
)
COMMAND = "tools/compare_detectors.py table --write"
MARKS, SPEED_MARKS = marks("own_detector", COMMAND), marks("own_detector_speed", "tools/compare_detectors.py speed --write")
YOLO = "yolo11n"
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
        of_classes = [ap_spread([row["classes"][name]["ap"] or 0.0 for row in own]) for name in shown]
        seconds = _range([row["cpu_seconds"] for row in own])
        seeds = ", ".join(str(row["seed"]) for row in sorted(own, key=lambda row: row["seed"]))
        entries = [about, ap_spread([row["AP"] for row in own]), ap_spread([row["AP50"] for row in own])]
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
    for name, one in timed.items():
        seconds = one["seconds"]
        rows.append(
            [
                METHODS[name].partition(", from")[0],
                f"{one['params'] / 1e6:.2f}", f"{one['macs'] / 1e9:.2f}", f"{1 / seconds['median']:.1f}",
                f"{1 / seconds['slowest']:.1f} - {1 / seconds['fastest']:.1f}",
                speed_told(speeds, name),
            ]
        )  # fmt: skip
    about = f"{speeds['machine']}, onnxruntime {speeds['onnxruntime']}, {speeds['rounds']} rounds, {speeds['date']}."
    return f"{markdown_table(SPEED_HEAD, rows)}\n\n{about}"


def speed_ratio(speeds: Mapping[str, Any], method: str) -> float | None:
    """Images a second of a method's network, however trained, in multiples of the YOLO's; None where one is not timed."""
    timed = speeds["methods"]
    own = method.removesuffix("_pretrained").removesuffix("_bfloat16")
    return timed[YOLO]["seconds"]["median"] / timed[own]["seconds"]["median"] if {own, YOLO} <= set(timed) else None


def speed_told(speeds: Mapping[str, Any], method: str) -> str | None:
    """The same with two digits."""
    ratio = speed_ratio(speeds, method)
    return None if ratio is None else f"{ratio:.2f}"


def ap_spread(values: Sequence[float]) -> str:
    """Mean ± the sample's standard deviation, as .534 ± .010; of a single value itself."""
    return (spread(values, 3) or "").replace("0.", ".")


def _range(values: Sequence[float]) -> str:
    least, most = round(min(values)), round(max(values))
    return f"{least:,}" if least == most else f"{least:,} - {most:,}"
