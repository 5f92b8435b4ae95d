"""The command line of the search: messages and exit codes."""

from __future__ import annotations

import errno
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.errors import UserError
from gemnet.files import save_text
from search.base import SearchError
from search.display import Display
from search.study import RECORD


def reported(name: str, task: Callable[[], None], place: str, stopped: str = "stopped") -> int:
    """Run `task` for a command line: the exit code, after one message on standard error for what the user can mend.

    place: what a system's error is about where it names no file. stopped: the message after Ctrl-C.
    """
    try:
        task()
        return 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or place}: {error.strerror or error}"
    except KeyboardInterrupt:
        message = stopped
    print(f"{name}: {message}", file=sys.stderr)
    return 1


def settings_command(name: str | None = None, out: str | None = None) -> int:
    """Print the settings of a search, or write the page of them all to `out`; the exit code. name: see `described.tables`."""

    def task() -> None:
        from search.described import page, tables  # which needs all parts

        if out is None:
            print("\n".join(tables(name)).strip())
        else:
            save_text(out, page())

    return reported("search settings", task, out or "")


def search_command(
    config: str, work_dir: str | None = None, resume: bool = False, options: Mapping[str, Any] | Sequence[str] | None = None
) -> int:
    """Run or go on with a search; prints what it finds. Returns the exit code: 0, or 1 after a message on standard error.

    work_dir: `work_dirs/<name of the config>` if None. resume: insist on a search that is already there. options: see
    `load_settings`.
    """
    from search.pipeline import run_search
    from search.report import write_report
    from search.result import show_result, write_result
    from search.settings import load_settings

    display, start = Display(), time.monotonic()
    name = Path(config).stem
    directory = Path(work_dir or Path("work_dirs") / name)
    pairs = [f"{key}={value}" for key, value in options.items()] if isinstance(options, Mapping) else list(options or ())
    again = shlex.join(
        ["python", "tools/search.py", config, "--work-dir", str(directory), *(["--cfg-options", *pairs] if pairs else [])]
    )
    try:
        settings = load_settings(config, options)
        if resume and not (directory / RECORD).exists():
            raise SearchError(f"--resume: {directory} holds no search ({RECORD} is missing); leave out --resume to start one")
        records = run_search(settings, directory, display)
        result = write_result(records, settings, directory, name)
        show_result(result, settings, display)
        report = write_report(directory)
        display.line(f"Report: {report}  ({time.monotonic() - start:.0f} s)")
        return 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "mend that"
        message = f"{error.filename or directory}: {error.strerror or error}; {remedy}, then go on with: {again}"
    except KeyboardInterrupt:
        message = f"stopped; what was recorded is safe. Go on with: {again}"
    print(f"search: {message}", file=sys.stderr)
    return 1
