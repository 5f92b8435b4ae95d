"""Train five kinds of cell at equal MACs under each condition of a recipe: initialisation, residuals, learning rate, widths.

A recipe is fair where it handicaps no kind of cell, from a single node to a dense graph. A record keeps what has ended: the
same command goes on with what is missing.

examples:
  gemnet recipe --cfg-options data.root=cifar10/train                    all conditions: a day on a CPU, minutes on a GPU
  gemnet recipe --rules model --seeds 0 --learning-rates 0.3 --jobs 2    the decisive ones: about an hour on 2 cores
  gemnet recipe --epochs 30 --kinds "single node" "dense, 21 nodes" --write
  gemnet recipe table --write                                            the tables of docs/results/recipe.md
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported

CONFIG = "gemnet::search/nasgem_cifar10_folder.py"
RECORD = "docs/results/recipe.jsonl"
WORK_DIR = "work_dirs/recipe"
RESIDUALS = {"yes": True, "no": False}


def main(call: Call) -> int:
    """The exit code of the command."""
    if call.arguments and call.arguments[0] == "table":
        return _table(replace(call, arguments=call.arguments[1:], usage=f"{call.usage} table"))
    parser = call.parser(__doc__)
    parser.add_argument(
        "config",
        nargs="?",
        default=CONFIG,
        help="of a search with proxy.macs; or table, with its own --help; default: %(default)s",
    )
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="of cell; default: all five")
    parser.add_argument("--rules", nargs="+", metavar="RULE", help="of widths: model, exact, doubling; default: all")
    parser.add_argument("--schemes", nargs="+", metavar="NAME", help="initialisations, as GEMNet.init_weights; default: all")
    parser.add_argument("--residual", nargs="+", choices=tuple(RESIDUALS), default=tuple(RESIDUALS), help="default: both")
    parser.add_argument("--learning-rates", type=number(above=0), nargs="+", default=[0.3, 0.1], help="default: 0.3 0.1")
    parser.add_argument("--epochs", type=whole(1), default=6, help="of each training; default: 6")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--jobs", type=whole(1), help="trainings at a time (default: one on each GPU or core)")
    parser.add_argument("--work-dir", type=Path, default=Path(WORK_DIR), help="locked meanwhile; default: %(default)s")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from gemnet.core.configs import config_path
        from search.configuration.settings import load_settings
        from search.core.display import Display
        from search.experiments.recipe import report, run
        from search.experiments.recipe.conditions import planned

        wanted = planned(
            kinds=args.kinds,
            rules=args.rules,
            schemes=args.schemes,
            residuals=[RESIDUALS[given] for given in args.residual],
            learning_rates=args.learning_rates,
            epochs=args.epochs,
            seeds=args.seeds,
        )
        settings, display = load_settings(config_path(args.config, "search"), args.cfg_options), Display()
        with run.open_record(args.record, args.work_dir) as store:
            run.run(settings, wanted, store, display, args.jobs)
            rows = list(store.rows.values())
        display.line(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    stopped = "stopped; what has ended is recorded, the same command goes on"
    return reported("recipe", task, str(args.work_dir), stopped, "the same command", explain=explained)


def _add_record(parser: ArgumentParser) -> None:
    parser.add_argument("--record", type=Path, default=Path(RECORD), help="of what has ended; default: %(default)s")
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/results/recipe.md")


def _table(call: Call) -> int:
    """Make the tables of what is recorded; nothing is trained.

    examples:
      gemnet recipe table --record mine.jsonl
      gemnet recipe table --write          renews docs/results/recipe.md
    """
    parser = call.parser(cleandoc(_table.__doc__ or ""))
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.experiments.recipe import report, run

        with run.open_record(args.record) as store:
            rows = list(store.rows.values())
        print(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    return reported("recipe table", task, str(args.record), elsewhere="--record", explain=explained)
