"""The kept figures of int8 files, a line of JSON each, and the page that is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.files import save_text
from gemnet.core.machine import processor
from gemnet.core.tables import between, markdown_table, marks

DATA, PAGE = "docs/results/int8.jsonl", "docs/results/int8.md"
COMMAND = "gemnet export ... --to int8 --record NAME"
MARKS, LAYER_MARKS = marks("int8 files", COMMAND), marks("int8 layers", COMMAND)
HEAD = ("network", "runtime", "weights", "measured on", "float", "int8", "lost", "float layers", "file", "times as fast")
MOST = 4
"""Layers of a network on the page; the record has all."""


def record(root: Path, name: str, figures: Mapping[str, Any]) -> None:
    """Put the figures of an int8 file into the record and the page below `root`, in place of those of the same name.

    figures: As `gemnet.deploy.int8.report.Report.as_json` gives them. Raises UserError where the page has no place
    for them; then nothing is written.
    """
    row = {"name": name, "processor": processor(), **figures}
    rows = [other for other in read_rows(root) if (other["name"], other["runtime"]) != (name, row["runtime"])] + [row]
    rows.sort(key=lambda one: (one["name"], one["runtime"]))
    page = written_page((root / PAGE).read_text(encoding="utf-8"), rows)
    save_text(root / DATA, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows))
    save_text(root / PAGE, page)


def read_rows(root: Path) -> list[dict[str, Any]]:
    """The record below `root`, a row a file."""
    path = root / DATA
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def written_page(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with the tables of some rows. Raises UserError where it has no place for them."""
    return between(LAYER_MARKS, between(MARKS, text, table(rows), PAGE), layer_table(rows), PAGE)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line a file and measurement."""
    cells = []
    for row in rows:
        sizes, kept = row["bytes"], sum(layer["precision"] == "float" for layer in row["layers"])
        file = f"{sizes['float'] / 1e6:.1f} MB, {sizes['int8'] / 1e6:.1f} MB"
        for one in row["measured"]:
            is_ap = one["measure"] == "AP"
            values = [f"{one[key]:.4f}" if is_ap else f"{one[key]:.2%}" for key in ("float", "int8")]
            where = f"{one['measure']}, {one['images']:,} {'photos of ' + one['set'] if is_ap else 'images'}"
            layers = f"{kept} of {len(row['layers'])}"
            shown = (*values, f"{one['lost']:.2f}", layers, file, f"{row['times_as_fast']:.2f}")
            cells.append((f"`{row['name']}`", row["runtime"], f"{row['weight_bits']} bits", where, *shown))
    return markdown_table(HEAD, cells)


def layer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: of each file, the layers that are most sensitive, and what they became."""
    cells = []
    for row in rows:
        ranked = sorted(row["layers"], key=lambda layer: -layer["error"])
        for layer in ranked[:MOST]:
            shown = (f"`{layer['name']}`", layer["kind"], f"{layer['weights']:,}", f"{layer['error']:.2%}", layer["precision"])
            cells.append((f"`{row['name']}`", row["runtime"], *shown))
    return markdown_table(("network", "runtime", "layer", "kind", "weights", "error", "precision"), cells)
