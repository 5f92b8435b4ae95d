"""Train a fixed list of 32 cells until their curves are flat: a small benchmark for proxies, predictors and searches.

Each cell is trained twice: short, as the search with the config trains its candidates, and long. The record keeps each
training that has ended, with its whole curve: the same command goes on with what is missing, on any machine.

examples:
  gemnet cell-benchmark train --search nasgem_cifar10_folder --cfg-options data.root=cifar10/train --write
  gemnet cell-benchmark train --schedules long --cells 8 --seeds 0 1
  gemnet cell-benchmark table --write                   the tables of docs/results/cell_benchmark.md
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from search.cli.recorded import Recorded

RECORD = "docs/results/cell_benchmark.jsonl"
WORK_DIR = "work_dirs/cell_benchmark"
CONFIG = "nasgem_cifar10"


def main(call: Call) -> int:
    """The exit code of the command."""
    if COMMAND.asked_for_table(call):
        return COMMAND.table(call)
    parser = call.parser(__doc__)
    parser.add_argument("task", choices=("train", "table"), help="train what the record lacks; table has --help of its own")
    parser.add_argument("--search", default=CONFIG, metavar="CONFIG", help="whose images and recipe; default: %(default)s")
    parser.add_argument("--schedules", nargs="+", choices=("short", "long"), default=["short", "long"], help="default: both")
    parser.add_argument("--cells", type=whole(1), help="the first so many; default: all 32")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0], help="of weights and order of images; default: 0")
    parser.add_argument("--work-dir", type=Path, default=Path(WORK_DIR), help="locked meanwhile; default: %(default)s")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    COMMAND.add_arguments(parser)
    args = parser.parse_args(call.arguments)

    def plan() -> Callable[[Any, Any], object]:
        from gemnet.core.configs import config_path
        from search.configuration.settings import load_settings
        from search.experiments.cell_benchmark import training

        settings = load_settings(config_path(args.search, "search"), args.cfg_options)
        schedules = {name: training.SCHEDULES[name] for name in args.schedules}
        return lambda store, display: training.run(settings, schedules, args.cells, args.seeds, store, display)

    return COMMAND.run(call, args, plan)


def _modules() -> tuple[Any, Any]:
    from search.experiments.cell_benchmark import report, training

    return training, report


COMMAND = Recorded("cell-benchmark", RECORD, "the tables of docs/results/cell_benchmark.md", _modules)
