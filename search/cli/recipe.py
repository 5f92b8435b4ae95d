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

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from search.cli.recorded import Recorded

CONFIG = "gemnet::search/nasgem_cifar10_folder.py"
RECORD = "docs/results/recipe.jsonl"
WORK_DIR = "work_dirs/recipe"
RESIDUALS = {"yes": True, "no": False}


def main(call: Call) -> int:
    """The exit code of the command."""
    if COMMAND.asked_for_table(call):
        return COMMAND.table(call)
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
    COMMAND.add_arguments(parser)
    args = parser.parse_args(call.arguments)

    def plan() -> Callable[[Any, Any], object]:
        from gemnet.core.configs import config_path
        from search.configuration.settings import load_settings
        from search.experiments.recipe import run
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
        settings = load_settings(config_path(args.config, "search"), args.cfg_options)
        return lambda store, display: run.run(settings, wanted, store, display, args.jobs)

    return COMMAND.run(call, args, plan)


def _modules() -> tuple[Any, Any]:
    from search.experiments.recipe import report, run

    return run, report


COMMAND = Recorded("recipe", RECORD, "the tables of docs/results/recipe.md", _modules)
