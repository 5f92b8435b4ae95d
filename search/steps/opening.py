"""Before the first step: the record and the places of a search are looked at, and failed candidates put back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.types import SearchError, Space
from search.record.export import check_fits
from search.record.file import RECORD, read_snapshot
from search.record.study import ENCODER_DIRECTORY, Study


def check_places(directory: str | os.PathLike[str], schedule: Schedule) -> None:
    """Raises SearchError where the encoder could not be kept, in the work directory or in the cache."""
    encoder = Path(directory) / ENCODER_DIRECTORY
    if os.path.lexists(encoder) and not encoder.is_dir():
        raise SearchError(f"{encoder}: is no directory, but the encoder's place: move it away, or name another with --work-dir")
    if not schedule.encoder_cache:
        return
    cache = Path(schedule.encoder_cache).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(
            f"search: encoder_cache: {cache}: {error.strerror}; expected a directory, or a place where one can be made"
        ) from None
    if not os.access(cache, os.W_OK | os.X_OK):
        raise SearchError(f"search: encoder_cache: {cache} cannot be written to; name another directory")


def check_record(directory: str | os.PathLike[str], settings: Mapping[str, Any], space: Space) -> None:
    """Raises SearchError where the record in `directory`, if there is one, does not fit to its own settings: before it is
    opened, which writes to it."""
    path = Path(directory) / RECORD
    there = read_snapshot(path) if os.path.lexists(path) else None
    if there is not None:
        check_fits(there, path, space if there.settings.get("space") == settings["space"] else None)


def retry_failed_candidates(study: Study, display: Display) -> None:
    """Put what failed among the pending evaluations again, and tell."""
    failed, last = study.retry_failed(), max(study.rounds(), default=0)
    early = sorted({r.round for r in failed if r.round < last})
    display.line(f"{len(failed)} failed candidates are tried again.")
    if early:
        display.line(
            f"Those of round {early[0]} come too late for the rounds up to {last}, which were proposed without them and stay as"
            " they are: what follows is not what a search without failures would have found."
        )
