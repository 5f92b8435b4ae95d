#!/usr/bin/env python
"""Write a GEMNet checkpoint of one library in the form of another; safetensors or .pth, by the ending.

examples:
  python tools/convert_checkpoint.py work_dirs/gemnet_a_imagenet/epoch_300.pth gemnet_a.safetensors
  python tools/convert_checkpoint.py gemnet_a.safetensors backbone.pth --to mmdet
  python tools/convert_checkpoint.py timm_output/model_best.pth.tar classifier.pth --to mmpretrain
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a checkpoint of timm, mmpretrain or mmdet: a file, or an address")
    parser.add_argument("target", help="a file .safetensors or .pth")
    parser.add_argument(
        "--to", choices=["timm", "mmpretrain", "mmdet"], default="timm", help="the library that reads it; default: timm"
    )
    args = parser.parse_args()

    from gemnet import engine
    from gemnet.weights import convert

    def task() -> None:
        count = convert(args.source, args.target, args.to)
        print(f"{args.target}: {count} weights in the form of {args.to}")

    return engine.command("convert_checkpoint", task)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("convert_checkpoint: stopped")
