"""Evaluations as tasks of Ray: on this machine, or on a cluster whose machines need neither this code nor the images."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from gemnet.core.machine import cores
from gemnet.core.signals import ENDING
from search.core.own_modules import OwnModules
from search.core.threads import torch_threads
from search.core.types import Evaluator, Job, Outcome, SearchError
from search.evaluation.jobs import ATTEMPTS, died, evaluate_job

ANSWER_SECONDS = 25.0
"""How long the head of a cluster may take to answer."""
_PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"


class RayExecutor:
    """Evaluates jobs as Ray tasks with `threads` CPU cores each, and a GPU each where the cluster has some.

    address: None starts Ray on this machine; "auto" is the cluster that runs on it; or host:port, ray://host:port. workers: at
    most so many tasks at a time, "auto" for what the cluster holds. The same job gives the same accuracy as in SerialExecutor
    on a machine of the same kind. A task whose process or machine is lost is started once more elsewhere; one that is lost
    twice is reported as failed. Raises SearchError where Ray is not installed, does not answer, or has not the resources.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        workers: int | str = "auto",
        device: str | Sequence[str] = "auto",
        threads: int = 1,
        address: str | None = None,
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise SearchError(f"executor: device {device!r}: expected 'auto', 'cpu' or 'cuda' with Ray")
        self._ray = _connected(address, threads)
        total = self._ray.cluster_resources()
        gpus = total.get("GPU", 0) if device != "cpu" else 0
        if device == "cuda" and not gpus:
            self.close()
            raise SearchError("executor: device 'cuda': the Ray cluster has no GPU; expected 'auto' or 'cpu'")
        largest = max((node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]), default=0)
        if threads > largest:
            self.close()
            raise SearchError(f"executor: threads={threads}: the largest machine of the Ray cluster offers {largest:g} cores")
        self.threads, self.device = threads, "cuda" if gpus else "cpu"
        self.slots = max(1, int(gpus or total.get("CPU", 1) // threads)) if workers == "auto" else int(workers)
        self._evaluator = self._ray.put((OwnModules(), evaluator))
        options = {"num_cpus": threads, "num_gpus": 1 if gpus else 0, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        self._task = self._ray.remote(**options)(_evaluate)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of each job as it comes, in any order. Raises SearchError where the cluster's machines cannot run
        what they are given."""
        waiting, running = list(jobs)[::-1], dict[Any, tuple[Job, float]]()
        attempts = dict.fromkeys((job.key for job in jobs), 0)
        try:
            self._start(waiting, running, attempts)
            while running:
                (done, *_), _ = self._ray.wait(list(running), num_returns=1)
                job, started = running.pop(done)
                outcome = self._outcome(done, job, attempts[job.key] == ATTEMPTS, time.monotonic() - started)
                if outcome is None:
                    waiting.append(job)
                self._start(waiting, running, attempts)  # before the caller is busy with the outcome
                if outcome is not None:
                    yield outcome
        finally:  # where the caller goes away early
            for task in running:
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(task, force=True)

    def _start(self, waiting: list[Job], running: dict[Any, tuple[Job, float]], attempts: dict[int, int]) -> None:
        """As many of the `waiting` jobs, the last first, as there are free slots."""
        while waiting and len(running) < self.slots:
            job = waiting.pop()
            attempts[job.key] += 1
            task = self._task.remote(self._evaluator, job, self.device, self.threads)
            running[task] = (job, time.monotonic())

    def _outcome(self, task: Any, job: Job, last: bool, seconds: float) -> Outcome | None:
        """Of a task that has ended; None where its process or machine was lost, unless that was the job's last attempt."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(task)
        except errors.RayError as error:  # not the job's own errors: those come as outcomes
            how = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            if isinstance(error, (errors.RayTaskError, errors.RuntimeEnvSetupError)):
                raise SearchError(
                    f"executor: a machine of the Ray cluster cannot run candidates ({how}); it needs this machine's Python and "
                    "packages, but for gemnet itself"
                ) from error
            if not last:
                return None
            return Outcome(job.key, error=died(how, isinstance(error, errors.OutOfMemoryError)), seconds=seconds)

    def close(self) -> None:
        """Leave the cluster; Ray that was started here ends."""
        self._ray.shutdown()


def _evaluate(carried: tuple[OwnModules, Evaluator], job: Job, device: str, threads: int) -> Outcome:
    _, evaluator = carried
    with torch_threads(threads):
        return evaluate_job(evaluator, job, device)


def _connected(address: str | None, threads: int) -> Any:
    """The module ray, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's authors
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # tasks without GPU leave CUDA_VISIBLE_DEVICES alone
    try:
        import ray
    except ImportError:
        raise SearchError('executor: Ray is not installed; pip install -e ".[ray]", or use executor.type=local') from None
    if address is not None:
        _check_answers(address)
    packages = [str(files(package)) for package in ("gemnet", "search")]
    packages += OwnModules().places()
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        ray.init(
            address=address or "local",  # else an environment variable of Ray's could name a cluster
            num_cpus=cores() if address is None else None,
            include_dashboard=False if address is None else None,
            runtime_env={"py_modules": packages, "env_vars": {"OMP_NUM_THREADS": str(threads)}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SearchError(f"executor: Ray at {address or 'this machine'} cannot be used: {reason}") from error
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray's own would end this process without a word
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return ray


def _check_answers(address: str) -> None:
    """Raise SearchError where nothing listens at host:port, or what listens there is silent; Ray itself would try for minutes.

    Another process tries to connect, which can be stopped. Why Ray refuses is for the caller to find.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    if address != "auto":
        match = re.fullmatch(r"(?:ray://)?([\w.:\[\]-]+):(\d+)", address)
        if not match:
            raise SearchError(f"executor: Ray address {address!r}: expected 'auto', host:port or ray://host:port")
        try:
            with socket.create_connection((match[1].strip("[]"), int(match[2])), ANSWER_SECONDS / 3):
                pass
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SearchError(f"executor: Ray at {address} does not answer ({reason}); is its head running there?") from error
    command = [sys.executable, "-c", _PROBE, address]
    try:
        subprocess.run(command, capture_output=True, timeout=max(1.0, deadline - time.monotonic()), check=False)
    except subprocess.TimeoutExpired:
        raise SearchError(
            f"executor: Ray at {address} does not answer within {ANSWER_SECONDS:g} s; is its head running there?"
        ) from None
