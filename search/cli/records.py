"""Working with the record of a search, running or ended: where it stands, its best cells, the record as text, its report."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from gemnet.cli.running import reported
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.types import SearchError
from search.record.export import is_export, read_record, write_export
from search.record.overhead import spent
from search.record.ranking import STOPPED, best_first, best_table
from search.record.study import DONE, ENCODER_DIRECTORY, FAILED, LOCK, PENDING, RECORD, holder

OWN = (RECORD, *(RECORD + end for end in ("-wal", "-shm", "-journal")), LOCK)
"""Files in a work directory that nothing may take the place of, nor of what is in its encoder's folder."""


def status(directory: str | os.PathLike[str], display: Display) -> None:
    """Print whether the search runs, how far it is, its best score, and what training took so far."""
    snapshot = read_record(directory)
    states, running = Counter(r.state for r in snapshot.records), holder(directory)
    schedule = Schedule.of(snapshot.settings)
    display.line(f"{directory}: " + (f"running, {running}" if running else "not running"))
    display.line(
        f"  round {max(snapshot.rounds, default=0)} of {schedule.rounds}: {states[DONE]} of"
        f" {schedule.evaluations(snapshot.records)} evaluated"
        f" ({sum(r.stopped for r in snapshot.records)} stopped early), {states[FAILED]} failed, {states[PENDING]} proposed"
    )
    display.line(f"  {sum(r.seconds or 0 for r in snapshot.records) / 3600:.2f} hours of training")
    failed = [r for r in snapshot.records if r.state == FAILED]
    if failed:
        display.line(f"  first failure, of candidate {failed[0].id}: {failed[0].error}; --retry-failed tries it again")
    if snapshot.sessions:  # older records do not tell when they were gone on with
        time_spent = spent(snapshot)
        display.line(
            f"  {time_spent.running / 3600:.2f} hours to the last evaluation, {time_spent.overhead:.1%} of them without any"
            " candidate in training"
        )
    for r in best_first(snapshot.records)[:1]:
        display.line(
            f"  best cell {r.digest[:8]}, round {r.round}: score {r.score:.4f}, accuracy {r.accuracy:.4f}, cost {r.cost:.4g}"
            + (f", {STOPPED}" if r.stopped else "")
        )


def top(directory: str | os.PathLike[str], display: Display, count: int = 10) -> None:
    """Print the `count` best cells. Raises SearchError for a count below 1."""
    if count < 1:
        raise SearchError(f"top: expected a count from 1, found {count}")
    display.table(f"Best of {directory}", *best_table(read_record(directory).records, count))


def export(directory: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """Write the record as JSON lines: settings and rounds first, then a line an evaluation. Returns their number.

    Raises SearchError where `directory` is no work directory, and for a `path` that is one of the search's own files.
    """
    if is_export(directory):
        raise SearchError(f"{directory} is an exported record; what is exported is a work directory")
    snapshot = read_record(directory)
    _check_free(path, directory)
    write_export(snapshot, path)
    return len(snapshot.records)


def _check_free(path: str | os.PathLike[str], directory: str | os.PathLike[str]) -> None:
    """Raises SearchError where an export to `path` would take the place of what the search in `directory` needs, or cannot be
    written because that is a directory."""
    target, encoder = _real(path), _real(Path(directory) / ENCODER_DIRECTORY)
    if target in [_real(Path(directory) / name) for name in OWN] or target == encoder or encoder in target.parents:
        raise SearchError(f"--out {path}: a file of the search itself, which would be lost; name another file with --out")
    if target.is_dir():
        raise SearchError(f"--out {path}: is a directory, not a file; name a file in it with --out")
    above = next(place for place in target.parents if place.exists())
    if not above.is_dir():
        raise SearchError(f"--out {path}: {above} is a file, not a directory; name another file with --out")


def _real(path: str | os.PathLike[str]) -> Path:
    """The path without links, which also names what is not there yet."""
    return Path(os.path.realpath(path))


def records_command(action: str, directory: str, out: str | None = None, count: int = 10) -> int:
    """`status`, `top`, `export` or `report` of a record, for a command line: the exit code, with one message."""
    display = Display()

    def task() -> None:
        if action == "status":
            status(directory, display)
        elif action == "top":
            top(directory, display, count)
        elif action == "export":
            path = out or str(Path(directory) / "record.jsonl")
            display.line(f"{path}: {export(directory, path)} evaluations")
        else:
            from search.report.report import write_report  # its plots take long to import

            display.line(f"Report: {write_report(directory, out)}")

    return reported(f"search {action}", task, directory, elsewhere="--out")
