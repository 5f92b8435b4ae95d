"""Records of comparisons, a JSON line each: the types of their fields, and who may add to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.core.json_lines import LOCK, Format, Store
from search.record.study import take_lock

Fields = Mapping[str, type | tuple[type, ...]]
"""What a line has at least, and of which type; True and False are no numbers."""


def checked_fields(row: Any, fields: Fields) -> dict[str, Any]:
    """The line, if it has the fields. Raises TypeError or KeyError."""
    if not isinstance(row, dict):
        raise TypeError("expected an object")
    for name, kind in fields.items():
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            raise TypeError(f"{name} is {row[name]!r}")
    return row


def open_lines(path: Path, form: Format[dict[str, Any]], work_dir: Path | None = None) -> Store[dict[str, Any]]:
    """The record at `path`.

    Args:
        path: A file of JSON lines; it need not be there.
        form: Of the lines.
        work_dir: Of what is added; while it is open, no second command may open it. None to read alone.

    Raises:
        SearchError: The work directory is in use, or a line is of another form.
    """
    if work_dir is None:
        return Store(path, form)
    work_dir.mkdir(parents=True, exist_ok=True)
    return Store(path, form, lambda _: take_lock(work_dir / LOCK))
