"""Train a fixed list of 32 cells until their curves are flat: a small benchmark for proxies, predictors and searches.

Each cell is trained twice: short, as the search with the config trains its candidates, and long. The record keeps each
training that has ended, with its whole curve: the same command goes on with what is missing, on any machine.

examples:
  gemnet cell-benchmark train --search nasgem_cifar10_folder --cfg-options data.root=cifar10/train --write
  gemnet cell-benchmark train --schedules long --cells 8 --seeds 0 1
  gemnet cell-benchmark table --write                   the tables of docs/results/cell_benchmark.md
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported

RECORD = "docs/results/cell_benchmark.jsonl"
WORK_DIR = "work_dirs/cell_benchmark"
CONFIG = "nasgem_cifar10"


def main(call: Call) -> int:
    """The exit code of the command."""
    if call.arguments and call.arguments[0] == "table":
        return _table(replace(call, arguments=call.arguments[1:], usage=f"{call.usage} table"))
    parser = call.parser(__doc__)
    parser.add_argument("task", choices=("train", "table"), help="train what the record lacks; table has --help of its own")
    parser.add_argument("--search", default=CONFIG, metavar="CONFIG", help="whose images and recipe; default: %(default)s")
    parser.add_argument("--schedules", nargs="+", choices=("short", "long"), default=["short", "long"], help="default: both")
    parser.add_argument("--cells", type=whole(1), help="the first so many; default: all 32")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0], help="of weights and order of images; default: 0")
    parser.add_argument("--work-dir", type=Path, default=Path(WORK_DIR), help="locked meanwhile; default: %(default)s")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def trained() -> None:
        from gemnet.core.extras import need

        need("search")
        from gemnet.core.configs import config_path
        from search.configuration.settings import load_settings
        from search.core.display import Display
        from search.experiments.cell_benchmark import report, training

        display = Display()
        settings = load_settings(config_path(args.search, "search"), args.cfg_options)
        schedules = {name: training.SCHEDULES[name] for name in args.schedules}
        with training.open_record(args.record, args.work_dir) as store:
            training.run(settings, schedules, args.cells, args.seeds, store, display)
            rows = list(store.rows.values())
        display.line(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    stopped = "stopped; what has ended is recorded, the same command goes on"
    return reported("cell-benchmark", trained, str(args.work_dir), stopped, "the same command", explain=explained)


def _add_record(parser: ArgumentParser) -> None:
    parser.add_argument("--record", type=Path, default=Path(RECORD), help="of what has ended; default: %(default)s")
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/results/cell_benchmark.md")


def _table(call: Call) -> int:
    """Make the tables of what is recorded; nothing is trained.

    examples:
      gemnet cell-benchmark table --record mine.jsonl
      gemnet cell-benchmark table --write          renews docs/results/cell_benchmark.md
    """
    parser = call.parser(cleandoc(_table.__doc__ or ""))
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.experiments.cell_benchmark import report, training

        with training.open_record(args.record) as store:
            rows = list(store.rows.values())
        print(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    return reported("cell-benchmark table", task, str(args.record), elsewhere="--record", explain=explained)
