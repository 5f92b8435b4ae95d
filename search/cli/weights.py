"""Compare weights: the same networks from scratch and from pretrained weights, with one recipe, on one set of images.

Frozen features answer by their nearest neighbours and by a linear classifier; then all weights are trained for some epochs. A
record keeps what has ended: the same command goes on with what is missing.

examples:
  gemnet compare-weights photos/ --models gemnet_a gemnet_a@scratch
  gemnet compare-weights photos/ --models gemnet_a mobilenetv1_100@weights.safetensors --epochs 1 5 20 --labels 1 0.1 --write
  gemnet compare-weights photos/ --models gemnet_a@mine.safetensors --ways nearest linear --record mine.jsonl
  gemnet compare-weights table --write                               the tables of docs/results/pretrained.md

photos/ has train/<class>/ and val/<class>/.
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported

WAYS = ("nearest", "linear", "tuned")
RECORD = "docs/results/pretrained.jsonl"
WORK_DIR = "work_dirs/compare_weights"


def main(call: Call) -> int:
    """The exit code of the command."""
    if call.arguments and call.arguments[0] == "table":
        return _table(replace(call, arguments=call.arguments[1:], usage=f"{call.usage} table"))
    parser = call.parser(__doc__)
    parser.add_argument("data", type=Path, help="the folder of images; or table, which has --help")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["gemnet_a", "gemnet_a@scratch", "gemnet_b", "gemnet_b@scratch"],
        metavar="MODEL",
        help="gemnet_a has the weights that ship, MODEL@scratch has none, MODEL@FILE those of a file; "
        "default: both models of ours, with and without",
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: all")
    parser.add_argument("--epochs", type=whole(1), nargs="+", default=[1, 5, 20], help="of the trainings; default: 1 5 20")
    parser.add_argument("--labels", type=number(above=0), nargs="+", default=[1.0], help="shares of them; default: 1")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--image-size", type=whole(8), default=128, help="height and width in pixels; default: 128")
    parser.add_argument("--work-dir", type=Path, default=Path(WORK_DIR), help="locked meanwhile; default: %(default)s")
    _add_record(parser)
    args = parser.parse_args(call.arguments)
    if any(share > 1 for share in args.labels):
        parser.error("--labels: expected shares of at most 1")

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.core.display import Display
        from search.experiments.transfer import report, run, tasks

        starts = [tasks.parse_start(given) for given in args.models]
        planned = tasks.tasks(starts, args.ways, args.epochs, args.labels, args.seeds)
        display = Display()
        with run.open_record(args.record, args.work_dir) as store:
            run.Comparison(args.data, args.image_size).run(planned, store, display)
            rows = list(store.rows.values())
        display.line(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    stopped = "stopped; what has ended is recorded, the same command goes on"
    return reported("compare-weights", task, str(args.work_dir), stopped, "the same command", explain=explained)


def _add_record(parser: ArgumentParser) -> None:
    parser.add_argument("--record", type=Path, default=Path(RECORD), help="of what has ended; default: %(default)s")
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/results/pretrained.md")


def _table(call: Call) -> int:
    """Make the tables of what is recorded; nothing is trained.

    examples:
      gemnet compare-weights table --record mine.jsonl
      gemnet compare-weights table --write          renews docs/results/pretrained.md
    """
    parser = call.parser(cleandoc(_table.__doc__ or ""))
    _add_record(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.experiments.transfer import report, run

        with run.open_record(args.record) as store:
            rows = list(store.rows.values())
        print(report.table(rows))
        if args.write:
            report.write(call.checkout, rows)

    return reported("compare-weights table", task, str(args.record), elsewhere="--record", explain=explained)
