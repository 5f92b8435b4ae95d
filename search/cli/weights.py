"""Compare weights: the same networks from scratch and from pretrained weights, with one recipe, on one set of images.

Frozen features answer by their nearest neighbours and by a linear classifier; then all weights are trained for some epochs.
Of several learning rates, each network takes the one that is best on a tenth of the training images. A record keeps what has
ended: the same command goes on with what is missing.

examples:
  gemnet compare-weights photos/ --models gemnet_a gemnet_a@scratch
  gemnet compare-weights photos/ --peer mobilenetv1_100 --images tiny_imagenet/train --labels 1 0.1 --jobs 2 --write
  gemnet compare-weights photos/ --models gemnet_a mobilenetv1_100@weights.safetensors --epochs 1 5 20 --labels 1 0.1 --write
  gemnet compare-weights photos/ --models gemnet_a@mine.safetensors --ways nearest linear --record mine.jsonl
  gemnet compare-weights photos/ --ways tuned --epochs 20 --rates 0.0005 0.001 0.002 \\
      --models gemnet_a@scratch torchvision/mnasnet1_3@scratch mobilenetv4_conv_small@scratch
  gemnet compare-weights table --write                               the tables of docs/results/pretrained.md
  gemnet compare-weights front --write                               accuracy beside latency: docs/results/front.md

photos/ has train/<class>/ and val/<class>/. The first seed of all comes first, cheap measurements before dear ones. Then the
peer is pretrained, as GEMNet-A's weights were. A training that was stopped goes on from its last epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.machine import has_bfloat16
from search.cli.recorded import Recorded

WAYS = ("nearest", "linear", "tuned")
RECORD = "docs/results/pretrained.jsonl"
WORK_DIR = "work_dirs/compare_weights"


def main(call: Call) -> int:
    """The exit code of the command."""
    if COMMAND.asked_for_table(call):
        return COMMAND.table(call)
    if call.arguments[:1] == ["front"]:
        return _front(call)
    parser = call.parser(__doc__)
    parser.add_argument("data", type=Path, help="the folder of images; or table or front, which have --help")
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
    parser.add_argument(
        "--rates",
        type=number(above=0),
        nargs="+",
        default=[0.001],
        metavar="RATE",
        help="learning rates; of several, each network takes its best from scratch; default: 0.001",
    )
    parser.add_argument("--rate-epochs", type=whole(1), default=5, help="of the trainings that choose one; default: 5")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of the trainings; default: bfloat16 on CPUs that have instructions for it",
    )
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
        precision = args.precision or ("bfloat16" if has_bfloat16() else "float32")
        models = [start.model for start in starts]
        tasks.tasks(starts, args.ways, args.epochs, args.labels, args.seeds, dict.fromkeys(models, 0.0), precision)  # checks

        def work(store: Any, display: Any) -> None:
            def measure(planned: Sequence[Any]) -> None:
                comparison.run(planned, store, display, args.jobs, args.work_dir)

            rates = dict.fromkeys(models, args.rates[0])
            if len(args.rates) > 1 and tasks.TUNED in args.ways:
                tried = tasks.tried(models, args.rates, args.rate_epochs, precision)
                measure(tried)
                rates = comparison.best_rates(tried, store.rows)
            measure(tasks.tasks(starts, args.ways, args.epochs, args.labels, args.seeds[:1], rates, precision))
            more = [*starts, peer.start()] if peer else starts
            measure(tasks.tasks(more, args.ways, args.epochs, args.labels, args.seeds, rates, precision))

        return work

    return COMMAND.run(call, args, plan)


def _front(call: Call) -> int:
    """Time the networks that were trained from scratch, and tell which no other is ahead of; the exit code."""
    call = replace(call, arguments=call.arguments[1:], usage=f"{call.usage} front")
    parser = call.parser(
        "Put the accuracies of networks that were trained from scratch beside their latency here; nothing is trained.\n\n"
        "Leave the machine alone meanwhile.\n\n"
        "examples:\n"
        "  gemnet compare-weights front\n"
        "  gemnet compare-weights front --write          renews docs/results/front.*\n"
        "  gemnet compare-weights front --write --kept   the same with the times that were measured before\n"
    )
    parser.add_argument("--record", type=Path, default=Path(RECORD), help="of the trainings; default: %(default)s")
    parser.add_argument("--repeats", type=whole(1), default=30, help="rounds, a pass of each network; default: 30")
    parser.add_argument("--kept", action="store_true", help="take the times of docs/results/front.json")
    parser.add_argument("--write", action="store_true", help="renew docs/results/front.*")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("search")
        from search.core.display import Display
        from search.experiments.transfer import front, run

        with run.open_record(args.record) as store:
            rows = list(store.rows.values())
        display = Display()
        costs = front.read(call.checkout) if args.kept else front.measured(rows, args.repeats, display.line)
        display.line(front.table(rows, costs))
        if args.write:
            front.write(call.checkout, rows, costs)

    return reported("compare-weights front", task, str(args.record), elsewhere="--record", explain=explained)


def _modules() -> tuple[Any, Any]:
    from search.experiments.transfer import report, run

    return run, report


COMMAND = Recorded("compare-weights", RECORD, "the tables of docs/results/pretrained.md", _modules)
