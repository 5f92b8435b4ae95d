"""The command line of a reproduction: parts are run, told and written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from gemnet.cli.running import reported
from search.core.display import Display
from search.core.types import SearchError
from search.experiments.paper.base import TUNING_SEEDS, Context, Part, Unit
from search.experiments.paper.output import FOLDER, PAGE, publish_part, write_files
from search.experiments.paper.overview import PAGE as OVERVIEW
from search.experiments.paper.overview import renew_overview
from search.experiments.paper.parts import PARTS
from search.experiments.paper.runner import done_of, open_results, run
from search.experiments.paper.taken_over import taken_over

ALL = "all"


def reproduce_command(
    names: Sequence[str],
    work_dir: str,
    data: str | None = None,
    seeds: int | None = None,
    first_seed: int = 0,
    quick: bool = False,
    jobs: int = 1,
    root: Path | None = None,
    rows: Sequence[str] | None = None,
    published: Path | None = None,
    unfinished: bool = False,
) -> int:
    """Make parts, or all; returns the exit code, after one message on standard error where something is wrong.

    seeds: of each part, its own number if None, 1 if `quick`. root: the checkout whose docs are renewed, if any. rows: of the
    tables, all if None. published: the checkout whose docs/results/paper has results that are taken over, if any. unfinished:
    measure nothing, and leave out what was not measured. See tools/reproduce.py --help.
    """
    display = Display()

    def task() -> None:
        if root and (quick or rows):
            raise SearchError("--write is for the whole figures: leave out --quick and --rows")
        if jobs < 1 or (seeds is not None and seeds < 1) or first_seed < 0:
            raise SearchError("--jobs and --seeds must be at least 1, --first-seed at least 0")
        parts = [PARTS[name] for name in (PARTS if ALL in names else dict.fromkeys(names))]
        planned = [(part, _units(part, seeds, first_seed, quick, rows)) for part in parts]
        if root and any(unit.seed >= TUNING_SEEDS for _, units in planned for unit in units):
            raise SearchError(f"--write: seeds from {TUNING_SEEDS} on are for choosing settings; report others")
        context = Context(data, Path(work_dir))
        with open_results(context.directory) as store:
            for part, units in planned:
                start = time.monotonic()
                known = taken_over(part, units, published / FOLDER) if published else {}
                if unfinished:
                    results = done_of(units, store, known)
                    if not results:
                        raise SearchError(f"--unfinished: nothing of {part.name} was measured yet; leave it out")
                else:
                    results = run(part, units, store, context, jobs, display, known)
                paths = write_files(part, results, context.directory)
                display.line(f"\n{part.name}: {part.about}\n\n{paths[0].read_text(encoding='utf-8')}")
                display.line(f"{', '.join(map(str, paths))}  ({time.monotonic() - start:.0f} s)")
                if root:
                    publish_part(part, results, root, _command(part, seeds, first_seed))
                    renew_overview(root)
                    display.line(f"written: {FOLDER}/{part.name}.json, .csv, .svg and its table in {PAGE} and {OVERVIEW}")

    return reported("reproduce", task, work_dir, "stopped; what was done is kept: the same command goes on")


def _units(part: Part, seeds: int | None, first_seed: int, quick: bool, rows: Sequence[str] | None) -> list[Unit]:
    """What is to be measured. Raises SearchError where the part has none of the rows."""
    count = seeds or (1 if quick else part.seeds)
    units = part.units(range(first_seed, first_seed + count), quick)
    chosen = [unit for unit in units if not rows or unit.row in rows]
    if not chosen:
        known = ", ".join(dict.fromkeys(unit.row for unit in units))
        raise SearchError(f"--rows: {part.name} has none of {', '.join(rows or ())}; its rows: {known}")
    return chosen


def _command(part: Part, seeds: int | None, first_seed: int) -> str:
    """What makes the same again."""
    options = [f"--seeds {seeds}"] * (seeds is not None) + [f"--first-seed {first_seed}"] * (first_seed > 0)
    return " ".join(["python tools/reproduce.py", part.name, *options])
