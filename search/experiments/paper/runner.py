"""Units are run in this process or in several, and every result is recorded as it comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from threadpoolctl import threadpool_limits

from search.core.display import Display
from search.core.processes import in_processes
from search.core.threads import torch_threads
from search.experiments.paper.base import Context, Measured, Part, Result, Unit
from search.experiments.paper.ledger import Ledger


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
    yield from in_processes(_measured, [(part.measure, unit, context, threads) for unit in units], jobs, part.name)


def _measured(measure: Callable[[Unit, Context], Measured], unit: Unit, context: Context, threads: int) -> Result:
    start = time.perf_counter()
    with torch_threads(threads), threadpool_limits(threads):
        measured = measure(unit, context)
    return Result(unit, measured, time.perf_counter() - start)
