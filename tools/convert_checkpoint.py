#!/usr/bin/env python
"""Write a GEMNet checkpoint of one library in the form of another; safetensors or .pth, by the ending.

examples:
  python tools/convert_checkpoint.py work_dirs/gemnet_a_imagenet/epoch_300.pth gemnet_a.safetensors
  python tools/convert_checkpoint.py gemnet_a.safetensors backbone.pth --to mmdet
  python tools/convert_checkpoint.py timm_output/model_best.pth.tar classifier.pth --to mmpretrain
  python tools/convert_checkpoint.py work_dirs/run/epoch_300.pth raw.safetensors --weights raw      before averaging (EMA)
  python tools/convert_checkpoint.py distilled.pth student.safetensors --prefix student.

It tells which weights it took: the averaged ones where there are both.
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
    parser.add_argument("--prefix", help="where the weights are in it, as student.; default: where the network's names are")
    parser.add_argument("--weights", choices=["averaged", "raw"], help="which, where it has both; default: averaged")
    args = parser.parse_args()

    from gemnet.openmmlab import engine
    from gemnet.weights import convert

    def task() -> None:
        print(convert(args.source, args.target, args.to, args.prefix, args.weights))

    return engine.command("convert_checkpoint", task)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("convert_checkpoint: stopped")
