"""Train a detector of your own objects from a folder of photos, test it, show it, and use it.

examples:
  gemnet detect check photos/                           looks at the data alone, and writes a page about them
  gemnet detect photos/                                 30 minutes, on the CPU or all GPUs of this machine
  gemnet detect photos/ --minutes 120 --image-size 640  longer, for small objects
  gemnet detect photos/ --cell work_dirs/digits/best_cell.json
  gemnet detect photos/ --search                        searches a cell on the photos first
  gemnet detect predict work_dirs/photos street.jpg more/      with the detector of that work directory

The labels may be COCO's JSON, Pascal VOC's XML, YOLO's text files or a CSV; nothing is written into the folder. The same
command again goes on after whatever stopped it. In the work directory afterwards:
  report.html   figures, verdict, curves, the worst test images and good ones
  result.json   the same figures for programs
  best.pth      the weights of the best validation, with the names of the classes
  detector.onnx the whole detector for onnxruntime, and run_detector.py, which runs it without this package
  detector.py   the whole config: gemnet test, predict and train take the two together
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from dataclasses import replace
from importlib import import_module
from inspect import cleandoc
from pathlib import Path

from gemnet.cli.arguments import add_watching, number, whole
from gemnet.cli.calling import Call
from gemnet.cli.commands import DETECTOR_SEARCH
from gemnet.cli.running import explained, reported
from gemnet.core.options import named

FORMATS = ("coco", "voc", "yolo", "csv")


def main(call: Call) -> int:
    """The exit code of the command."""
    actions = {"check": _check, "predict": _predict}
    if call.arguments and call.arguments[0] in actions:
        name = call.arguments[0]
        return actions[name](replace(call, arguments=call.arguments[1:], usage=f"{call.usage} {name}"))
    return _train(call)


def _train(call: Call) -> int:
    began = time.monotonic()
    parser = call.parser(__doc__)
    parser.add_argument("folder", help="photos with boxes; or check or predict, each of which has --help")
    parser.add_argument("--work-dir", help="where everything goes; default: work_dirs/<folder>")
    parser.add_argument(
        "--minutes", type=number(above=0), help="wall time of the whole command but the search, kept to 5 %%; default: 30"
    )
    parser.add_argument("--epochs", type=whole(1), help="in place of a time: so many passes over the training images")
    parser.add_argument("--format", choices=FORMATS, help="of the labels; default: found out")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--pretrained",
        metavar="CHECKPOINT",
        help="what the backbone starts from; default: the weights that ship for GEMNet-A, -B",
    )
    start.add_argument("--from-scratch", action="store_true", help="start the backbone from random weights")
    parser.add_argument("--cell", metavar="FILE", help="a searched cell as the backbone, in place of GEMNet-A's")
    _add_search(parser)
    parser.add_argument("--config", default="gemnet::own_detector.py", help="what is trained; default: %(default)s")
    parser.add_argument("--image-size", type=whole(32, 4096), help="longer side in pixels; default: by the objects' size")
    parser.add_argument("--batch-size", type=whole(1), help="images in a step of one process; default: by data and machine")
    parser.add_argument(
        "--patience",
        type=whole(0),
        help="end early after so many of the 10 validations without a better AP; 0: never; default: 5",
    )
    parser.add_argument(
        "--no-amp", action="store_true", help="compute in float32; default: mixed precision on GPUs, and on CPUs with bfloat16"
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of the splits, weights and order; default: 0")
    parser.add_argument("--processes", type=whole(1), help="that train together; default: one a GPU")
    parser.add_argument("--no-export", action="store_true", help="write no detector.onnx, which runs without this package")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args(call.arguments)
    if args.minutes is not None and args.epochs is not None:
        parser.error("give either --minutes or --epochs")
    if args.search and (args.cell is not None or args.pretrained is not None):
        parser.error("--search: give no --cell, and no --pretrained, for the cell is not known yet")
    if not args.search and (args.search_minutes is not None or args.finalists or args.search_options):
        parser.error("--search-minutes, --finalists and --search-options are of --search")
    minutes = None if args.epochs is not None else 30.0 if args.minutes is None else args.minutes
    work_dir = args.work_dir or _work_dir(args.folder)

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from gemnet.detection.own_detector.run import detect
        from gemnet.openmmlab.precision import FLOAT32, OPTION

        options = dict(named(args.cfg_options) or {})
        options |= {key: value for key in ("image_size", "batch_size") if (value := getattr(args, key)) is not None}
        if args.from_scratch or args.pretrained is not None:
            given = None if args.from_scratch else {"type": "Pretrained", "checkpoint": args.pretrained}
            options["model.backbone.init_cfg"] = given
        if args.no_amp:
            options[OPTION] = FLOAT32
        if args.patience is not None:
            options["train_cfg.patience"] = args.patience
        cell, told, start = args.cell, (), began
        if args.search:
            training = {
                "config": args.config, "minutes": minutes, "epochs": args.epochs, "seed": args.seed, "options": options,
                "processes": args.processes,
            }  # fmt: skip
            found = import_module(DETECTOR_SEARCH).found_cell(
                args.folder, work_dir, args.search_minutes, args.finalists, args.format, training,
                named(args.search_options, "--search-options"),
            )  # fmt: skip
            cell, told, start = found.path, found.sentences, time.monotonic()
        detect(
            args.folder, work_dir, minutes, args.epochs, form=args.format, seed=args.seed, cell=cell, config=args.config,
            options=options, processes=args.processes, began=start, told=told, export=not args.no_export,
        )  # fmt: skip
        print(call.told(f"use it: gemnet detect predict {work_dir} photo.jpg"))

    stopped = "stopped; the same command goes on where it was"
    return reported("detect", task, work_dir, stopped, "the same command", explain=explained)


def _add_search(parser: ArgumentParser) -> None:
    """Add the options of a search before the training."""
    parser.add_argument("--search", action="store_true", help="search a cell on the photos first, and train with it")
    parser.add_argument("--search-minutes", type=number(above=0), help="of the search, about; default: 40 candidates")
    parser.add_argument(
        "--finalists",
        type=whole(0),
        default=0,
        metavar="K",
        help="train the best K cells for a tenth of the time as the detector itself, and take the best; default: none",
    )
    parser.add_argument(
        "--search-options", nargs="+", metavar="KEY=VALUE", help="override gemnet::search/own_detector.py, as data.size=64"
    )


def _work_dir(folder: str) -> str:
    return str(Path("work_dirs") / (Path(folder).resolve().name or "detector"))


def _check(call: Call) -> int:
    """Look at photos and labels before a training: counts, sizes, copies, doubtful labels, what is mended, what is refused.

    examples:
      gemnet detect check photos/
      gemnet detect check photos/ --page photos.html

    exit code: 0 the data can be trained on, 1 they cannot; 2 the command line is wrong
    """
    parser = call.parser(cleandoc(_check.__doc__ or ""))
    parser.add_argument("folder", help="photos with boxes")
    parser.add_argument("--page", help="where the page goes; default: work_dirs/<folder>/check.html")
    parser.add_argument("--format", choices=FORMATS, help="of the labels; default: found out")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the splits that are made; default: 0")
    args = parser.parse_args(call.arguments)
    page = Path(args.page or Path(_work_dir(args.folder)) / "check.html")
    healthy = []

    def task() -> None:
        from gemnet.detection.data.doctor import check
        from gemnet.detection.data.page import as_text, write_page

        diagnosis = check(Path(args.folder), format=args.format, seed=args.seed, without=[Path(_work_dir(args.folder))])
        print(as_text(diagnosis))
        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(diagnosis, page)
        print(page)
        healthy.append(diagnosis.healthy)

    return reported("detect check", task, str(page), elsewhere="--page") or int(not all(healthy))


def _predict(call: Call) -> int:
    """Predict with the detector of a work directory: pictures and videos with boxes, JSON, COCO's JSON, CSV.

    examples:
      gemnet detect predict work_dirs/photos street.jpg
      gemnet detect predict work_dirs/photos more/ --out-dir found --score 0.5
      gemnet detect predict work_dirs/photos street.mp4 --every 5
      gemnet detect predict work_dirs/photos camera --show
    """
    parser = call.parser(cleandoc(_predict.__doc__ or ""))
    parser.add_argument("work_dir", help="of the training")
    parser.add_argument("inputs", nargs="+", help="images, folders of images, videos, camera, or camera:1 for the second one")
    parser.add_argument("--out-dir", help="where everything goes; default: WORK_DIR/predictions")
    parser.add_argument(
        "--score",
        type=number(at_least=0, at_most=1),
        help="leave out boxes below this score; default: what was best on the validation images",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ...; default: the GPU if there is one")
    add_watching(parser)
    args = parser.parse_args(call.arguments)
    out_dir = args.out_dir or str(Path(args.work_dir) / "predictions")
    failed = []

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from gemnet.detection.own_detector.use import predict_on
        from gemnet.detection.watching import Watching

        watching = Watching(args.every, args.seconds, args.show)
        failed.append(predict_on(args.work_dir, args.inputs, out_dir, args.score, args.device, watching))

    return reported("detect predict", task, out_dir, elsewhere="--out-dir", explain=explained) or int(any(failed))
