"""Train by a config from a command of ours: in this process or in several, with what the libraries print in a log."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from gemnet.core.errors import UserError
from gemnet.openmmlab import engine


def train_to_log(
    config: Path, log: Path, processes: int = 1, options: Mapping[str, Any] | None = None, keep: Sequence[int] = ()
) -> None:
    """Train by a config in its folder, from the last checkpoint there on if there is one.

    Args:
        config: A complete config; its folder is the work directory.
        log: What the libraries print is appended to it.
        processes: That train together.
        options: Of the config (dotted keys).
        keep: Open files that several processes keep open, as a lock.

    Raises:
        UserError: Several processes end with an error, which the log tells.
    """
    place = config.parent
    if processes == 1:
        with to_log(log):
            engine.train(str(config), str(place), "auto", options=options or {})
        return
    given = [f"{key}={value}" for key, value in (options or {}).items()]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "gemnet",
        "train", str(config), "--work-dir", str(place), "--resume", "--launcher", "pytorch",
        *(["--cfg-options", *given] if given else []),
    ]  # fmt: skip
    with open(log, "a", encoding="utf-8") as file:
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
        with subprocess.Popen(command, stdout=file, env=quiet, pass_fds=keep) as process:
            try:
                code = process.wait()
            except BaseException:
                process.terminate()  # it ends its own processes
                process.wait()
                raise
    if code:
        raise UserError(f"training on {processes} processes ended with exit code {code}; {log} tells more")


@contextlib.contextmanager
def to_log(path: Path) -> Iterator[None]:
    """What the libraries print to standard output and warn of is appended to a file."""
    with open(path, "a", encoding="utf-8", buffering=1) as log:

        def write(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
        ) -> None:
            log.write(warnings.formatwarning(message, category, filename, lineno, line))

        with contextlib.redirect_stdout(log), warnings.catch_warnings():
            warnings.showwarning = write
            try:
                yield
            finally:
                for logger in list(MMLogger._instance_dict.values()):  # which hold the file, and live on
                    for handler in list(logger.handlers):
                        if getattr(handler, "stream", None) is log:
                            logger.removeHandler(handler)
