"""Results as they come: a JSON line each, so that a command that was stopped goes on with what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from search.core.fingerprint import canonical_json
from search.core.json_lines import Format, Store
from search.core.types import SearchError

UNITS: Format[dict[str, Any]] = Format(
    lambda row: {name: dict(row[name]) for name in ("key", "settings", "values")},
    lambda row: canonical_json(row["key"]),
    ", line {number}: expected an object with key, settings and values",
)
"""Units of work: each has a key, the settings that it was made with, and values, all of plain JSON."""


class Results(Store[dict[str, Any]]):
    """UNITS in a file. Of a unit that two processes worked at the same time what was written first counts."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, UNITS)

    def values(self, **key: Any) -> list[dict[str, Any]]:
        """Key and values together of each unit whose key has all of `key`."""
        return [row["key"] | row["values"] for row in self.rows.values() if row["key"].items() >= key.items()]

    def unit(
        self, key: Mapping[str, Any], settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The values of the unit `key`: those in the file, or else what `work` gives, which is then written.

        Raises SearchError where the file has it with other settings.
        """
        settings = json.loads(json.dumps(settings))
        row = self.rows.get(canonical_json(key))
        if row is None:
            row = {"key": dict(key), "settings": settings, "values": json.loads(json.dumps(work()))}
            self.add(row)
        for name in row["settings"] | settings:
            before, now = row["settings"].get(name), settings.get(name)
            if before != now:
                told = f"{name} was {before!r}, now {now!r}"
                raise SearchError(f"{self.path}: has {key} with other settings: {told}; use another work directory")
        return row["values"]
