"""Records as files of JSON lines: each row is on disk when it is added, and what a kill cut off is dropped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gemnet.core.files import open_regular
from search.core.types import SearchError

Row = TypeVar("Row")


def read_rows(path: Path, parsed: Callable[[Any], Row], wrong: str) -> list[Row]:
    """Every row of a file, none where there is no file; a last line that was cut off is removed from it.

    parsed: a JSON value -> row; raises ValueError, TypeError or KeyError for what is none. wrong: what SearchError then says
    after the path, with {number} for the line's and {reason} for what is wrong with it.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise SearchError(f"{path}: cannot be read: {error.strerror}") from None
    whole = content[: content.rfind(b"\n") + 1]
    rows = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            rows.append(parsed(json.loads(line)))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise SearchError(f"{path}{wrong.format(number=number, reason=reason)}") from None
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return rows


def add_row(path: Path, row: Any) -> None:
    """Append a row of JSON values; it is on disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
