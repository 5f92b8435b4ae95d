"""Results as they come: a JSON line each, so that a command that was stopped goes on with what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.core.json_lines import add_row, read_rows
from search.core.types import SearchError


class Results:
    """Units of work in a file: each has a key, the settings that it was made with, and values, all of plain JSON."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises SearchError, with the line, for a file that is something else. A last line cut off by a kill is dropped, and
        of a unit that two processes worked at the same time what was written second."""
        self.path = Path(path)
        rows = read_rows(
            self.path,
            lambda row: {name: dict(row[name]) for name in ("key", "settings", "values")},
            ", line {number}: expected an object with key, settings and values",
        )
        once: dict[str, dict[str, Any]] = {}
        for row in rows:
            once.setdefault(json.dumps(row["key"], sort_keys=True), row)
        self.rows = list(once.values())

    def values(self, **key: Any) -> list[dict[str, Any]]:
        """Key and values together of each unit whose key has all of `key`."""
        return [row["key"] | row["values"] for row in self.rows if row["key"].items() >= key.items()]

    def unit(
        self, key: Mapping[str, Any], settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The values of the unit `key`: those in the file, or else what `work` gives, which is then written.

        Raises SearchError where the file has it with other settings.
        """
        key, settings = dict(key), json.loads(json.dumps(dict(settings)))
        for row in self.rows:
            if row["key"] == key:
                different = [n for n in {**row["settings"], **settings} if row["settings"].get(n) != settings.get(n)]
                if different:
                    name = different[0]
                    told = f"{name} was {row['settings'].get(name)!r}, now {settings.get(name)!r}"
                    raise SearchError(f"{self.path}: has {key} with other settings: {told}; use another work directory")
                return row["values"]
        values = json.loads(json.dumps(dict(work())))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row = {"key": key, "settings": settings, "values": values}
        add_row(self.path, row)
        self.rows.append(row)
        return values
