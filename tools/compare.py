#!/usr/bin/env python
"""Train classifiers beside each other, each config under several seeds, and tell accuracy with spread, cost and time.

A run that is done is not done again; after Ctrl-C or kill the same command goes on.

examples:
  python tools/compare.py configs/gemnet_a_tiny_imagenet.py configs/mobilenetv2_100_tiny_imagenet.py \\
      configs/mnasnet_100_tiny_imagenet.py --seeds 0 1 --jobs 2 --amp --write tiny_imagenet
  python tools/compare.py CONFIG CONFIG --seeds 0 1 2 --work-dir work_dirs/mine --cfg-options epochs=4
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from gemnet.cli.arguments import whole  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="of classifiers")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1], help="of the trainings; default: 0 1")
    parser.add_argument(
        "--work-dir", default="work_dirs/compare", help="a folder for each run goes there; default: %(default)s"
    )
    parser.add_argument(
        "--jobs", type=whole(1), default=1, help="runs at a time, with an equal share of the cores (default: 1)"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: float16 on GPUs, bfloat16 on the CPU")
    parser.add_argument("--write", metavar="NAME", help="write configs/NAME.json and renew its table in configs/README.md")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override every config")
    args = parser.parse_args()

    from gemnet.bench import comparison
    from gemnet.core.options import named
    from gemnet.openmmlab import engine

    def task() -> None:
        rows = comparison.compare(args.configs, args.seeds, args.work_dir, args.jobs, args.amp, named(args.cfg_options))
        print(comparison.table(rows))
        if args.write:
            comparison.write(ROOT, args.write, rows)

    return engine.command("compare", task)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("compare: stopped")
