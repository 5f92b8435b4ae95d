"""The root of all errors that a user can mend, and the system's errors behind others."""

from __future__ import annotations

import errno
import os


class UserError(ValueError):
    """Something given from outside does not fit; the message names it and the remedy, so that no traceback is needed."""


class DataError(UserError):
    """Data that is missing, broken or does not fit; the message names the file and the remedy."""


def system_cause(error: BaseException | None) -> OSError | None:
    """The system's error that `error` is, or, where it is a RuntimeError, was caused by: torch tells a full disk as its own."""
    if isinstance(error, OSError):
        return error
    if not isinstance(error, RuntimeError):
        return None
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        if "PytorchStreamWriter" in str(error):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint")
        error = error.__cause__ or error.__context__
    return None
