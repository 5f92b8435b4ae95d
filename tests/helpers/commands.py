"""The tools as commands that need no second import of the libraries.

A new Python takes some five seconds to import torch, timm and mmdet. Here one server process imports them, once for all
tests of a worker; each command is a fork of it: a process with its own memory, folder, environment, streams and signals, at
once. That tools start in a new Python, and what they import, is for test_tools.py and one test a tool.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600
"""Seconds after which a command is taken to hang."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, or minus the number of the signal that ended it, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Started:
    """A running command, in a process group of its own. `pid`, `poll`, `send_signal` and `wait` as of subprocess.Popen."""

    def __init__(self, process: BaseProcess, folder: tempfile.TemporaryDirectory[str]) -> None:
        self.process, self.folder, self.pid = process, folder, process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = LIMIT) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise TimeoutError(f"the command did not end in {timeout} s")
        return self.process.exitcode

    def end(self, timeout: float = LIMIT) -> Ended:
        """Wait for its end."""
        return Ended(self.wait(timeout), *((Path(self.folder.name) / name).read_text() for name in ("stdout", "stderr")))


def fork_server() -> ForkServerContext:
    """The context of processes that have the libraries imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with mock.patch.dict(os.environ, {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()
    return context


@contextmanager
def forked_workers() -> Iterator[None]:
    """Within, the search's workers are forks of the server too, not new Pythons: for tests of what workers give.

    How they start, hear signals and end is for tests that leave them as they are.
    """
    from search.core import processes
    from search.evaluation import executor

    context = mock.Mock(wraps=multiprocessing, get_context=lambda kind: fork_server())
    with mock.patch.object(executor, "multiprocessing", context), mock.patch.object(processes, "multiprocessing", context):
        yield


def start_tool(tool: str | Path, *arguments: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Started:
    """Start tools/`tool`, or another script by its whole path. env: more of the environment."""
    command, folder = [str(ROOT / "tools" / tool), *map(str, arguments)], tempfile.TemporaryDirectory()
    process = fork_server().Process(target=_become, args=(command, folder.name, str(cwd), {**os.environ, **(env or {})}))
    process.start()
    return Started(process, folder)


def run_tool(tool: str | Path, *arguments: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Ended:
    """What `tools/TOOL ARGUMENTS` ends with."""
    return start_tool(tool, *arguments, cwd=cwd, env=env).end()


def _become(command: list[str], folder: str, cwd: str, environment: dict[str, str]) -> None:
    """In the fork: what a Python does between its start and its end."""
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(os.path.join(folder, name), "wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[:] = command, [os.path.dirname(command[0]), str(ROOT), *sys.path]
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
