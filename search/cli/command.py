"""The command line of the search: what it runs, tells and prints to go on with."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.cli.running import reported
from gemnet.core.configs import config_path
from gemnet.core.files import save_text
from search.core.display import Display
from search.core.printed import shell_line
from search.core.types import SearchError
from search.record.study import FAILED, RECORD, read_study


def settings_command(name: str | None = None, out: str | None = None) -> int:
    """Print the settings of a search, or write them to `out`, without a name as the page of them all; the exit code. name: see
    `described.tables`."""

    def task() -> None:
        from search.configuration.listing import page, tables  # which imports all parts

        if out is None:
            print("\n".join(tables(name)).strip())
        else:
            save_text(out, page() if name is None else "\n".join(tables(name)).strip() + "\n")

    return reported("search settings", task, out or "standard output", elsewhere="--out")


def _check_name(directory: Path) -> None:
    """Raises SearchError for a name that is no UTF-8: JSON, SQLite and reports, which hold it, have no other."""
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        shown = str(directory).encode(errors="backslashreplace").decode()
        raise SearchError(f"work directory {shown}: its name is not UTF-8; name another with --work-dir") from None


def search_command(
    config: str,
    work_dir: str | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | Sequence[str] | None = None,
    retry_failed: bool = False,
) -> int:
    """Run or go on with a search; prints what it finds. Returns the exit code: see `reported`.

    config: a file, `gemnet::search/NAME.py`, or the bare NAME of such a config. work_dir: `work_dirs/<name of the config>` if
    None. resume: insist on a search that is already there. options: see `load_settings`. retry_failed: try candidates that
    failed again, which insists on such a search as well.
    """
    from search.configuration.settings import load_settings
    from search.pipeline import run_search
    from search.report.report import write_report
    from search.report.result import show_result, write_front, write_result
    from search.steps.objectives import front_of

    display, start = Display(), time.monotonic()
    path = config_path(config, "search")
    name = Path(path).stem
    directory = Path(work_dir or Path("work_dirs") / name)
    pairs = [f"{key}={value}" for key, value in options.items()] if isinstance(options, Mapping) else list(options or ())
    given = ["--cfg-options", *pairs] if pairs else []
    place = [f"--work-dir={directory}"] if str(directory).startswith("-") else ["--work-dir", directory]
    again = shell_line(config, *place, *given)

    def task() -> None:
        _check_name(directory)
        settings = load_settings(path, options)
        for asked, option in ((resume, "--resume"), (retry_failed, "--retry-failed")):
            if asked and not os.path.lexists(directory / RECORD):
                raise SearchError(
                    f"{option}: {directory} holds no search ({RECORD} is missing); leave out {option} to start one"
                )
        records = run_search(settings, directory, display, retry_failed)
        result = write_result(records, settings, directory, name)
        show_result(result, settings, display)
        if settings["search"].get("objectives"):
            front = front_of(read_study(directory))
            folder = write_front(front, settings, directory, name)
            display.line(f"Front of {', '.join(settings['search']['objectives'])}: {len(front)} cells in {folder}/")
        report = write_report(directory)
        display.line(f"Report: {report}  ({time.monotonic() - start:.0f} s)")
        failed = [r for r in records if r.state == FAILED]
        if failed:
            retry = shell_line(config, *place, "--retry-failed", *given)
            display.line(f"{len(failed)} candidates failed; the first: {failed[0].error}. Try them again with: {retry}")

    return reported("search", task, str(directory), f"stopped; what was recorded is safe. Go on with: {again}", again)
