"""The record of a reproduction: one JSON line for each unit that is done, appended as it comes."""

from __future__ import annotations

import fcntl
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from search.core.json_lines import add_row, read_rows
from search.core.types import SearchError
from search.experiments.paper.base import Measured, Result, Unit

FILE = "results.jsonl"


class Ledger:
    """Results by the key of their unit, in `directory`/results.jsonl. Opened by one process at a time, as a context manager.

    A last line that was cut off by a crash is dropped, and its unit is done again. Raises SearchError where another process
    has it open, and for any other line that is not a result, with its number.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / FILE
        self.results: dict[str, Result] = {}

    def __enter__(self) -> Ledger:
        self._file = self.path.open("ab")
        try:
            self._lock()
            rows = read_rows(self.path, _result, ": line {number} is not a result; remove it, or take another --work-dir")
        except BaseException:
            self._file.close()
            raise
        self.results = {result.unit.key: result for result in rows}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, result: Result) -> None:
        """Append a result; it is on disk when this returns."""
        add_row(self.path, {**asdict(result.unit), **asdict(result.measured), "seconds": result.seconds})
        self.results[result.unit.key] = result

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"{self.path} is in use by another process; wait for it, or take another --work-dir") from None


def _result(line: dict[str, Any]) -> Result:
    unit = Unit(*(line[name] for name in ("group", "row", "setting", "seed", "recipe")))
    return Result(unit, Measured(line["figures"], line["series"]), float(line["seconds"]))
