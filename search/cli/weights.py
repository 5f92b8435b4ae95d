"""Compare weights: the same networks from scratch and from pretrained weights, with one recipe, on one set of images.

Frozen features answer by their nearest neighbours and by a linear classifier; then all weights are trained for some epochs. A
record keeps what has ended: the same command goes on with what is missing.

examples:
  gemnet compare-weights photos/ --models gemnet_a gemnet_a@scratch
  gemnet compare-weights photos/ --peer mobilenetv1_100 --images tiny_imagenet/train --labels 1 0.1 --jobs 2 --write
  gemnet compare-weights photos/ --models gemnet_a mobilenetv1_100@weights.safetensors --epochs 1 5 20 --labels 1 0.1 --write
  gemnet compare-weights photos/ --models gemnet_a@mine.safetensors --ways nearest linear --record mine.jsonl
  gemnet compare-weights table --write                               the tables of docs/results/pretrained.md

photos/ has train/<class>/ and val/<class>/. The first seed of all comes first, cheap measurements before dear ones. Then the
peer is pretrained, as GEMNet-A's weights were. A training that was stopped goes on from its last epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from search.cli.recorded import Recorded

WAYS = ("nearest", "linear", "tuned")
RECORD = "docs/results/pretrained.jsonl"
WORK_DIR = "work_dirs/compare_weights"


def main(call: Call) -> int:
    """The exit code of the command."""
    if COMMAND.asked_for_table(call):
        return COMMAND.table(call)
    parser = call.parser(__doc__)
    parser.add_argument("data", type=Path, help="the folder of images; or table, which has --help")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["gemnet_a", "gemnet_a@scratch", "gemnet_b", "gemnet_b@scratch"],
        metavar="MODEL",
        help="gemnet_a has the weights that ship, MODEL@scratch has none, MODEL@FILE those of a file; "
        "default: GEMNet-A and GEMNet-B, with and without",
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: all")
    parser.add_argument("--epochs", type=whole(1), nargs="+", default=[1, 5, 20], help="of the trainings; default: 1 5 20")
    parser.add_argument("--labels", type=number(above=0), nargs="+", default=[1.0], help="shares of them; default: 1")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--image-size", type=whole(8), default=128, help="height and width in pixels; default: 128")
    parser.add_argument(
        "--peer", metavar="MODEL", help="a model of timm's that is pretrained as GEMNet-A's weights, and compared"
    )
    parser.add_argument("--images", nargs="+", default=[], metavar="FOLDER", help="that GEMNet-A's weights were pretrained on")
    parser.add_argument("--cache", help="of the teacher's answers to them; default: in the work directory")
    parser.add_argument("--jobs", type=whole(1), default=1, help="measurements at a time, a thread each; default: 1")
    parser.add_argument("--work-dir", type=Path, default=Path(WORK_DIR), help="locked meanwhile; default: %(default)s")
    COMMAND.add_arguments(parser)
    args = parser.parse_args(call.arguments)
    if any(share > 1 for share in args.labels):
        parser.error("--labels: expected shares of at most 1")

    if bool(args.peer) != bool(args.images):
        parser.error("--peer needs --images, and --images --peer")

    def plan() -> Callable[[Any, Any], object]:
        from search.experiments.transfer import run, tasks

        starts = [tasks.parse_start(given) for given in args.models]
        peer = None
        if args.peer:
            starts.append(tasks.parse_start(f"{args.peer}@{tasks.SCRATCH}"))
            peer = tasks.Peer(args.peer, tuple(args.images), args.work_dir / f"pretrain_{args.peer}", args.cache)
        comparison = run.Comparison(args.data, args.image_size)

        def work(store: Any, display: Any) -> None:
            first = tasks.tasks(starts, args.ways, args.epochs, args.labels, args.seeds[:1])
            comparison.run(first, store, display, args.jobs, args.work_dir)
            more = [*starts, peer.start()] if peer else starts
            planned = tasks.tasks(more, args.ways, args.epochs, args.labels, args.seeds)
            comparison.run(planned, store, display, args.jobs, args.work_dir)

        return work

    return COMMAND.run(call, args, plan)


def _modules() -> tuple[Any, Any]:
    from search.experiments.transfer import report, run

    return run, report


COMMAND = Recorded("compare-weights", RECORD, "the tables of docs/results/pretrained.md", _modules)
