"""What the study found: for each rule of widths a table of conditions by kinds of cell, made from the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from gemnet.core.tables import markdown_table, marks, renew, spread
from gemnet.initialisation import SCHEMES
from search.experiments.recipe.conditions import RULES
from search.experiments.recipe.kinds import KINDS

PAGE, RECORD = "docs/results/recipe.md", "docs/results/recipe.jsonl"
MARKS = marks("recipe", "gemnet recipe table --write")
GAP = "best less worst"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table for each rule of widths and number of epochs; a row a condition, a column a kind of cell.

    Percent, mean ± the sample's standard deviation over the seeds; of a single seed the value alone. The last column is the
    difference between the best and the worst kind of cell, where all kinds were trained.
    """
    if not rows:
        return "Nothing is recorded yet."
    groups = sorted({(RULES.index(row["rule"]), row["epochs"]) for row in rows})
    return "\n\n".join(
        part
        for rule, epochs in groups
        for part in _of_group([row for row in rows if (row["rule"], row["epochs"]) == (RULES[rule], epochs)])
    )


def _of_group(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    names = sorted({_condition(row) for row in rows}, key=lambda c: (-c[0], not c[1], SCHEMES.index(c[2])))
    for rate, residual, scheme in names:
        own = [row for row in rows if _condition(row) == (rate, residual, scheme)]
        shares = {kind: [row["accuracy"] for row in own if row["kind"] == kind] for kind in KINDS}
        means = [mean(values) for values in shares.values() if values]
        gap = f"{100 * (max(means) - min(means)):.1f}" if len(means) == len(KINDS) else None
        seeds = len({row["seed"] for row in own})
        spreads = [_percent(values) for values in shares.values()]
        lines.append([scheme, "yes" if residual else "no", f"{rate:g}", *spreads, gap, seeds])
    macs = [row["macs"] / 1e6 for row in rows]
    head = (
        f"Widths by `{rows[0]['rule']}`, {rows[0]['epochs']} epochs, {min(macs):.2f} to {max(macs):.2f} M MACs. "
        "Accuracy on validation images in %."
    )
    columns = ["initialisation", "residual", "learning rate", *KINDS, GAP, "seeds"]
    return [head, markdown_table(columns, lines)]


def _condition(row: Mapping[str, Any]) -> tuple[float, bool, str]:
    return row["learning_rate"], row["residual"], row["scheme"]


def _percent(values: Sequence[float]) -> str | None:
    return spread([100 * value for value in values], 1)


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Renew the tables of the page below `root`. Raises UserError where it has no place for them."""
    renew(root, PAGE, MARKS, table(rows))
