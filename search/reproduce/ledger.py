"""The record of a reproduction: one JSON line for each unit that is done, appended as it comes."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from search.base import SearchError
from search.reproduce.base import Measured, Result, Unit

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
        self._file = self.path.open("a+b")
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, result: Result) -> None:
        """Append a result; it is on disk when this returns."""
        line = {**asdict(result.unit), **asdict(result.measured), "seconds": result.seconds}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.results[result.unit.key] = result

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"{self.path} is in use by another process; wait for it, or take another --work-dir") from None

    def _read(self) -> None:
        self._file.seek(0)
        whole, _, rest = self._file.read().rpartition(b"\n")
        if rest:
            self._file.truncate(len(whole) + 1 if whole else 0)
        for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
            try:
                result = _result(json.loads(line))
            except (ValueError, TypeError, KeyError):
                raise SearchError(
                    f"{self.path}: line {number} is not a result; remove it, or take another --work-dir"
                ) from None
            self.results[result.unit.key] = result


def _result(line: dict[str, Any]) -> Result:
    unit = Unit(*(line[name] for name in ("group", "row", "setting", "seed", "recipe")))
    return Result(unit, Measured(line["figures"], line["series"]), float(line["seconds"]))
