"""All trainings of a comparison, each in a process of its own, some side by side; what the record has is not run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.core.display import Display
from search.core.json_lines import Store
from search.core.types import SearchError
from search.experiments.detectors.record import parse, told
from search.experiments.detectors.tasks import Task
from search.experiments.detectors.training import ROW

POLL = 2.0
"""Seconds between looks at the processes."""
LOG = "output.log"


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[bytes]


def train_all(tasks: Sequence[Task], record: Store[dict[str, Any]], jobs: int, display: Display) -> list[str]:
    """Train what the record lacks, `jobs` at a time, and add each that ends well.

    A training that ended while no command was there to record it is recorded now. When this is interrupted, so are the
    trainings; those that had not ended begin anew the next time.

    Args:
        tasks: In their order.
        record: Grows as trainings end.
        jobs: Processes side by side, of one thread each.
        display: Shows the progress.

    Returns:
        A sentence for each training that failed.
    """
    missing = []
    for task in tasks:
        if task.key not in record.rows:
            row = _left(task)
            if row is not None:
                record.add(row)
                display.line(f"{task.name}: had ended; {told(row)}")
            else:
                missing.append(task)
    done, failed = len(tasks) - len(missing), []
    running: list[_Running] = []
    began, finished = time.monotonic(), 0
    if done:
        display.line(f"{done} of {len(tasks)} trainings are in the record")
    if missing:
        least = sum(task.budget for task in missing) / jobs / 60
        display.line(f"{len(missing)} to train, {jobs} at a time: at least {least:.0f} minutes")
    try:
        while missing or running:
            while missing and len(running) < jobs:
                running.append(_start(missing.pop(0)))
                display.line(f"{running[-1].task.name}: begins; its output goes to {running[-1].task.work_dir / LOG}")
            time.sleep(POLL)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                row = _left(one.task) if one.process.returncode == 0 else None
                if row is None:
                    failed.append(f"{one.task.name}: failed ({_last(one.task)}); {one.task.work_dir / LOG} tells more")
                    display.line(failed[-1])
                else:
                    record.add(row)
                    display.line(f"{one.task.name}: {told(row)}")
                finished += 1
                left = len(missing) + len(running)
                minutes = (time.monotonic() - began) / finished * left / 60
                display.line(f"{len(tasks) - left} of {len(tasks)} trainings{f', ETA {minutes:.0f} min' if left else ''}")
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
    return failed


def _start(task: Task) -> _Running:
    task.work_dir.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "gemnet", "compare-detectors", "one", "--data", str(task.folder), "--method", task.method,
        "--seed", str(task.seed), "--budget", str(task.budget), "--work-dir", str(task.work_dir),
        *(["--yolo-python", str(task.yolo_python)] if task.yolo_python else []),
    ]  # fmt: skip
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    with (task.work_dir / LOG).open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **threads})
    return _Running(task, process)


def _left(task: Task) -> dict[str, Any] | None:
    """The row that a training has left in its folder, if it is that of this task."""
    try:
        row = parse(json.loads((task.work_dir / ROW).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return row if (row["data"], row["method"], row["seed"], float(row["budget"])) == task.key else None


def _last(task: Task) -> str:
    try:
        lines = (task.work_dir / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SearchError(f"{task.work_dir / LOG}: {error.strerror}") from None
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
