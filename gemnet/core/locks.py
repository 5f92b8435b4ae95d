"""Locks of files, which the system lets go of when the process that has one ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gemnet.core.errors import UserError


def lock(descriptor: int) -> bool:
    """Take the lock of an open file; whether it could be had. Raises OSError where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(folder: Path, elsewhere: str = "--work-dir") -> Iterator[int]:
    """The descriptor of the folder's lock file, which is held meanwhile; a process that it is passed to holds it as well.

    Raises:
        UserError: Another process has it. elsewhere: the option that names another folder, for its message.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not lock(descriptor):
            raise UserError(f"{folder}: in use by another process; wait for it, stop it, or name another with {elsewhere}")
        yield descriptor
    finally:
        os.close(descriptor)
