#!/usr/bin/env python
"""Train a model by a config.

examples:
  python tools/train.py configs/retinanet_gemnet_a.py                        one GPU, or the CPU
  tools/dist_train.sh configs/retinanet_gemnet_a.py                          all GPUs of this machine
  python tools/train.py configs/retinanet_gemnet_a.py --resume               go on from the last checkpoint
  python tools/train.py configs/retinanet_gemnet_a.py --amp --auto-scale-lr
  python tools/train.py configs/faster_rcnn_mnasnet_130.py --pretrained      torchvision's weights, shorter schedule
  python tools/train.py configs/retinanet_gemnet_a.py --cfg-options data_root=photos epochs=12 batch_size=4
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="what is trained, as configs/retinanet_gemnet_a.py")
    parser.add_argument("--work-dir", help="where log and checkpoints go; default: work_dirs/<config>")
    parser.add_argument(
        "--resume", nargs="?", const="auto", metavar="CHECKPOINT", help="go on from the last checkpoint, or from this one"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: float16 on GPUs, bfloat16 on the CPU")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with processes x batch size (detectors': 16)"
    )
    parser.add_argument(
        "--pretrained",
        nargs="?",
        const="library",
        metavar="CHECKPOINT",
        help="start the backbone from a checkpoint, or from the weights of its library; takes the config's shorter schedule",
    )
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="set by dist_train.sh and slurm_train.sh"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="override the config: epochs, batch_size, image_size, data_root change all that follows",
    )
    args = parser.parse_args()

    from gemnet.core.options import named
    from gemnet.openmmlab import engine

    return engine.command(
        "train",
        lambda: engine.train(
            args.config,
            args.work_dir,
            args.resume,
            args.amp,
            args.auto_scale_lr,
            args.pretrained,
            args.launcher,
            named(args.cfg_options),
        ),
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("train: stopped")
