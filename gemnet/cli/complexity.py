"""Params and multiply-accumulates of a detector and its parts, counted on shapes: no data set and no GPU is needed.

examples:
  gemnet complexity configs/retinanet_gemnet_a.py
  gemnet complexity configs/faster_rcnn_gemnet_b.py --shape 640 640
  gemnet complexity --table2             all detectors beside the paper's Table 2
  gemnet complexity --table2 --write     renews configs/model_zoo.json, docs/detectors.md and model-index.yml
"""

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("config", nargs="?", help="of a detector")
    parser.add_argument(
        "--shape", nargs=2, type=whole(1), default=(800, 1333), metavar=("HEIGHT", "WIDTH"), help="default: 800 1333"
    )
    parser.add_argument("--table2", action="store_true", help="all detectors of configs/ beside the paper's")
    parser.add_argument("--write", action="store_true", help="with --table2: renew the files that show them")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args(call.arguments)
    if (args.config is None) != args.table2:
        parser.error("give a config, or --table2")

    def task() -> None:
        root = call.checkout if args.table2 else None
        from gemnet.detection import zoo

        if root:
            zoo.show_table2(root, args.write)
        else:
            zoo.show_cost(args.config, tuple(args.shape), named(args.cfg_options))

    return reported("complexity", task, "writing", explain=explained)
