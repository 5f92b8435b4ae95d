"""Tables in Markdown, and the files of which they are parts, made from data files."""

from __future__ import annotations

import csv
import json
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.errors import UserError
from gemnet.core.files import replacing

BAR = r"\|"
"""In a cell, where a plain one would end it."""


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a table in Markdown. A cell has its entry as text, with each `|` escaped; that of None is empty."""
    return "\n".join([_line(columns), "|" + "---|" * len(columns), *map(_line, rows)])


def _line(entries: Sequence[object]) -> str:
    return f"| {' | '.join('' if entry is None else str(entry).replace('|', BAR) for entry in entries)} |"


def link(path: str, page: str) -> str:
    """Name a file in a cell of `page`, with a link to it; both are paths below the repository."""
    return f"[{Path(path).name}]({Path(os.path.relpath(path, Path(page).parent)).as_posix()})"


def mean_and_deviation(mean: float, deviation: float | None, digits: int, sign: bool = False) -> str:
    """Write `mean ± deviation`; None for the deviation of a single value, which goes without saying."""
    text = f"{mean:{'+' if sign else ''}.{digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"


def spread(values: Sequence[float], digits: int) -> str | None:
    """Write the mean of `values` ± the sample's standard deviation; one value alone as it is, and None for none."""
    if not values:
        return None
    return mean_and_deviation(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None, digits)


def save_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def marks(name: str, command: str) -> tuple[str, str]:
    """The lines of a page between which the table `name` stands, which `command` makes."""
    return f"<!-- {name}: made by {command} -->", f"<!-- end of {name} -->"


def between(around: tuple[str, str], text: str, table: str, where: str) -> str:
    """`text` with `table` between the two marks. Raises UserError, which names `where`, unless they are there once."""
    start, end = map(re.escape, around)
    renewed, count = re.subn(f"{start}.*?{end}", lambda _: f"{around[0]}\n{table}\n{around[1]}", text, flags=re.DOTALL)
    if count != 1:
        raise UserError(f"{where}: expected the line {around[0]!r}, later {around[1]!r}, once")
    return renewed


def publish(root: Path, data_file: str, data: Any, page: str, around: tuple[str, str], table: str) -> None:
    """Write `data` as JSON to `data_file` and its table between the marks in `page`, both below `root`.

    Raises UserError, before anything is written, where the marks are missing.
    """
    text = between(around, (root / page).read_text(encoding="utf-8"), table, page)
    (root / data_file).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (root / page).write_text(text, encoding="utf-8")


def renew(root: Path, page: str, around: tuple[str, str], table: str) -> None:
    """Write `table` between the marks in `page` below `root`. Raises UserError where the marks are missing."""
    path = root / page
    path.write_text(between(around, path.read_text(encoding="utf-8"), table, page), encoding="utf-8")
