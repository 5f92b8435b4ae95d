"""Jobs and calls that do what they are asked for: end, wait, raise, die."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemnet.cell import Cell
from search.core.processes import RemoteBars
from search.core.types import Evaluation, EvaluationError, Job, SearchError

if TYPE_CHECKING:  # a worker that trains nothing is there in a moment
    from search.evaluation.proxy import ProxyEvaluator

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CELL = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (0, 2)))


@dataclass
class Scripted:
    """Does what the job's seed asks for; in `directory` attempts are counted. Other seeds are trained by `proxy`."""

    directory: str = ""
    proxy: ProxyEvaluator | None = None

    def evaluate(self, job: Job, device: str) -> Evaluation:
        if job.seed == 1:
            raise EvaluationError("the loss became nan")
        if job.seed == 2:
            raise ZeroDivisionError("a bug")
        if job.seed in (3, 4):
            Path(self.directory, f"{job.key}.{os.getpid()}").touch()
            attempts = len(list(Path(self.directory).glob(f"{job.key}.*")))
            if job.seed == 4 or attempts == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        if job.seed == 5:
            time.sleep(60)
        if job.seed == 6:
            import torch

            return Evaluation(torch.get_num_threads(), tuple(float(os.environ[name]) for name in THREADS), False, 0.0)
        if job.seed == 7:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if job.seed >= 100:
            return self.proxy.evaluate(job, device)
        return Evaluation(job.key / 100, (), False, float(os.getpid()))


def jobs(*seeds: int) -> list[Job]:
    return [Job(key, CELL, seed) for key, seed in enumerate(seeds)]


def work(asked):
    """Does what it is asked for; a number is squared, and its bar goes from nothing to all."""
    if asked == "sleep":
        time.sleep(600)
    if asked == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == "raise":
        raise SearchError("no such data")
    with RemoteBars().progress(f"call {asked}") as progress:
        progress(0, 2)
        progress(2, 2, "at the end")
    return asked**2
