"""What a search shows while it runs: progress bars with ETA on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from search.core.types import Progress

LOG_SECONDS = 10
"""How often a bar becomes a line where the output is no terminal."""
LOG_WIDTH = 160
"""Of tables where the output is no terminal."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Called while BrokenPipeError is handled: it is for the command to hear. Rich itself would end Python."""
        raise


class Display:
    """Prints to standard output, or nowhere if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = _Console(quiet=quiet, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = LOG_WIDTH

    def line(self, text: str = "") -> None:
        self.console.out(text, highlight=False)  # to the letter: a path may look like markup or an emoji

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table whose first column is left-aligned, the others right-aligned."""
        table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        self.console.print(table)

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """Yields a callback (done, total, note)."""
        if self.console.is_terminal:
            with self._bar(title) as report:
                yield report
        else:
            yield self._log(title)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Progress]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self.console) as bars:
            task = bars.add_task(title, total=None, note="")
            yield lambda done, total, note="": bars.update(task, completed=done, total=total, note=note)

    def _log(self, title: str) -> Progress:
        start = last = time.monotonic()
        first: int | None = None

        def report(done: int, total: int, note: str = "") -> None:
            nonlocal last, first
            now = time.monotonic()
            first = done if first is None else first
            if done < total and now - last < LOG_SECONDS:
                return
            last = now
            pace = (now - start) / (done - first) if done > first else 0.0
            left = f", ETA {pace * (total - done):.0f} s" if pace and done < total else ""
            self.line(f"{title}: {done}/{total}, {now - start:.0f} s{left}{'  ' + note if note else ''}")

        return report
