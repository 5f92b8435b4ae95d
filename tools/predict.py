#!/usr/bin/env python
"""Predict on images: objects with a detector, as pictures with boxes and JSON; the five likeliest classes with a classifier.

examples:
  python tools/predict.py configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth street.jpg
  python tools/predict.py CONFIG CHECKPOINT photos/ more/ --out-dir work_dirs/found --score 0.5
  python tools/predict.py configs/gemnet_a_image_folder.py work_dirs/gemnet_a_image_folder/epoch_100.pth photos/

In the output folder:
  predictions.jsonl  a line an image, written when it is done: it stays whatever ends the run
  predictions.json   all lines as one list, written at the end, also after Ctrl-C, SIGTERM or on a full disk
  *.jpg              the pictures, named as the images; _2, _3, ... where two have one name

An image that cannot be read, or that the model fails on, costs itself alone. Files that are no images are passed over, counted.
exit code: 0 all images are done, 1 one or more are not, or the run was stopped; 2 the command line is wrong
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from gemnet.cli.arguments import number  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="that of the training")
    parser.add_argument("checkpoint", help="a file that training wrote")
    parser.add_argument("inputs", nargs="+", help="images, or folders of images")
    parser.add_argument(
        "--out-dir",
        default="work_dirs/predictions",
        help="where pictures and predictions go, no folder of inputs; default: work_dirs/predictions",
    )
    parser.add_argument(
        "--score",
        type=number(at_least=0, at_most=1),
        default=0.3,
        help="leave out boxes below this score, 0 to 1; default: 0.3",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ...; default: the GPU if there is one")
    parser.add_argument(
        "--pictures",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="default: with a detector, not with a classifier",
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args()

    from gemnet.core.options import named
    from gemnet.detection.predict import predict
    from gemnet.openmmlab import engine

    failed = []

    def task() -> None:
        options = named(args.cfg_options)
        failed.append(
            predict(args.config, args.checkpoint, args.inputs, args.out_dir, args.score, args.device, options, args.pictures)
        )

    return engine.command("predict", task) or int(any(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("predict: stopped")
