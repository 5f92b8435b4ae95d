"""A store of results: a JSON line each, on disk when it is added, so that what was stopped goes on with what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gemnet.core.files import open_regular
from search.core.types import SearchError

Row = TypeVar("Row")
LOCK = "lock"
"""Beside a file that one process at a time may have open."""


@dataclass(frozen=True)
class Format(Generic[Row]):
    """What the rows of a file are.

    parse: a JSON value -> row; raises ValueError, TypeError or KeyError for what is none. key: by which a row is known. wrong:
    what is said after the path of a file with a line that is no row, with {number} for the line's and {reason} for what is
    wrong with it. dump: a row -> its JSON value.
    """

    parse: Callable[[Any], Row]
    key: Callable[[Row], Hashable]
    wrong: str
    dump: Callable[[Row], Any] = lambda row: row


class Store(Generic[Row]):
    """The rows of a file by key, in their order; of several with one key the first. Closed by the end of a `with`."""

    def __init__(self, path: str | os.PathLike[str], form: Format[Row], lock: Callable[[Path], int] | None = None) -> None:
        """Read the file, if it is there; a last line that was cut off is removed from it.

        lock: takes the lock file beside it, for one process at a time, and returns its descriptor, as `study.take_lock` does.
        Raises SearchError, with the line, for a file of something else, and as `lock` does.
        """
        self.path, self._form, self._lock = Path(path), form, None
        if lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self.path.parent / LOCK)
        self.rows: dict[Hashable, Row] = {}
        try:
            for row in self._read():
                self.rows.setdefault(form.key(row), row)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store[Row]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._form.dump(row)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows[self._form.key(row)] = row

    def _read(self) -> list[Row]:
        try:
            with open_regular(self.path) as file:
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SearchError(f"{self.path}: cannot be read: {error.strerror}") from None
        whole = content[: content.rfind(b"\n") + 1]
        rows = [self._parsed(number, line) for number, line in enumerate(whole.splitlines(), 1)]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        return rows

    def _parsed(self, number: int, line: bytes) -> Row:
        try:
            return self._form.parse(json.loads(line))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise SearchError(f"{self.path}{self._form.wrong.format(number=number, reason=reason)}") from None
