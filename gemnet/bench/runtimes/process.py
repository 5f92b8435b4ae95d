"""What is done in a process of its own, maybe of another Python's: networks are written for a runtime, timed, or profiled.

A task comes as JSON on standard input. Lines of JSON go to standard output: numbers, of how much is done, then the answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.bench.benchmark import measure_in_bursts
from gemnet.bench.runtimes import nodes
from gemnet.bench.runtimes.networks import file_of, write
from gemnet.core.extras import MissingExtraError
from gemnet.deploy.runtimes.table import Runtime, runtime

WARM_UP = 1
"""Rounds that do not count."""


def time(
    entry: Runtime,
    names: Sequence[str],
    folder: Path,
    resolution: int,
    done: Callable[[int], object],
    threads: int,
    rounds: int,
) -> dict[str, dict[str, float]]:
    """Seconds of a pass of one image (median, fastest, slowest) by network, as `measure_in_bursts`."""
    image = np.random.default_rng(0).standard_normal((1, 3, resolution, resolution), np.float32)
    calls = {name: partial(entry.open(file_of(folder, entry, name), threads), image) for name in names}
    return {name: asdict(timing) for name, timing in measure_in_bursts(calls, rounds, WARM_UP, done).items()}


def profile(
    entry: Runtime, names: Sequence[str], folder: Path, resolution: int, done: Callable[[int], object], rounds: int
) -> dict[str, Any]:
    """As `nodes.profile`, of files of ONNX Runtime."""
    found = nodes.profile({name: file_of(folder, entry, name) for name in names}, folder, resolution, rounds)
    done(rounds)
    return found


TASKS: dict[str, Callable[..., Any]] = {"write": write, "time": time, "profile": profile}


def answer(task: Mapping[str, Any], done: Callable[[int], object]) -> dict[str, Any]:
    """Do a task: `task`, one of TASKS; `runtime`; `folder`; and what else its function takes.

    Returns:
        `found`, what the function returns, and `version`, of the runtime; or `missing`, what is not installed.
    """
    given = {key: value for key, value in task.items() if key not in ("task", "runtime", "folder")}
    entry = runtime(task["runtime"])
    try:
        found = TASKS[task["task"]](entry, folder=Path(task["folder"]), done=done, **given)
    except MissingExtraError as error:
        return {"missing": str(error)}
    module = next(iter(entry.running), "torch")
    return {"found": found, "version": metadata.version(metadata.packages_distributions()[module][0])}


def main() -> None:
    """Do the task of standard input. What libraries print goes to standard error."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(line: object) -> None:
        print(json.dumps(line), file=told, flush=True)

    tell(answer(json.load(sys.stdin), tell))


if __name__ == "__main__":
    main()
