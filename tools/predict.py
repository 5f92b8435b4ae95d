#!/usr/bin/env python
"""Detect objects in images: pictures with boxes and predictions.json.

examples:
  python tools/predict.py configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth street.jpg
  python tools/predict.py CONFIG CHECKPOINT photos/ more/ --out-dir work_dirs/found --score 0.5
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from gemnet.arguments import number  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="that of the training")
    parser.add_argument("checkpoint", help="a file that training wrote")
    parser.add_argument("inputs", nargs="+", help="images, or folders of images")
    parser.add_argument(
        "--out-dir", default="work_dirs/predictions", help="where pictures and predictions go; default: work_dirs/predictions"
    )
    parser.add_argument(
        "--score", type=number(at_least=0, at_most=1), default=0.3, help="leave out boxes below this score; default: 0.3"
    )
    parser.add_argument("--device", help="cpu, cuda:0, ...; default: the GPU if there is one")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args()

    from gemnet import engine
    from gemnet.detection.predict import predict
    from gemnet.options import named

    return engine.command(
        "predict",
        lambda: predict(
            args.config, args.checkpoint, args.inputs, args.out_dir, args.score, args.device, named(args.cfg_options)
        ),
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("predict: stopped")
