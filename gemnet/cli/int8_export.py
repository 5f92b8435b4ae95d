"""What `gemnet export --to int8` takes and does."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call

if TYPE_CHECKING:
    from gemnet.deploy.int8.report import Report
    from gemnet.network import GEMNet

OPTIONS = ("calibration", "calibration_images", "data", "image_size", "max_loss", "weight_bits", "layers")
OF_DETECTORS = ("to", "calibration", "calibration_images", "max_loss", "weight_bits", "layers")
"""Options of int8 that detectors have as well."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of int8."""
    group = parser.add_argument_group("--to int8")
    group.add_argument(
        "--calibration", metavar="FOLDER",
        help="images like those of training, flat or a folder a class; default for detectors: their training photos",
    )  # fmt: skip
    group.add_argument(
        "--calibration-images", type=whole(1), metavar="N", help="how many of them; default: 256, for detectors 64"
    )
    group.add_argument("--data", metavar="FOLDER", help="images as FOLDER/CLASS/*.jpg, to compare int8 with float")
    group.add_argument(
        "--image-size", type=whole(1), metavar="PIXELS", help="short edge before the crop; default: 8/7 of --input-size"
    )
    group.add_argument(
        "--max-loss", type=number(at_least=0), metavar="POINTS",
        help="of top-1 or AP: the most sensitive layers stay float until no more is lost; default: 1",
    )  # fmt: skip
    group.add_argument(
        "--weight-bits", type=int, choices=[7, 8], help="of ONNX: 8 for CPUs that have VNNI; default: 7, right everywhere"
    )
    group.add_argument("--layers", metavar="FILE", help="write the figures, layer by layer, as JSON")


def check_arguments(parser: ArgumentParser, args: Namespace) -> None:
    """Stop where an option of int8 does not go with the format."""
    if args.to != "int8" and any(getattr(args, name) is not None for name in OPTIONS):
        parser.error("--calibration, --calibration-images, --data and --image-size are for --to int8")
    if args.to == "int8" and args.dynamic_size:
        parser.error("--dynamic-size is not for --to int8, whose ranges are found at one size")


def export_classifier(model: GEMNet, out: str, args: Namespace, how: Mapping[str, Any], call: Call) -> None:
    """Write a classifier in int8 and tell what it costs."""
    from gemnet.deploy.int8.classifiers import export_int8  # which reads images as OpenMMLab's pipelines do

    how = {**how, **_given(args, max_loss="max_loss", weight_bits="weight_bits", calibration_images="count")}
    _tell(export_int8(model, out, args.calibration, data=args.data, edge=args.image_size, **how), args, call)


def export_detector(
    config: str, checkpoint: str | None, options: Mapping[str, Any], score: float | None, out: Path, args: Namespace, call: Call
) -> None:
    """Write a detector in int8 and tell what it costs."""
    from gemnet.deploy.int8.detectors import export_int8_detector, photos_for

    photos = photos_for(config, options, args.calibration, args.calibration_images)
    how, images = _given(args, max_loss="max_loss", weight_bits="weight_bits"), args.images or ()
    _tell(export_int8_detector(config, checkpoint, out, photos, images, options, score, **how), args, call)


def _given(args: Namespace, **names: str) -> dict[str, Any]:
    """The options that were given, under other names."""
    return {name: getattr(args, option) for option, name in names.items() if getattr(args, option) is not None}


def _tell(report: Report, args: Namespace, call: Call) -> None:
    from gemnet.core.files import save_text
    from gemnet.deploy.int8.records import record

    print(report)
    if args.layers:
        save_text(args.layers, json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    if args.record:
        record(call.checkout, args.record, report.as_json())
