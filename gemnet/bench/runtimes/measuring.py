"""The comparison of runtimes: each runtime's networks are written, then timed, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import gemnet
from gemnet.bench.benchmark import RESOLUTION
from gemnet.bench.runtimes.networks import DETECTOR_SIDE, NETWORKS, PEER, WRITING
from gemnet.bench.runtimes.process import WARM_UP
from gemnet.core.errors import UserError
from gemnet.core.machine import cores, processor
from gemnet.deploy.runtimes.table import runtime

THREADS = (1, 2)
KIND, DETECTOR = "network", "detector"
"""Of the rows."""
PROFILED = "onnx"
"""The runtime whose profiler tells the time of each node."""

Progress = Callable[[int, int, str], None]
"""Takes how much is done, how much there is, and what is being done."""


class LeftOut(Exception):
    """A runtime that is not measured; the message tells why."""


def pythons(given: Sequence[str]) -> dict[str, str]:
    """By runtime, the Python that it is installed for, of texts as `litert=PATH`. Raises UserError."""
    found = {}
    for text in given:
        name, _, path = text.partition("=")
        runtime(name)
        if not os.access(path, os.X_OK) or not Path(path).is_file():
            raise UserError(f"{text}: expected RUNTIME=PATH, with the path of a Python, as litert=litert/bin/python")
        found[name] = path
    return found


def measure(
    runtimes: Sequence[str],
    rounds: int,
    python: Mapping[str, str] | None = None,
    names: Sequence[str] = NETWORKS,
    resolution: int = RESOLUTION,
    detectors: Sequence[str] = (),
    progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write networks for runtimes, compare each file with eager, and time a runtime's networks in rounds.

    Args:
        runtimes: Their names.
        rounds: In each, each network of a runtime has a burst of passes, on one image; each of THREADS has its own process.
        python: By runtime, the Python that has it, where it is another.
        names: Of networks, as `gemnet.bench.benchmark.build` takes them.
        resolution: Height and width of the images.
        detectors: Configs of detectors that are compared in the same way, among themselves, at DETECTOR_SIDE.
        progress: Told how far it is.

    Returns:
        `rows`, one a runtime and network, and under `nodes` what ONNX Runtime's profiler tells of the first network and PEER,
        as the data file holds them; and by runtime why it is left out. Raises UserError for a runtime that is not offered.
    """
    threads = [count for count in THREADS if count <= cores()]
    share = WRITING * (len(names) + len(detectors)) + (len(threads) * (1 + bool(detectors)) + 1) * (WARM_UP + rounds)
    about = {"machine": processor(), "date": date.today().isoformat(), "rounds": rounds}
    measured: dict[str, Any] = {"rows": []}
    left_out: dict[str, str] = {}
    for index, name in enumerate(runtimes):
        told = partial(_tell, progress, index * share, len(runtimes) * share, runtime(name).title)
        with tempfile.TemporaryDirectory(prefix="runtimes") as folder:
            child = _Child((python or {}).get(name, sys.executable), {"runtime": name, "folder": folder}, told)
            try:
                rows, version = _runtime(child, KIND, names, resolution, rounds, threads)
                both = rows + (_runtime(child, DETECTOR, detectors, DETECTOR_SIDE, rounds, threads)[0] if detectors else [])
                measured["rows"] += [{"runtime": name, "version": version, **about, **row} for row in both]
                pair = [row["name"] for row in rows if row["name"] in (names[0], PEER) and "refused" not in row]
                if name == PROFILED and len(pair) == 2:
                    profile = {"task": "profile", "names": pair, "rounds": rounds, "resolution": resolution}
                    found, _ = child.run(profile, 1)
                    measured["nodes"] = {"version": version, **about, "resolution": resolution, "networks": found}
            except LeftOut as error:
                left_out[name] = str(error)
        told(share)
    return measured, left_out


def _tell(progress: Progress, before: int, total: int, note: str, done: int) -> None:
    progress(before + done, total, note)


def _runtime(
    child: _Child, kind: str, names: Sequence[str], resolution: int, rounds: int, threads: Sequence[int]
) -> tuple[list[dict[str, Any]], str]:
    """The rows of a runtime and a kind, and its version."""
    written, version = child.run({"task": "write", "names": names, "resolution": resolution})
    taken = [name for name in names if "refused" not in written[name]]
    task = {"task": "time", "names": taken, "rounds": rounds, "resolution": resolution}
    times = {count: child.run({**task, "threads": count}, count)[0] for count in (threads if taken else ())}
    rows = [{"kind": kind, "name": name, "resolution": resolution, **written[name]} for name in names]
    for row in rows:
        if row["name"] in taken:
            row["seconds"] = {str(count): found[row["name"]] for count, found in times.items()}
    return rows, version


class _Child:
    """Runs tasks of `process`, each in a process of its own, and tells how much they have done together."""

    def __init__(self, python: str, common: Mapping[str, Any], done: Callable[[int], None]) -> None:
        self.python, self.common, self.done, self.total = python, common, done, 0

    def run(self, task: Mapping[str, Any], threads: int | None = None) -> tuple[Any, str]:
        """What was found, and the runtime's version. Raises LeftOut where it is not installed, and where the process fails."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads or cores())}
        root = Path(gemnet.__file__).parents[1]
        if (root / "pyproject.toml").is_file():  # another Python may know another checkout
            environment["PYTHONPATH"] = str(root)
        command = [self.python, "-m", "gemnet.bench.runtimes.process"]
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment, encoding="utf-8"
            ) as process,
        ):
            try:
                found = self._listen(process, {**self.common, **task})
            except BaseException:
                process.kill()
                raise
            code = process.wait()
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()]
        if found is None or code:
            raise LeftOut(f"its process ended with {code}{': ' + lines[-1][:300] if lines else ''}")
        if "missing" in found:
            raise LeftOut(f"{found['missing']}, or name the Python that has it: --python {self.common['runtime']}=PATH")
        return found["found"], found["version"]

    def _listen(self, process: subprocess.Popen[str], task: Mapping[str, Any]) -> dict[str, Any] | None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            json.dump(task, process.stdin)
            process.stdin.close()
        except BrokenPipeError:  # it ended before it read: its exit code tells
            return None
        for line in process.stdout:
            told = json.loads(line)
            if isinstance(told, dict):
                return told
            self.total += told
            self.done(self.total)
        return None
