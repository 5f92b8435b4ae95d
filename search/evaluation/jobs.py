"""One job, evaluated in this process, and what is told of one whose process died."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from search.core import memory
from search.core.types import EvaluationError, Evaluator, Job, Outcome

ATTEMPTS = 2
"""How often a job is given to a worker before the worker's death counts as the job's fault."""


def evaluate_job(evaluator: Evaluator, job: Job, device: str) -> Outcome:
    """The outcome of a job in this process, whatever happens in it."""
    started = time.perf_counter()
    try:
        evaluation = evaluator.evaluate(job, device)
        return Outcome(job.key, evaluation, seconds=time.perf_counter() - started)
    except EvaluationError as error:
        message = str(error)
    except Exception as error:  # a candidate must not take the search with it, whatever it does
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno}: {last.line})"
        if memory.is_short(error):
            message = f"memory was too small; {memory.REMEDY}: {message}"
    return Outcome(job.key, error=message, seconds=time.perf_counter() - started)


def died(how: str, killed: bool) -> str:
    """What is recorded of a job whose workers died. killed: by SIGKILL, as the system does with a process where memory is
    short."""
    cause = f"; memory was probably too small: {memory.REMEDY}" if killed else ""
    return f"its worker died {ATTEMPTS} times, the last time {how}{cause}"
