"""Where evaluations run: in this process, or in local worker processes, one on each GPU or CPU core."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from search.base import EvaluationError, Evaluator, Executor, Job, Outcome, SearchError
from search.threads import torch_threads

ATTEMPTS = 2
"""How often a job is given to a worker before a worker's death counts as the job's fault."""
WATCH_SECONDS = 0.5


class SerialExecutor:
    """Evaluates one job after the other in this process."""

    def __init__(self, evaluator: Evaluator, device: str = "cpu", threads: int = 1) -> None:
        self.evaluator, self.device, self.threads = evaluator, device, threads

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of each job, in order."""
        for job in jobs:
            with torch_threads(self.threads):
                outcome = _evaluate(self.evaluator, job, self.device)
            yield outcome

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    device: str
    job: Job | None = None
    started: float = 0.0


class WorkerExecutor:
    """Evaluates jobs in worker processes, one on each of `devices`, each with `threads` threads of its own.

    The same job gives the same accuracy as in SerialExecutor with as many threads. A worker that dies is replaced and its job
    tried once more; a job whose workers die twice is reported as failed. Workers end with this process, however it ends.
    """

    def __init__(self, evaluator: Evaluator, devices: Sequence[str], threads: int = 1) -> None:
        self.evaluator, self.threads = evaluator, threads
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        try:
            for device in devices:
                self._workers.append(self._start(device))
        except BaseException:
            self.close()
            raise

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of each job as it comes, in any order."""
        waiting = deque(jobs)
        attempts = dict.fromkeys((job.key for job in jobs), 0)
        left = len(jobs)
        while left:
            for worker in self._workers:
                if worker.job is None and waiting:
                    self._give(worker, waiting.popleft(), attempts)
            busy = [worker for worker in self._workers if worker.job is not None]
            ready = set(wait([w.connection for w in busy]))
            for worker in [w for w in busy if w.connection in ready]:
                job = worker.job
                try:
                    outcome = worker.connection.recv()
                except (EOFError, OSError):
                    outcome = self._bury(worker, attempts[job.key])
                    if outcome is None:
                        waiting.appendleft(job)
                        continue
                worker.job = None
                left -= 1
                yield outcome

    def close(self) -> None:
        """End all workers now."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        deadline = time.monotonic() + 3
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._workers.clear()

    def _start(self, device: str) -> _Worker:
        here, there = self._context.Pipe()
        # OpenMP reads its number of threads when it is loaded, before the worker's first line of Python.
        before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        os.environ.update({name: str(self.threads) for name in before})
        try:
            arguments = (there, self.evaluator, device, self.threads, os.getpid())
            process = self._context.Process(target=_work, args=arguments, daemon=True)
            process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        there.close()
        return _Worker(process, here, device)

    def _give(self, worker: _Worker, job: Job, attempts: dict[int, int]) -> None:
        attempts[job.key] += 1
        worker.job, worker.started = job, time.monotonic()
        with contextlib.suppress(OSError):  # it is dead: reading from it will say so
            worker.connection.send(job)

    def _bury(self, worker: _Worker, attempts: int) -> Outcome | None:
        """Put a new worker in the place of a dead one. Returns the outcome of its job, or None if that may be tried again."""
        worker.process.join()
        code, job = worker.process.exitcode, worker.job
        worker.connection.close()
        worker.process.close()
        self._workers[self._workers.index(worker)] = self._start(worker.device)
        if attempts < ATTEMPTS:
            return None
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Outcome(
            job.key, error=f"its worker died {attempts} times, last by {how}", seconds=time.monotonic() - worker.started
        )


def _evaluate(evaluator: Evaluator, job: Job, device: str) -> Outcome:
    started = time.perf_counter()
    try:
        evaluation = evaluator.evaluate(job, device)
    except EvaluationError as error:
        return Outcome(job.key, error=str(error), seconds=time.perf_counter() - started)
    except Exception as error:  # a candidate must not take the search with it, whatever it does
        return Outcome(job.key, error=f"{type(error).__name__}: {error}", seconds=time.perf_counter() - started)
    return Outcome(job.key, evaluation, seconds=evaluation.seconds)


def _work(connection: Connection, evaluator: Evaluator, device: str, threads: int, parent: int) -> None:
    """A worker: takes jobs and sends outcomes until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which then ends the workers
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_evaluate(evaluator, job, device))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even by SIGKILL."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def build_executor(
    evaluator: Evaluator, workers: int | str = "auto", device: str | Sequence[str] = "auto", threads: int = 1
) -> Executor:
    """The executor for this machine.

    device: "auto" is all GPUs, or the CPU where there is none; or "cpu", "cuda", "cuda:1", or a list of these.
    workers: "auto" is one for each GPU, or for each CPU core; a number is spread over the devices; 1 evaluates in this process.
    threads: CPU threads of each worker. Raises SearchError for a device that is not there, and for other values.
    """
    if not (workers == "auto" or (type(workers) is int and workers >= 1)):
        raise SearchError(f"executor: workers: expected 'auto' or a whole number from 1, found {workers!r}")
    if type(threads) is not int or threads < 1:
        raise SearchError(f"executor: threads: expected a whole number from 1, found {threads!r}")
    devices = _devices(device)
    cores = len(os.sched_getaffinity(0))
    count = workers if workers != "auto" else (len(devices) if devices[0] != "cpu" else max(1, cores // threads))
    placed = [devices[i % len(devices)] for i in range(count)]
    return SerialExecutor(evaluator, placed[0], threads) if count == 1 else WorkerExecutor(evaluator, placed, threads)


def _devices(device: Any) -> list[str]:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    known = ["cpu", *gpus]
    if device == "auto":
        return gpus or ["cpu"]
    names = [device] if isinstance(device, str) else list(device)
    if not names:
        raise SearchError(f"executor: device: expected at least one of {', '.join(known)}")
    chosen = []
    for name in names:
        if name == "cuda" and gpus:
            chosen += gpus
        elif name in known:
            chosen.append(name)
        else:
            raise SearchError(f"executor: device {name!r} is not there; expected 'auto' or some of {', '.join(known)}")
    return chosen
