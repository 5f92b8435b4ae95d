#!/usr/bin/env python
"""Params and multiply-accumulates of a detector and its parts, counted on shapes: no data set and no GPU is needed.

examples:
  python tools/complexity.py configs/retinanet_gemnet_a.py
  python tools/complexity.py configs/faster_rcnn_gemnet_b.py --shape 640 640
  python tools/complexity.py --table2             all detectors beside the paper's Table 2
  python tools/complexity.py --table2 --write     renews configs/model_zoo.json, configs/README.md and model-index.yml
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from gemnet.cli.arguments import whole  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="of a detector")
    parser.add_argument(
        "--shape", nargs=2, type=whole(1), default=(800, 1333), metavar=("HEIGHT", "WIDTH"), help="default: 800 1333"
    )
    parser.add_argument("--table2", action="store_true", help="all detectors of configs/ beside the paper's")
    parser.add_argument("--write", action="store_true", help="with --table2: renew the files that show them")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args()
    if (args.config is None) != args.table2:
        parser.error("give a config, or --table2")

    from gemnet.core.options import named
    from gemnet.detection import zoo
    from gemnet.openmmlab import engine

    if args.table2:
        return engine.command("complexity", lambda: zoo.show_table2(ROOT, args.write))
    return engine.command("complexity", lambda: zoo.show_cost(args.config, tuple(args.shape), named(args.cfg_options)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("complexity: stopped")
