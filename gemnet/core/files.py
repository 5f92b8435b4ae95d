"""Files: written whole or not at all, and read as what anyone may have put there."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gemnet.core.errors import UserError


def save_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` to be written in the body; it takes the place of `path` at the end, and is removed if
    the body raises."""
    target = Path(os.fsdecode(path))
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        temporary.open("wb").close()  # writers in C tell neither the file nor the system's error
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(target)
        raise


@contextmanager
def made_apart(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own beside `path`; what is in that at the end goes to `path` and beside it.

    Where the block raises, nothing of it is left, and what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".export", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    with folder:
        yield Path(folder.name) / path.name
        for file in Path(folder.name).iterdir():
            os.replace(file, path.with_name(file.name))


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises OSError with a plain `strerror` where `path` is no regular file: reading a FIFO or a device may not end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"is {_KINDS.get(stat.S_IFMT(mode), 'of another kind')}, not a file", os.fsdecode(path))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The regular file at `path`, for reading. Raises OSError, also where it is another kind; never waits for a FIFO."""
    check_regular(path)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


class TextError(UserError):
    """A file that is no UTF-8 text, or cannot be read. The message says what it is instead, and the remedy."""


def decode_text(content: bytes) -> str:
    """UTF-8, without its byte-order mark. Raises TextError; its message names no file."""
    if re.match(rb"\xff\xfe|\xfe\xff|\0\0\xfe\xff|(\0[\t-~]){2}|([\t-~]\0){2}", content):
        kind = "UTF-32" if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") else "UTF-16"
        raise TextError(f"{kind} text, not UTF-8; save it again as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"not UTF-8 text at byte {error.start}") from None


def read_text(path: str | os.PathLike[str], most: int = 1 << 28) -> str:
    """The text of a regular file of at most `most` bytes, in UTF-8 with a byte-order mark or without.

    Raises TextError, which names the file, for another encoding, a larger file, and what cannot be read or is no regular file.
    """
    name = os.fsdecode(path)
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise TextError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most:
        raise TextError(f"{name}: larger than {most >> 20} MiB")
    try:
        return decode_text(content)
    except TextError as error:
        raise TextError(f"{name}: {error}") from None
