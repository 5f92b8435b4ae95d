#!/usr/bin/env python
"""Evaluate a checkpoint on the config's test set with COCO's metrics.

examples:
  python tools/test.py configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth
  tools/dist_test.sh configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth
  python tools/test.py CONFIG CHECKPOINT --out work_dirs/predictions --show-dir work_dirs/pictures
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="that of the training")
    parser.add_argument("checkpoint", help="a file that training wrote")
    parser.add_argument("--work-dir", help="where the log goes; default: work_dirs/<config>")
    parser.add_argument("--out", metavar="PREFIX", help="write the predictions to PREFIX.bbox.json, in COCO's form")
    parser.add_argument("--show-dir", metavar="DIR", help="write pictures with the boxes, under the work directory")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none", help="set by dist_test.sh")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args()

    from gemnet.core.options import named
    from gemnet.openmmlab import engine

    return engine.command(
        "test",
        lambda: engine.evaluate(
            args.config, args.checkpoint, args.work_dir, args.out, args.show_dir, args.launcher, named(args.cfg_options)
        ),
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("test: stopped")
