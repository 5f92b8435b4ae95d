"""Units are run in this process or in several, and every result is recorded, as a JSON line, as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from gemnet.core.machine import cores
from search.core.display import Display
from search.core.json_lines import Format, Store
from search.core.processes import in_processes
from search.core.threads import torch_threads
from search.experiments.paper.base import Context, Measured, Part, Result, Unit
from search.record.study import take_lock

FILE = "results.jsonl"


def open_results(directory: Path) -> Store[Result]:
    """The results in a work directory by the key of their unit, open to one process at a time.

    Raises SearchError where another process has them open, and for a line that is not a result.
    """
    return Store(directory / FILE, RESULTS, take_lock)


def _parsed(line: Any) -> Result:
    unit = Unit(*(line[name] for name in ("group", "row", "setting", "seed", "recipe")))
    return Result(unit, Measured(line["figures"], line["series"]), float(line["seconds"]))


def _dumped(result: Result) -> dict[str, Any]:
    return {**asdict(result.unit), **asdict(result.measured), "seconds": result.seconds}


RESULTS: Format[Result] = Format(
    _parsed, lambda result: result.unit.key, ": line {number} is not a result; remove it, or take another --work-dir", _dumped
)


def run(
    part: Part,
    units: Sequence[Unit],
    store: Store[Result],
    context: Context,
    jobs: int,
    display: Display,
    known: Mapping[str, Result] | None = None,
) -> list[Result]:
    """The results of `units` in their order; only those that neither the store nor `known` has are run, `jobs` at a time.

    Threads are shared out equally. After Ctrl-C what was done is in the store. known: by the units' keys; the store's go first.
    Raises SearchError where a process dies.
    """
    known = known or {}
    missing = [unit for unit in units if unit.key not in store.rows and unit.key not in known]
    threads = max(1, cores() // jobs)
    if missing:
        with display.progress(part.name) as progress:
            done = len(units) - len(missing)
            progress(done, len(units))
            with closing(_results(part, missing, context, jobs, threads)) as results:  # on Ctrl-C, processes end at once
                for result in results:
                    store.add(result)
                    done += 1
                    progress(done, len(units), f"{result.unit.row}, {result.unit.setting}, seed {result.unit.seed}")
    return done_of(units, store, known)


def done_of(units: Sequence[Unit], store: Store[Result], known: Mapping[str, Result]) -> list[Result]:
    """The results of those of `units` that the store or `known` has, in the order of `units`."""
    return [store.rows.get(unit.key) or known[unit.key] for unit in units if unit.key in store.rows or unit.key in known]


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
