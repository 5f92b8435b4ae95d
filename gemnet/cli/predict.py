"""Predict on images: objects with a detector, as pictures with boxes and JSON; the five likeliest classes with a classifier.

examples:
  gemnet predict configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth street.jpg
  gemnet predict CONFIG CHECKPOINT photos/ more/ --out-dir work_dirs/found --score 0.5
  gemnet predict CONFIG CHECKPOINT street.mp4 --every 5        a detector on a video; camera is the first camera
  gemnet predict configs/gemnet_a_image_folder.py work_dirs/gemnet_a_image_folder/epoch_100.pth photos/

In the output folder:
  predictions.jsonl  a line an image, written when it is done: it stays whatever ends the run
  predictions.json   all lines as one list, written at the end, also after Ctrl-C, SIGTERM or on a full disk
  *.jpg, *.mp4       the pictures and videos, named as the inputs; _2, _3, ... where two have one name

An image that cannot be read, or that the model fails on, costs itself alone. Files that are no images are passed over, counted.
exit code: 0 all images are done, 1 one or more are not, or the run was stopped; 2 the command line is wrong
"""

from argparse import BooleanOptionalAction

from gemnet.cli.arguments import add_watching, number
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("config", help="that of the training")
    parser.add_argument("checkpoint", help="a file that training wrote")
    parser.add_argument("inputs", nargs="+", help="images, folders of images, videos, camera, or camera:1 for the second one")
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
        action=BooleanOptionalAction,
        default=None,
        help="default: with a detector, not with a classifier",
    )
    add_watching(parser)
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args(call.arguments)

    failed = []

    def task() -> None:
        from gemnet.detection.predict import predict
        from gemnet.detection.watching import Watching

        options, watching = named(args.cfg_options), Watching(args.every, args.seconds, args.show)
        place = args.out_dir
        given = (args.config, args.checkpoint, args.inputs, place, args.score, args.device, options, args.pictures, watching)
        failed.append(predict(*given))

    return reported("predict", task, args.out_dir, elsewhere="--out-dir", explain=explained) or int(any(failed))
