"""Compare searches with random search: equal evaluations, the same seeds, on tables of trained cells and on the digits.

On each benchmark run the default search, NASGEM's own (encoder by the kernel, multi-layer perceptron, bootstrap), regularized
evolution and random search. The record keeps each search that has ended: the same command goes on with what is missing.

examples:
  gemnet compare-searches nasbench101 nasbench201 --seeds 10 --jobs 2
  gemnet compare-searches digits --methods default "random search" --write
  gemnet compare-searches nasbench201 --seeds 3 --first-seed 1000 --record tuning.jsonl     seeds that settings are chosen on
  gemnet compare-searches table --write                 the table and the curves of docs/results/chance.md
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported

RECORD = "docs/results/chance.jsonl"
WORK_DIR = "work_dirs/compare_searches"
NAMES = ("nasbench101", "nasbench201", "nasbench_macro", "digits")


def main(call: Call) -> int:
    """The exit code of the command."""
    if call.arguments and call.arguments[0] == "table":
        return _table(replace(call, arguments=call.arguments[1:], usage=f"{call.usage} table"))
    parser = call.parser(__doc__)
    parser.add_argument(
        "benchmarks", nargs="+", choices=NAMES, metavar="BENCHMARK", help=f"{', '.join(NAMES)}; or table, which has --help"
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="searches by name, as the table has them; default: all")
    parser.add_argument("--seeds", type=whole(1), help="how many; default: 50 on tables, 10 on the digits")
    parser.add_argument("--first-seed", type=whole(0), default=0, help="default: 0")
    parser.add_argument("--data", help="folder of the benchmarks' compact files; default: GEMNET_DATA, else data")
    parser.add_argument("--jobs", type=whole(1), default=1, help="searches at a time; default: %(default)s")
    parser.add_argument("--work-dir", type=Path, default=Path(WORK_DIR), help="locked meanwhile; default: %(default)s")
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.core.display import Display
        from search.experiments.chance import report, run, tasks

        planned = tasks.tasks(args.benchmarks, args.methods, args.seeds, args.first_seed, args.data)
        display = Display()
        with run.open_record(args.record, args.work_dir) as store:
            run.run(planned, store, args.work_dir, args.jobs, display)
            rows = list(store.rows.values())
        display.line(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    stopped = "stopped; what has ended is recorded, the same command goes on"
    return reported("compare-searches", task, str(args.work_dir), stopped, "the same command", explain=explained)


def _add_record(parser: ArgumentParser) -> None:
    parser.add_argument("--record", type=Path, default=Path(RECORD), help="of what has ended; default: %(default)s")
    parser.add_argument("--write", action="store_true", help="renew the table and the picture of docs/results/chance.md")


def _table(call: Call) -> int:
    """Make the table of what is recorded; nothing is searched.

    examples:
      gemnet compare-searches table --record mine.jsonl
      gemnet compare-searches table --write          renews docs/results/chance.md and its picture
    """
    parser = call.parser(cleandoc(_table.__doc__ or ""))
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.experiments.chance import report, run

        with run.open_record(args.record) as store:
            rows = list(store.rows.values())
        print(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    return reported("compare-searches table", task, str(args.record), elsewhere="--record", explain=explained)
