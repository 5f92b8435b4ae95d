"""Working with the record of a search, running or ended: where it stands, its best cells, the record as text, its report."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from search.base import SearchError
from search.command import reported
from search.display import Display
from search.exported import is_export, read_record, write_export
from search.overhead import spent
from search.ranking import STOPPED, best_first, best_table
from search.schedule import Schedule
from search.study import DONE, FAILED, PENDING, holder, read_study


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

    Raises SearchError where `directory` is no work directory.
    """
    if is_export(directory):
        raise SearchError(f"{directory} is an exported record; what is exported is a work directory")
    snapshot = read_study(directory)
    write_export(snapshot, path)
    return len(snapshot.records)


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
            from search.report import write_report  # its plots take long to import

            display.line(f"Report: {write_report(directory, out)}")

    return reported(f"search {action}", task, directory)
