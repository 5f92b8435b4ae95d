"""Tables in Markdown files that are made from data files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.errors import UserError


def markdown_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *(f"| {' | '.join(row)} |" for row in rows)]


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
