"""Tables in Markdown files that are made from data files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gemnet.errors import UserError


def between(marks: tuple[str, str], text: str, table: str, where: str) -> str:
    """`text` with `table` between the two marks. Raises UserError, which names `where`, unless they are there once."""
    start, end = map(re.escape, marks)
    renewed, count = re.subn(f"{start}.*?{end}", lambda _: f"{marks[0]}\n{table}\n{marks[1]}", text, flags=re.DOTALL)
    if count != 1:
        raise UserError(f"{where}: expected the line {marks[0]!r}, later {marks[1]!r}, once")
    return renewed


def publish(root: Path, data_file: str, data: Any, page: str, marks: tuple[str, str], table: str) -> None:
    """Write `data` as JSON to `data_file` and its table between the marks in `page`, both below `root`.

    Raises UserError, before anything is written, where the marks are missing.
    """
    text = between(marks, (root / page).read_text(encoding="utf-8"), table, page)
    (root / data_file).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (root / page).write_text(text, encoding="utf-8")
