"""Show that a detector learns: train it on a few COCO images alone, measure the AP on the same images, draw the boxes.

examples:
  gemnet overfit configs/retinanet_gemnet_a.py --data data/coco
  gemnet overfit configs/faster_rcnn_gemnet_b.py --data data/coco --images 4 --iterations 200 --amp
"""

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("config", nargs="?", default=call.told("configs/retinanet_gemnet_a.py"), help="default: %(default)s")
    parser.add_argument("--data", default="data/coco", help="a folder in COCO's layout; default: data/coco")
    parser.add_argument(
        "--work-dir", default="work_dirs/overfit", help="where pictures and figures go; default: work_dirs/overfit"
    )
    parser.add_argument("--images", type=whole(1), default=8, help="the first so many with boxes; default: 8")
    parser.add_argument("--size", type=whole(1), default=256, help="longer side in pixels; default: 256")
    parser.add_argument("--iterations", type=whole(1), default=400, help="of the training; default: 400")
    parser.add_argument("--amp", action="store_true", help="mixed precision: float16 on a GPU, bfloat16 on the CPU")
    parser.add_argument("--record", action="store_true", help="put the figures into configs/overfit.json and docs/detectors.md")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.detection.overfit import overfit, record

        overfit(
            args.config,
            args.data,
            args.work_dir,
            args.images,
            args.size,
            args.iterations,
            args.amp,
            named(args.cfg_options),
        )
        if args.record:
            record(call.checkout, args.work_dir)

    return reported("overfit", task, args.work_dir, explain=explained)
