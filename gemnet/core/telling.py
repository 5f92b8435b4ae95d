"""Lines for people, in which nothing that was read from elsewhere acts on a terminal."""

from __future__ import annotations

import sys


def printable(value: object) -> str:
    """A text whose characters all show, so that a name of a file cannot act on a terminal, and can be written as UTF-8."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in str(value)
    )


def tell(line: str) -> None:
    """A line on standard error, beside what a command's output is."""
    print(printable(line), file=sys.stderr, flush=True)
