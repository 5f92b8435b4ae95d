"""Units are run in this process or in several, and every result is recorded as it comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from threadpoolctl import threadpool_limits

from search.base import SearchError
from search.display import Display
from search.reproduce.base import Context, Measured, Part, Result, Unit
from search.reproduce.ledger import Ledger
from search.threads import torch_threads


def run(part: Part, units: Sequence[Unit], ledger: Ledger, context: Context, jobs: int, display: Display) -> list[Result]:
    """The results of `units` in their order; only those that the ledger lacks are run, `jobs` at a time.

    Threads are shared out equally. After Ctrl-C what was done is in the ledger. Raises SearchError where a process dies.
    """
    missing = [unit for unit in units if unit.key not in ledger.results]
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    if missing:
        with display.progress(part.name) as progress:
            done = len(units) - len(missing)
            progress(done, len(units))
            with closing(_results(part, missing, context, jobs, threads)) as results:  # on Ctrl-C, processes end at once
                for result in results:
                    ledger.add(result)
                    done += 1
                    progress(done, len(units), f"{result.unit.row}, {result.unit.setting}, seed {result.unit.seed}")
    return [ledger.results[unit.key] for unit in units]


def _results(part: Part, units: Sequence[Unit], context: Context, jobs: int, threads: int) -> Generator[Result, None, None]:
    if jobs == 1:
        for unit in units:
            yield _measured(part.measure, unit, context, threads)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _ignore_interrupts)
    try:
        futures: list[Future[Result]] = [pool.submit(_measured, part.measure, unit, context, threads) for unit in units]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise SearchError(f"{part.name}: a process died, perhaps for want of memory; go on with fewer --jobs") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():  # none has work left but after an error or Ctrl-C
            process.terminate()


def _measured(measure: Callable[[Unit, Context], Measured], unit: Unit, context: Context, threads: int) -> Result:
    start = time.perf_counter()
    with torch_threads(threads), threadpool_limits(threads):
        measured = measure(unit, context)
    return Result(unit, measured, time.perf_counter() - start)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole group of processes; the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
