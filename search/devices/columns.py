"""Measured times of a benchmark's cells, a column of a CSV: read as untrusted, by rows of the benchmark's table."""

from __future__ import annotations

import csv
import io
import math
import os

from gemnet.core.files import TextError, read_text
from gemnet.core.settings import expected_name, shown
from search.core.types import SearchError

ROW = "row"
"""The column that names the row of the benchmark's table, from 0."""


def read_column(path: str | os.PathLike[str], column: str, rows: int) -> dict[int, float]:
    """The values of a column, in milliseconds, by the row of the table; an empty field is a cell that was not measured.

    Args:
        path: of the CSV, whose first line names the columns, `row` among them.
        column: which one.
        rows: of the table.

    Raises:
        SearchError: that names file, line and remedy, for anything but numbers above 0, and for a row that is unknown or there
            twice.
    """
    name = os.fsdecode(path)
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        columns = list(reader.fieldnames or ())
        for wanted in (ROW, column):
            if wanted not in columns:
                raise SearchError(f"{name}: column {wanted!r} is missing; {expected_name(wanted, columns)}")
            if columns.count(wanted) > 1:
                raise SearchError(f"{name}: column {wanted!r} is there twice; leave one of them out")
        found: dict[int, float] = {}
        for line in reader:
            place = f"{name}, line {reader.line_num}"
            row = _row(line[ROW], rows, place)
            if row in found:
                raise SearchError(f"{place}: row {row} is there twice; keep one of both lines")
            if (line[column] or "").strip():
                found[row] = _time(line[column], f"{place}: {column} of row {row}")
    except TextError as error:
        raise SearchError(f"{error}: no CSV of times") from None
    except csv.Error as error:
        raise SearchError(f"{name}, line {reader.line_num}: no CSV: {error}") from None
    if not found:
        raise SearchError(f"{name}: no time in column {column!r}; name another one with column")
    return found


def _row(text: str | None, rows: int, place: str) -> int:
    if text is None or not text.strip().isdecimal() or len(text) > 12 or int(text) >= rows:
        raise SearchError(f"{place}: row: expected one of the benchmark's table, 0 to {rows - 1}, found {shown(text)}")
    return int(text)


def _time(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise SearchError(
            f"{place}: expected milliseconds, a number above 0, found {shown(text)}; measure it, or leave it empty"
        )
    return value
