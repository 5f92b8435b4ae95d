"""Where evaluations run: in this process, or in local worker processes, one on each GPU or CPU core."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Annotated, Any

import torch

from gemnet.core.machine import cores
from gemnet.core.settings import Setting
from gemnet.core.signals import ENDING
from search.core.checks import takes_settings
from search.core.own_modules import OwnModules
from search.core.processes import end_with
from search.core.threads import torch_threads
from search.core.types import Evaluator, Executor, Job, Outcome, SearchError
from search.evaluation.jobs import ATTEMPTS, died, evaluate_job
from search.evaluation.ray_executor import RayExecutor

STARTS = 3
"""How many workers in a row may die before they are ready for their first job."""
END_SECONDS = 2.0
READY = "ready"
TEXT = Setting("", str)


class SerialExecutor:
    """Evaluates one job after the other in this process, on `device`, with `threads` CPU threads."""

    def __init__(self, evaluator: Evaluator, device: str = "cpu", threads: int = 1) -> None:
        self.evaluator, self.device, self.threads = evaluator, device, threads

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of each job, in order."""
        for job in jobs:
            with torch_threads(self.threads):
                outcome = evaluate_job(self.evaluator, job, self.device)
            yield outcome

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    device: str
    ready: bool = False
    job: Job | None = None
    started: float = 0.0  # of the job, on the clock time.monotonic
    killed: bool = False  # by SIGKILL, and not by this process


class WorkerExecutor:
    """Evaluates jobs in worker processes, one on each of `devices`, each with `threads` CPU threads.

    The same job gives the same accuracy as in SerialExecutor with as many threads. The evaluator travels to a worker once;
    its tensors lie in shared memory. A worker that dies is replaced and its job tried once more; a job whose workers die
    twice is reported as failed. Workers start with the first jobs, and end with this process, however it ends.
    """

    def __init__(self, evaluator: Evaluator, devices: Sequence[str], threads: int = 1) -> None:
        self.evaluator, self.devices, self.threads = evaluator, tuple(devices), threads
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of each job as it comes, in any order. Raises SearchError where no worker can be started."""
        waiting = deque(jobs)
        attempts = dict.fromkeys((job.key for job in jobs), 0)
        try:
            while waiting or any(worker.job for worker in self._workers):
                self._start_missing(len(waiting) + sum(worker.job is not None for worker in self._workers))
                for worker in self._workers:
                    self._give_next(worker, waiting, attempts)
                heard = set(wait([worker.connection for worker in self._workers]))
                for worker in [w for w in self._workers if w.connection in heard]:
                    outcome = self._hear(worker, waiting, attempts)
                    if outcome is not None:
                        yield outcome
        finally:  # where the caller goes away early, what is still under way must not answer in the next run
            self._end([worker for worker in self._workers if worker.job])

    def close(self) -> None:
        """End all workers now."""
        self._end(self._workers)

    def _start_missing(self, jobs: int) -> None:
        """Start workers on devices that have none, as far as there are jobs for them."""
        free = Counter(self.devices) - Counter(worker.device for worker in self._workers)
        for device in list(free.elements())[: max(0, jobs - len(self._workers))]:
            self._start(device)

    def _start(self, device: str) -> None:
        here, there = self._context.Pipe()
        arguments = (there, OwnModules(), self.evaluator, device, self.threads, os.getpid())
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        try:
            with _environment_of_worker(self.threads), there:
                process.start()
        except RuntimeError as error:
            here.close()
            if "shared memory" not in str(error):
                raise
            raise SearchError(
                f"executor: the images do not fit into shared memory ({error}); enlarge /dev/shm "
                "(docker: --shm-size), use fewer or smaller images, or set workers=1"
            ) from error
        except OSError as error:
            here.close()
            raise SearchError(f"executor: a worker could not be started: {error}; use fewer workers") from error
        self._workers.append(_Worker(process, here, device))

    def _hear(self, worker: _Worker, waiting: deque[Job], attempts: dict[int, int]) -> Outcome | None:
        """What a worker that has spoken, or died, means for the caller. The job of a dead one goes back to `waiting` once."""
        job = worker.job
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            how = self._bury(worker)
            if job is not None and attempts[job.key] < ATTEMPTS:
                waiting.appendleft(job)
            elif job is not None:
                seconds = time.monotonic() - worker.started
                return Outcome(job.key, error=died(how, worker.killed), seconds=seconds)
            return None
        worker.ready, worker.job, self._failed_starts = True, None, 0
        self._give_next(worker, waiting, attempts)  # before the caller is busy with the outcome
        return None if message == READY else message

    @staticmethod
    def _give_next(worker: _Worker, waiting: deque[Job], attempts: dict[int, int]) -> None:
        """Send the next waiting job to a worker that is ready and has none, unless it is dead, as reading from it will say."""
        if not worker.ready or worker.job or not waiting or not worker.process.is_alive():
            return
        job = waiting.popleft()
        attempts[job.key] += 1
        worker.job, worker.started = job, time.monotonic()
        with contextlib.suppress(OSError):  # it has died just now
            worker.connection.send(job)

    def _bury(self, worker: _Worker) -> str:
        """Remove a dead worker; returns how it died. Raises SearchError if workers keep dying at their start."""
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        worker.killed = code == -signal.SIGKILL
        self._end([worker])
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                self._failed_starts = 0  # whoever goes on with this executor has mended it
                raise SearchError(f"executor: workers end {how} before their first job; see above, or set workers=1")
        return how

    def _end(self, workers: Sequence[_Worker]) -> None:
        workers = list(workers)
        self._workers = [worker for worker in self._workers if worker not in workers]
        for worker in workers:
            worker.connection.close()
            worker.process.kill()  # nothing that it holds outlives it
        deadline = time.monotonic() + END_SECONDS
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ValueError):  # it hangs in the system, as on a lost disk: it is not waited for
                worker.process.close()


@contextlib.contextmanager
def _environment_of_worker(threads: int) -> Iterator[None]:
    """What a worker inherits at its start: the number of threads, and deafness to signals that are for the driver to hear, and
    reach the whole group of processes."""
    # These libraries read their number of threads when they are loaded, before the worker's first line of Python.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    before_mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        resource_tracker.ensure_running()  # it unblocks some of them
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before_mask)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _work(connection: Connection, own: OwnModules, evaluator: Evaluator, device: str, threads: int, parent: int) -> None:
    """A worker: says that it is ready, then takes jobs and sends outcomes until the connection ends."""
    end_with(parent)
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # the driver is gone, or has closed
        connection.send(READY)
        while True:
            outcome = evaluate_job(evaluator, connection.recv(), device)
            connection.send(outcome)
            if "CUDA error" in outcome.error:  # CUDA is lost to this process: what comes next would fail as well
                return


@takes_settings("executor")
def build_executor(
    evaluator: Evaluator,
    type: Annotated[str, Setting("workers on this machine, or a Ray cluster", choices=("local", "ray"))] = "local",
    workers: Annotated[
        int | str,
        Setting("spread over the devices; auto for one on each GPU or CPU core", int, at_least=1, also=("auto",)),
    ] = "auto",
    device: Annotated[
        str | Sequence[str],
        Setting("auto for all GPUs or else the CPU, cpu, cuda, cuda:1, or some of these", list, item=TEXT, alone=True),
    ] = "auto",
    threads: Annotated[int, Setting("CPU threads of each worker", at_least=1)] = 1,
    address: Annotated[str | None, Setting("of a Ray cluster, auto or host:port; None for Ray on this machine")] = None,
) -> Executor:
    """The executor: "local" for this machine, or "ray" for a cluster (see `search.evaluation.ray_executor.RayExecutor`).

    One local worker evaluates in this process. Raises SearchError for a device that is not there, and for other values.
    """
    if type == "ray":
        return RayExecutor(evaluator, workers, device, threads, address)
    if address is not None:
        raise SearchError(f"executor: address={address!r} is for executor.type=ray")
    devices = _devices(device)
    automatic = len(devices) if devices[0] != "cpu" else max(1, cores() // threads)
    placed = [devices[i % len(devices)] for i in range(automatic if workers == "auto" else int(workers))]
    return SerialExecutor(evaluator, placed[0], threads) if len(placed) == 1 else WorkerExecutor(evaluator, placed, threads)


def _devices(device: Any) -> list[str]:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    known = ["cpu", *gpus]
    if device == "auto":
        return gpus or ["cpu"]
    names = list(device) if isinstance(device, (list, tuple)) else [device]
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
