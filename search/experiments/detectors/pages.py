"""The pages that show the comparison: each one's table is renewed from the record and the file of speeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.tables import renew
from search.experiments.detectors import goals, report


def made(root: Path, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, str], str]]:
    """Pages below `root`, the marks around their tables, and the tables."""
    speeds = json.loads((root / report.SPEEDS).read_text(encoding="utf-8"))
    return [
        (report.PAGE, report.MARKS, report.tables(rows)),
        (report.PAGE, report.SPEED_MARKS, report.speed_table(speeds)),
        (goals.PAGE, goals.MARKS, goals.goals(rows, speeds)),
        (goals.GUIDE, goals.SUMMARY_MARKS, goals.summary(rows, speeds)),
    ]


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Renew them. Raises UserError where a page has no place for its table."""
    for page, around, table in made(root, rows):
        renew(root, page, around, table)
