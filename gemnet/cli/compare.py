"""Train classifiers beside each other, each config under several seeds, and tell accuracy with spread, cost and time.

A run that is done is not done again; after Ctrl-C or kill the same command goes on.

examples:
  gemnet compare configs/gemnet_a_tiny_imagenet.py configs/mobilenetv2_100_tiny_imagenet.py \\
      configs/mnasnet_100_tiny_imagenet.py --seeds 0 1 --jobs 2 --amp --write tiny_imagenet
  gemnet compare CONFIG CONFIG --seeds 0 1 2 --work-dir work_dirs/mine --cfg-options epochs=4
"""

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.configs import config_path
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="of classifiers")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1], help="of the trainings; default: 0 1")
    parser.add_argument(
        "--work-dir", default="work_dirs/compare", help="a folder for each run goes there; default: %(default)s"
    )
    parser.add_argument(
        "--jobs", type=whole(1), default=1, help="runs at a time, with an equal share of the cores (default: 1)"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: float16 on GPUs, bfloat16 on the CPU")
    parser.add_argument("--write", metavar="NAME", help="write configs/NAME.json and its table in docs/results/classifiers.md")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override every config")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.bench import comparison

        rows = comparison.compare(
            [*map(config_path, args.configs)], args.seeds, args.work_dir, args.jobs, args.amp, named(args.cfg_options)
        )
        print(comparison.table(rows))
        if args.write:
            comparison.write(call.checkout, args.write, rows)

    return reported("compare", task, args.work_dir, explain=explained)
