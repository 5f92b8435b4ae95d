"""Write a model for a runtime, normalisation folded, and check the file in that runtime against the model.

Beside a network's file go a JSON with all that an app must know, and a script that needs the runtime, NumPy and Pillow alone.
A whole detector becomes one ONNX file that takes photos and gives boxes, or, for another runtime, a network with what is done
to pixels and boxes beside it in NumPy. It is compared with the detector on photos. What differs is not written.

examples:
  gemnet export work_dirs/photos                              the detector of gemnet detect, as work_dirs/photos/detector.onnx
  gemnet export work_dirs/photos --to executorch              as work_dirs/photos/detector.pte
  gemnet export work_dirs/gemnet_a_image_folder --to ncnn     the classifier of gemnet train, its best weights
  gemnet export configs/retinanet_gemnet_a.py retinanet.onnx --checkpoint epoch_72.pth
  gemnet export configs/rtmdet_gemnet_b.py small.onnx --checkpoint epoch_300.pth --images photos/ --cfg-options image_size=640
  gemnet export gemnet_a gemnet_a.onnx --checkpoint gemnet_a.safetensors
  gemnet export gemnet_a gemnet_a.onnx --checkpoint gemnet_a.safetensors --dynamic-size      any height and width
  gemnet export gemnet_a gemnet_a.xml --to openvino --checkpoint gemnet_a.safetensors        and gemnet_a.bin
  gemnet export gemnet_b features.pt --to torchscript --features --input-size 320 320 --checkpoint detector.pth
  gemnet export gemnet mine.pt2 --to torch.export --cell best_cell.json --target-macs 300e6 --num-classes 10
  gemnet export work_dirs/photos --to int8                    the detector in int8, as work_dirs/photos/detector.int8.onnx
  gemnet export work_dirs/photos detector.tflite --to int8    in int8 for LiteRT
  gemnet export gemnet_a int8.onnx --to int8 --checkpoint gemnet_a.pth --calibration data/imagenet/train
  gemnet export gemnet_a int8.onnx --to int8 --checkpoint gemnet_a.pth --calibration data/imagenet/train \\
    --calibration-images 512 --data data/imagenet/val      loses at most a point, or layers stay float
  gemnet export gemnet_a int8.tflite --to int8 --checkpoint gemnet_a.pth --calibration data/imagenet/train    for LiteRT
"""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gemnet.cli import int8_export
from gemnet.cli.arguments import add_custom_imports, number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named
from gemnet.deploy.runtimes.table import RUNTIMES
from gemnet.model_table import MODELS

if TYPE_CHECKING:
    from gemnet.deploy.trained_classifiers import TrainedClassifier

OF_CONFIG = (
    "cell", "target_macs", "target_params", "residual", "num_classes", "in_chans", "act_layer", "norm_layer", "global_pool",
)  # fmt: skip
OF_DETECTORS = ("model", "out", "to", "checkpoint", "images", "cfg_options", "custom_imports", "record")


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument(
        "model",
        help=f"{', '.join(MODELS)}, or gemnet with --cell; a work directory of gemnet train or detect; or a config",
    )
    parser.add_argument(
        "out",
        nargs="?",
        help=f"the file; its ending is the runtime's: {', '.join(entry.ending for entry in RUNTIMES.values())}; default: MODEL "
        "with that ending, or detector with it in a detector's work directory",
    )
    parser.add_argument(
        "--to", "--format", default="onnx", metavar="RUNTIME", help=f"{', '.join(RUNTIMES)}, or int8; default: onnx"
    )
    parser.add_argument("--checkpoint", help="of timm, mmpretrain or, with --features, mmdet; default: random weights")
    parser.add_argument("--prefix", help="where the weights are in it, as student.; default: where the network's names are")
    parser.add_argument("--weights", choices=["averaged", "raw"], help="which, where it has both; default: averaged")
    parser.add_argument("--cell", help="a cell file, for the model gemnet")
    parser.add_argument("--target-macs", type=number(above=0), help="its budget at 224x224 with 1,000 classes")
    parser.add_argument("--target-params", type=number(above=0), help="params at most, with 1,000 classes")
    parser.add_argument("--residual", action="store_true", help="the model gemnet was built with residual=True")
    parser.add_argument("--num-classes", type=whole(0), default=1000, help="of the classifier; default: 1000")
    parser.add_argument("--in-chans", type=whole(1), default=3, help="channels of an image; default: 3")
    parser.add_argument(
        "--input-size", nargs=2, type=whole(1), metavar=("HEIGHT", "WIDTH"), help="default: 224 224, or the config's"
    )
    parser.add_argument(
        "--dynamic-size", action="store_true", help="leave height and width free, as the dimensions height and width"
    )
    parser.add_argument("--act-layer", help="the activation that the model was built with, as silu; default: relu")
    parser.add_argument("--norm-layer", help="its normalisation, as batchnorm2d, the default")
    parser.add_argument("--global-pool", help="its pooling; default: avg")
    parser.add_argument("--features", action="store_true", help="the stages' maps, for a detector, instead of the logits")
    parser.add_argument("--no-fold", action="store_true", help="keep batch normalisation as it is")
    parser.add_argument("--tolerance", type=number(at_least=0), help="largest relative difference; default: 0.0001")
    int8_export.add_arguments(parser)
    parser.add_argument(
        "--images", nargs="+", metavar="PHOTO",
        help="photos or folders to compare on; default: a detector's test photos, else made ones; a classifier's: ours",
    )  # fmt: skip
    detectors = parser.add_argument_group("detectors")
    detectors.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    detectors.add_argument("--record", metavar="NAME", help="put the figures under this name into docs/export.md")
    add_custom_imports(parser)
    args = parser.parse_args(call.arguments)
    of_training = _is_config(args.model) or Path(args.model).is_dir() or "/" in args.model
    if not of_training and (args.cfg_options or (args.record and args.to != "int8")):
        parser.error("--cfg-options is for a work directory or a config, --record for detectors: give one")
    int8_export.check_arguments(parser, args)
    if of_training:
        return _export_trained(call, parser, args)
    return _export_classifier(call, args, args.model)


def _export_trained(call: Call, parser: ArgumentParser, args: Namespace) -> int:
    """The exit code of the command for a work directory or a config."""
    if args.to != "int8" and args.to not in RUNTIMES:
        parser.error(f"--to {args.to}: is not offered; expected {', '.join(RUNTIMES)} or int8")
    found: list[TrainedClassifier | None] = []

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from gemnet.core.own_modules import import_custom
        from gemnet.deploy.trained_classifiers import trained_classifier

        import_custom(args.custom_imports)
        found.append(trained_classifier(args.model, args.checkpoint, named(args.cfg_options)))

    if (_is_config(args.model) or Path(args.model).is_dir()) and (code := _reported(task, args.model)):
        return code
    if not found or found[0] is None:
        return _export_detector(call, parser, args)
    told = [name for name in OF_CONFIG if getattr(args, name) != parser.get_default(name)]
    if told:
        parser.error(f"--{told[0].replace('_', '-')} is what the config of {args.model} says; leave it out")
    if args.record and args.to != "int8":
        parser.error("--record is for detectors and int8")
    return _export_classifier(call, args, str(_folder(args.model) / found[0].name), found[0])


def _is_config(model: str) -> bool:
    return model.endswith(".py")


def _folder(model: str) -> Path:
    """Where files of a work directory or of a config go unless they are named."""
    return Path("work_dirs") / Path(model.rpartition("::")[2]).stem if _is_config(model) else Path(model)


def _export_classifier(call: Call, args: Namespace, named_after: str, trained: TrainedClassifier | None = None) -> int:
    """The exit code of the command for one of our models, or what a training left of one."""
    endings = {name: entry.ending for name, entry in RUNTIMES.items()} | {"int8": ".int8.onnx"}
    out = args.out or named_after + endings.get(args.to, "")

    def task() -> None:
        from gemnet.core.own_modules import import_custom
        from gemnet.deploy.about import origin_of
        from gemnet.deploy.export import create, export, photos_in, smallest_side

        import_custom(args.custom_imports)
        names = ("prefix", "weights", "cell", "target_macs", "target_params", "act_layer", "norm_layer", "global_pool")
        given = {name: getattr(args, name) for name in names} | {"residual": args.residual or None, "features": args.features}
        model_name, checkpoint, classes, sides = args.model, args.checkpoint, args.num_classes, (224, 224)
        if trained is not None:
            model_name, checkpoint, classes, sides = trained.name, trained.checkpoint, trained.num_classes, trained.size
            given |= trained.settings
            print(f"{args.model}: {model_name} with {classes} classes, weights of {checkpoint or 'chance'}")
        model = create(model_name, checkpoint, classes, args.in_chans, **given)
        if trained is not None:
            model.pretrained_cfg = {**model.pretrained_cfg, **trained.preprocessing}
        size = (args.in_chans, *(args.input_size or sides))
        how = {"input_size": size, "features": args.features, "fold": not args.no_fold}
        how |= {} if args.tolerance is None else {"tolerance": args.tolerance}
        how |= {"origin": origin_of(model_name, checkpoint)}
        if args.to == "int8":
            int8_export.export_classifier(model, out, args, how, call)
            return
        how |= {"images": photos_in(args.images or ())}
        worst = export(model, out, args.to, dynamic_size=args.dynamic_size, **how)
        least = smallest_side(model, args.to)
        sizes = f" at every size that was tried; height and width are free from {least} on" if args.dynamic_size else ""
        random = "; its weights are random, for want of --checkpoint" if checkpoint is None else ""
        print(f"{out}: outputs equal the model's to {worst:.1e}{sizes}{random}")

    return _reported(task, out)


def _export_detector(call: Call, parser: ArgumentParser, args: Namespace) -> int:
    """The exit code of the command for a work directory or a config."""
    int8 = args.to == "int8"
    allowed = (*OF_DETECTORS, *int8_export.OF_DETECTORS) if int8 else OF_DETECTORS
    others = [name for name, value in vars(args).items() if name not in allowed and value != parser.get_default(name)]
    if others:
        parser.error(f"--{others[0].replace('_', '-')} is not for detectors, which become what their config says")
    of_config = _is_config(args.model)
    name = "detector.int8.onnx" if int8 else f"detector{RUNTIMES[args.to].ending}"
    out = Path(args.out) if args.out else _folder(args.model) / name

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from gemnet.core.own_modules import import_custom
        from gemnet.deploy.detector_export import export_detector
        from gemnet.deploy.detector_records import record
        from gemnet.detection.own_detector.exporting import export_own_detector, own_detector

        import_custom(args.custom_imports)
        images, options = args.images or (), named(args.cfg_options)
        if int8:
            config, checkpoint, score = args.model, args.checkpoint, None
            if not of_config:
                config, checkpoint, options, score = own_detector(config, checkpoint, options)
            int8_export.export_detector(config, checkpoint, options, score, out, args, call)
            return
        if of_config:
            found = export_detector(args.model, args.checkpoint, out, images, options, to=args.to)
        else:
            found = export_own_detector(args.model, out, images, args.checkpoint, options, args.to)
        print(found)
        if args.record:
            record(call.checkout, args.record, found)

    return _reported(task, str(out))


def _reported(task: Callable[[], object], out: str) -> int:
    """The exit code of a task; warnings, which are of what cannot be folded, become lines."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"export: {message}", file=sys.stderr)
        return reported("export", task, out, elsewhere="another OUT", explain=explained)
