"""What the comparison found: a table for each data set and share of labels, made from the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.tables import markdown_table, marks, renew, spread
from search.experiments.transfer.tasks import FROZEN, SCRATCH

PAGE, RECORD = "docs/results/pretrained.md", "docs/results/pretrained.jsonl"
MARKS = marks("pretrained", "tools/compare_weights.py table --write")
WAYS = {"nearest": "nearest neighbours", "linear": "linear classifier"}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table for each data set, image size and share of the labels; a row a network and its start.

    Percent, mean ± the sample's standard deviation over the seeds; of a single seed the value alone.
    """
    if not rows:
        return "Nothing is recorded yet."
    parts = []
    for data, size, share in sorted({(row["data"], row["image_size"], row["labels"]) for row in rows}, key=_order):
        parts += _of_data([row for row in rows if (row["data"], row["image_size"], row["labels"]) == (data, size, share)])
    return "\n\n".join(parts)


def _order(group: tuple[str, int, float]) -> tuple[str, int, float]:
    return group[0], group[1], -group[2]


def _of_data(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    frozen = [way for way in FROZEN if any(row["way"] == way for row in rows)]
    lengths = sorted({row["epochs"] for row in rows if row["way"] == "tuned"})
    columns = [*((way, 0) for way in frozen), *(("tuned", length) for length in lengths)]
    names = [*(WAYS[way] for way in frozen), *(f"{length} epoch{'s' * (length > 1)}" for length in lengths)]
    lines = []
    for model, start in dict.fromkeys((row["model"], row["start"]) for row in rows):
        own = [row for row in rows if (row["model"], row["start"]) == (model, start)]
        cells = [_percent([row["accuracy"] for row in own if (row["way"], row["epochs"]) == column]) for column in columns]
        seeds = sorted({row["seed"] for row in own})
        lines.append([model, start if start == SCRATCH else f"pretrained {start}", *cells, ", ".join(map(str, seeds))])
    first = rows[0]
    head = (
        f"**{first['data']}** at {first['image_size']} pixels, {first['labels']:.0%} of the labels: {first['train_images']:,} "
        f"images to learn from, {first['test_images']:,} to test with. Accuracy in %."
    )
    return [head, markdown_table(["network", "start", *names, "seeds"], lines)]


def _percent(values: Sequence[float]) -> str | None:
    return spread([100 * value for value in values], 1)


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Renew the tables of the page below `root`. Raises UserError where it has no place for them."""
    renew(root, PAGE, MARKS, table(rows))
