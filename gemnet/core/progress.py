"""How far long work has come: a bar with ETA on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
LOG_SECONDS = 10
"""How often a bar becomes a line where the output is no terminal."""


class Progress(Protocol):
    """Told how far a long piece of work has come; the total is 0 where nobody knows it."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, console: Console | None = None) -> Iterator[Progress]:
    """Yields what is to be told of the progress; shows it on `console`, else on standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True) if console is None else console
    if console.is_terminal:
        with _bar(title, console) as report:
            yield report
    else:
        yield _lines(title, console)


def tracked(work: Iterable[Item], title: str, total: int | None = None, least: int = 1) -> Iterator[Item]:
    """Go through `work`, and show on standard error how far it is.

    total: Its number of items, where it has no length. least: With fewer items nothing is shown.
    """
    if total is None:
        total = len(work) if isinstance(work, Collection) else 0
    if 0 < total < least:
        yield from work
        return
    with progress(title) as report:
        report(0, total)
        for done, item in enumerate(work, 1):
            yield item
            report(done, total)


@contextmanager
def _bar(title: str, console: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(title, total=None, note="")
        yield lambda done, total, note="": bars.update(task, completed=done, total=total or None, note=note)


def _lines(title: str, console: Console) -> Progress:
    start = last = time.monotonic()
    first: int | None = None

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last, first
        now = time.monotonic()
        first = done if first is None else first
        if (not total or done < total) and now - last < LOG_SECONDS:
            return
        last = now
        pace = (now - start) / (done - first) if done > first else 0.0
        left = f", ETA {pace * (total - done):.0f} s" if pace and done < total else ""
        of = f"/{total}" if total else ""
        told = f"{title}: {done}{of}, {now - start:.0f} s{left}{'  ' + note if note else ''}"
        console.out(told, highlight=False)  # to the letter: a path may look like markup or an emoji

    return report
