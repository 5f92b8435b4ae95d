"""Evaluations as tasks of Ray: on this machine, or on a cluster whose machines need neither this code nor the images."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gemnet
import search
from search.base import Evaluator, Job, Outcome, SearchError
from search.executor import ATTEMPTS, evaluate_job
from search.threads import torch_threads

CONNECT_SECONDS = 10.0
"""How long the head of a cluster may take to answer."""


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
        device: str = "auto",
        threads: int = 1,
        address: str | None = None,
    ) -> None:
        self._ray = _connected(address, threads)
        total = self._ray.cluster_resources()
        if device not in ("auto", "cpu", "cuda"):
            raise SearchError(f"executor: device {device!r}: expected 'auto', 'cpu' or 'cuda' with Ray")
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
        self._evaluator = self._ray.put(evaluator)
        options = {"num_cpus": threads, "num_gpus": 1 if gpus else 0, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        self._task = self._ray.remote(**options)(_evaluate)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of each job as it comes, in any order."""
        waiting, running = list(jobs)[::-1], {}
        attempts = dict.fromkeys((job.key for job in jobs), 0)
        try:
            while waiting or running:
                while waiting and len(running) < self.slots:
                    job = waiting.pop()
                    attempts[job.key] += 1
                    task = self._task.remote(self._evaluator, job, self.device, self.threads)
                    running[task] = (job, time.monotonic())
                (done, *_), _ = self._ray.wait(list(running), num_returns=1)
                job, started = running.pop(done)
                try:
                    yield self._ray.get(done)
                except self._ray.exceptions.RayError as error:  # not the job's own errors: those come as outcomes
                    if attempts[job.key] < ATTEMPTS:
                        waiting.append(job)
                        continue
                    how = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                    seconds = time.monotonic() - started
                    yield Outcome(job.key, error=f"its worker died {ATTEMPTS} times, the last time {how}", seconds=seconds)
        finally:  # where the caller goes away early
            for task in running:
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(task, force=True)

    def close(self) -> None:
        """Leave the cluster; Ray that was started here ends."""
        self._ray.shutdown()


def _evaluate(evaluator: Evaluator, job: Job, device: str, threads: int) -> Outcome:
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
    if address not in (None, "auto"):
        _check_reachable(address)
    packages = [str(Path(package.__file__).parent) for package in (gemnet, search)]
    try:
        ray.init(
            address=address,
            num_cpus=len(os.sched_getaffinity(0)) if address is None else None,
            include_dashboard=False if address is None else None,
            runtime_env={"py_modules": packages, "env_vars": {"OMP_NUM_THREADS": str(threads)}},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SearchError(f"executor: Ray at {address or 'this machine'} cannot be used: {reason}") from error
    return ray


def _check_reachable(address: str) -> None:
    """Raise SearchError where nothing listens at host:port; Ray itself would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?([\w.:\[\]-]+):(\d+)", address)
    if not match:
        raise SearchError(f"executor: Ray address {address!r}: expected 'auto', host:port or ray://host:port")
    try:
        with socket.create_connection((match[1].strip("[]"), int(match[2])), CONNECT_SECONDS):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SearchError(f"executor: Ray at {address} does not answer ({reason}); is its head running there?") from error
