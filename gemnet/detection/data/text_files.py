"""Small text files of labels: lines in UTF-8, read as untrusted."""

from __future__ import annotations

from pathlib import Path

from gemnet.core.errors import DataError
from gemnet.core.files import TextError, read_text


def lines_of(path: Path, most: int = 1 << 26) -> list[str]:
    """The lines of a text file that are not empty, without spaces around them. Raises DataError that names the file."""
    return [line.strip() for line in text_of(path, most).splitlines() if line.strip()]


def text_of(path: Path, most: int = 1 << 26) -> str:
    """The text of a file in UTF-8. Raises DataError that names the file."""
    try:
        return read_text(path, most)
    except TextError as error:
        remedy = "" if "save it again" in str(error) or "larger" in str(error) else "; save it again as UTF-8"
        raise DataError(f"{error}{remedy}") from error
