"""Run the searches that the record lacks, and record each that ends."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from search.core.display import Display
from search.core.json_lines import Format, Store
from search.core.processes import in_processes
from search.core.threads import torch_threads
from search.experiments.chance.measuring import measure
from search.experiments.chance.tasks import Task
from search.experiments.lines import Fields, checked_fields, open_lines

FIELDS: Fields = {
    "benchmark": str, "method": str, "recipe": str, "seed": int, "budget": int, "at": list, "score": list, "test": list,
    "best_test": (int, float, type(None)), "seconds": (int, float), "cpu_seconds": (int, float), "machine": str,
}  # fmt: skip
"""What a line of the record has."""


def parse(row: Any) -> dict[str, Any]:
    """A line of the record. Raises ValueError, TypeError or KeyError for what is none."""
    checked_fields(row, FIELDS)
    at, budget = row["at"], row["budget"]
    if not at or at != sorted(set(at)) or at[-1] != budget:
        raise ValueError(f"at is {at}, not rising to the budget {budget}")
    for name in ("score", "test"):
        values = row[name]
        if len(values) != len(at) or not all(_is_finite(value) for value in values):
            raise ValueError(f"{name} is not a finite number for each of {len(at)} points")
    return row


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By which a search is known: what `Task.key` has."""
    return tuple(row[name] for name in ("benchmark", "method", "recipe", "seed"))


FORMAT = Format(parse, key, ", line {number}: not a search of this comparison: {reason}")


def open_record(path: Path, work_dir: Path | None = None) -> Store[dict[str, Any]]:
    """The record at `path`: see `open_lines`."""
    return open_lines(path, FORMAT, work_dir)


def run(tasks: Sequence[Task], record: Store[dict[str, Any]], directory: Path, jobs: int, display: Display) -> None:
    """Run what the record lacks, `jobs` at a time, one thread each. Interrupted, the same call goes on.

    Searches with one seed run one after the other, since they share what they train.
    """
    missing = [task for task in tasks if task.key not in record.rows]
    if not missing:
        return
    groups: dict[tuple[str, int], list[Task]] = {}
    for task in missing:
        groups.setdefault((task.benchmark, task.seed), []).append(task)
    place = directory / "searches"
    with display.progress("Searches") as progress:
        done = len(tasks) - len(missing)
        progress(done, len(tasks))
        with closing(_rows(list(groups.values()), place, jobs)) as rows:  # on Ctrl-C, processes end at once
            for row in rows:
                record.add(row)
                done += 1
                progress(done, len(tasks), f"{row['benchmark']}, {row['method']}, seed {row['seed']}: {row['seconds']:.0f} s")


def _rows(groups: Sequence[Sequence[Task]], place: Path, jobs: int) -> Generator[dict[str, Any], None, None]:
    if jobs == 1:
        for group in groups:
            for task in group:
                yield from _measured([task], place)
        return
    for rows in in_processes(_measured, [(group, place) for group in groups], jobs, "compare-searches"):
        yield from rows


def _measured(group: Iterable[Task], place: Path) -> list[dict[str, Any]]:
    with torch_threads(1), threadpool_limits(1):
        return [measure(task, place) for task in group]
