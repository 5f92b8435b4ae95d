"""What the comparison found: tables for each data set and share of labels, made from the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.tables import markdown_table, marks, renew, spread
from search.experiments.transfer.tasks import FROZEN, SCRATCH, TRIED, TUNED

PAGE, RECORD = "docs/results/pretrained.md", "docs/results/pretrained.jsonl"
MARKS = marks("pretrained", "tools/compare_weights.py table --write")
WAYS = {"nearest": "nearest neighbours", "linear": "linear classifier"}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: for each data set, image size and share of the labels a table of frozen features and one of trainings.

    A row a network and its start. Percent, mean ± the sample's standard deviation over the seeds; of a single seed the value
    alone. Learning rates that were tried have tables of their own.
    """
    if not rows:
        return "Nothing is recorded yet."
    parts = []
    for data, size, share in sorted({(row["data"], row["image_size"], row["labels"]) for row in rows}, key=_order):
        own = [row for row in rows if (row["data"], row["image_size"], row["labels"]) == (data, size, share)]
        frozen, tuned, tried = ([row for row in own if row["way"] in ways] for ways in (FROZEN, [TUNED], [TRIED]))
        head = f"**{data}** at {size} pixels, {share:.0%} of the labels"
        if frozen:
            parts += [f"{head}: {_images(frozen[0])}. Accuracy in %.", _of_frozen(frozen)]
        for precision in sorted({row["precision"] for row in tuned}):
            some = [row for row in tuned if row["precision"] == precision]
            parts += [f"{head}, all weights trained in {precision}: {_images(some[0])}. Accuracy in %.", _of_tuned(some)]
        for epochs, precision in sorted({(row["epochs"], row["precision"]) for row in tried}):
            some = [row for row in tried if (row["epochs"], row["precision"]) == (epochs, precision)]
            told = f"learning rates tried from scratch, {epochs} epochs in {precision}"
            parts += [f"{head}, {told}: {_images(some[0])}, all of them training images. Accuracy in %.", _of_tried(some)]
    return "\n\n".join(parts)


def _order(group: tuple[str, int, float]) -> tuple[str, int, float]:
    return group[0], group[1], -group[2]


def _images(row: Mapping[str, Any]) -> str:
    return f"{row['train_images']:,} images to learn from, {row['test_images']:,} to test with"


def _of_frozen(rows: Sequence[Mapping[str, Any]]) -> str:
    ways = [way for way in FROZEN if any(row["way"] == way for row in rows)]
    lines = []
    for (model, start), own in _grouped(rows, "model", "start").items():
        cells = [_percent([row["accuracy"] for row in own if row["way"] == way]) for way in ways]
        lines.append([model, _started(start), *cells, _seeds(own)])
    return markdown_table(["network", "start", *(WAYS[way] for way in ways), "seeds"], lines)


def _of_tuned(rows: Sequence[Mapping[str, Any]]) -> str:
    lengths = sorted({row["epochs"] for row in rows})
    lines = []
    for (model, start, rate), own in _grouped(rows, "model", "start", "learning_rate").items():
        cells = [_percent([row["accuracy"] for row in own if row["epochs"] == length]) for length in lengths]
        lines.append([model, _started(start), f"{rate:g}", *cells, _seeds(own)])
    names = [f"{length} epoch{'s' * (length > 1)}" for length in lengths]
    return markdown_table(["network", "start", "learning rate", *names, "seeds"], lines)


def _of_tried(rows: Sequence[Mapping[str, Any]]) -> str:
    rates = sorted({row["learning_rate"] for row in rows})
    lines = []
    for (model,), own in _grouped(rows, "model").items():
        lines.append([model, *(_percent([row["accuracy"] for row in own if row["learning_rate"] == rate]) for rate in rates)])
    return markdown_table(["network", *(f"{rate:g}" for rate in rates)], lines)


def _grouped(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """The rows by what they have there, in the order of the record."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def _started(start: str) -> str:
    return start if start == SCRATCH else f"pretrained {start}"


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(map(str, sorted({row["seed"] for row in rows})))


def _percent(values: Sequence[float]) -> str | None:
    return spread([100 * value for value in values], 1)


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Renew the tables of the page below `root`. Raises UserError where it has no place for them."""
    renew(root, PAGE, MARKS, table(rows))
