"""Tables in Markdown files that are made from data files."""

from __future__ import annotations

import re

from gemnet.errors import UserError


def between(marks: tuple[str, str], text: str, table: str, where: str) -> str:
    """`text` with `table` between the two marks. Raises UserError, which names `where`, unless they are there once."""
    start, end = map(re.escape, marks)
    renewed, count = re.subn(f"{start}.*?{end}", lambda _: f"{marks[0]}\n{table}\n{marks[1]}", text, flags=re.DOTALL)
    if count != 1:
        raise UserError(f"{where}: expected the line {marks[0]!r}, later {marks[1]!r}, once")
    return renewed
