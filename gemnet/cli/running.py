"""The runner of every command line: what is told of errors and of an end by a signal, and the exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable

from gemnet.core.errors import UserError, system_cause
from gemnet.core.extras import missing_extra
from gemnet.core.signals import terminating

REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EROFS: "name a directory that can be written with {elsewhere}",
    errno.EACCES: "name a directory that can be written with {elsewhere}",
    errno.EPERM: "name a directory that can be written with {elsewhere}",
}
"""What helps against errors of the system."""


def reported(
    name: str,
    task: Callable[[], object],
    place: str,
    stopped: str = "stopped",
    again: str = "",
    elsewhere: str = "--work-dir",
    explain: Callable[[Exception], str | None] = lambda error: None,
) -> int:
    """Run `task` for a command line, with one message on standard error for what the user can mend.

    Of several processes that train together, each tells its own errors, and the first alone that it was stopped.

    Args:
        name: Of the command, at the head of the message.
        task: What is done. What it imports belongs into it: a library that is missing is told by the extra that brings it.
        place: What an error of the system is about where it names no file.
        stopped: The message after Ctrl-C.
        again: The command that goes on after an error of the system.
        elsewhere: The option that names another directory.
        explain: Tells of another error what the user can mend, or None, which raises it again.

    Returns:
        The exit code: 0; 1 after an error, and after Ctrl-C, SIGTERM and SIGHUP, which all end `task` alike; 141, as of
        programs that SIGPIPE ends, without a word, where nobody reads the output any more.
    """
    try:
        with terminating():
            task()
            if sys.stdout is not None:  # None where it was closed before Python started
                sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        if _process():
            return 1
        message = stopped
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE
    except Exception as error:
        found = error if isinstance(error, UserError) else missing_extra(error) or system_cause(error)
        if isinstance(found, OSError):
            told: str | None = _of_system(found, place, again, elsewhere)
        else:
            told = explain(error) if found is None else _own(found)
        if told is None:
            raise
        message = told
    label = f"{name} (process {_process()})" if os.environ.get("WORLD_SIZE", "1") != "1" else name
    with contextlib.suppress(OSError):
        if sys.stderr is not None:  # print would take standard output
            print(f"{label}: {message}", file=sys.stderr, flush=True)
    return 1


def explained(error: Exception) -> str | None:
    """What mmengine's error tells the user to mend in a config, for `reported`; None for another error."""
    engine = sys.modules.get("gemnet.openmmlab.engine")
    return engine.mistaken_part(error) if engine else None


def _process() -> int:
    """The rank of this process among those that a launcher started together."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() else 0


def _own(error: UserError) -> str:
    """An error's message; from a loader's worker it comes with a traceback before it."""
    return re.split(r"\n[\w.]+Error: ", str(error))[-1].strip()


def _of_system(error: OSError, place: str, again: str, elsewhere: str) -> str:
    message = f"{error.filename or place}: {error.strerror or error}"
    if error.errno in REMEDIES:
        message += f"; {REMEDIES[error.errno].format(elsewhere=elsewhere)}"
    if again:
        message += f"{'' if error.errno in REMEDIES else '; mend that'}, then go on with: {again}"
    if error.errno == errno.ENOSPC:
        _drop_output()
    return message


def _drop_output() -> None:
    """What is still to be written to standard output cannot be: Python is not to try it again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
