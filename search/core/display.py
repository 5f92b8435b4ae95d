"""What a search shows while it runs: progress bars with ETA on a terminal, plain lines in a log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gemnet.core.progress import Progress, progress

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

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """Yields a callback (done, total, note)."""
        return progress(title, self.console)
