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

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from search.cli.recorded import Recorded

RECORD = "docs/results/chance.jsonl"
WORK_DIR = "work_dirs/compare_searches"
NAMES = ("nasbench101", "nasbench201", "nasbench_macro", "digits")


def main(call: Call) -> int:
    """The exit code of the command."""
    if COMMAND.asked_for_table(call):
        return COMMAND.table(call)
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
    COMMAND.add_arguments(parser)
    args = parser.parse_args(call.arguments)

    def plan() -> Callable[[Any, Any], object]:
        from search.experiments.chance import run, tasks

        planned = tasks.tasks(args.benchmarks, args.methods, args.seeds, args.first_seed, args.data)
        return lambda store, display: run.run(planned, store, args.work_dir, args.jobs, display)

    return COMMAND.run(call, args, plan)


def _modules() -> tuple[Any, Any]:
    from search.experiments.chance import report, run

    return run, report


COMMAND = Recorded("compare-searches", RECORD, "the table and the picture of docs/results/chance.md", _modules)
