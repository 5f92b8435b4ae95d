"""Write a model for deployment, normalisation folded, and check the file against the model. The batch is free.

examples:
  gemnet export gemnet_a gemnet_a.onnx --checkpoint gemnet_a.safetensors
  gemnet export gemnet_a gemnet_a.onnx --checkpoint gemnet_a.safetensors --dynamic-size      any height and width
  gemnet export gemnet_b features.pt --format torchscript --features --input-size 320 320 --checkpoint detector.pth
  gemnet export gemnet mine.pt2 --format torch.export --cell best_cell.json --target-macs 300e6 --num-classes 10
  gemnet export gemnet_a int8.onnx --format int8 --checkpoint gemnet_a.pth --calibration data/imagenet/train
  gemnet export gemnet_a int8.onnx --format int8 --checkpoint gemnet_a.pth --calibration data/imagenet/train \\
    --calibration-images 512 --data data/imagenet/val      measures what it costs in accuracy
"""

import sys
import warnings

from gemnet.cli.arguments import add_custom_imports, number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.model_table import MODELS


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("model", help=f"{', '.join(MODELS)}, or gemnet with --cell")
    parser.add_argument("out", help="the file; its ending is the format's: .onnx, .pt, .pt2")
    parser.add_argument("--format", default="onnx", help="onnx, torchscript, torch.export, or int8 (as ONNX); default: onnx")
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
        "--input-size", nargs=2, type=whole(1), default=(224, 224), metavar=("HEIGHT", "WIDTH"), help="default: 224 224"
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
    int8 = parser.add_argument_group("--format int8")
    int8.add_argument("--calibration", metavar="FOLDER", help="images like those of training, flat or a folder a class")
    int8.add_argument("--calibration-images", type=whole(1), metavar="N", help="how many of them; default: 256")
    int8.add_argument("--data", metavar="FOLDER", help="images as FOLDER/CLASS/*.jpg, to compare int8 with float")
    int8.add_argument(
        "--image-size", type=whole(1), metavar="PIXELS", help="short edge before the crop; default: 8/7 of --input-size"
    )
    add_custom_imports(parser)
    args = parser.parse_args(call.arguments)
    given = (args.calibration, args.calibration_images, args.data, args.image_size)
    if args.format != "int8" and given != (None,) * 4:
        parser.error("--calibration, --calibration-images, --data and --image-size are for --format int8")
    if args.format == "int8" and args.dynamic_size:
        parser.error("--dynamic-size is not for --format int8, whose ranges are found at one size")

    def task() -> None:
        from gemnet.core.own_modules import import_custom
        from gemnet.deploy.export import create, export, smallest_side

        import_custom(args.custom_imports)
        names = ("prefix", "weights", "cell", "target_macs", "target_params", "act_layer", "norm_layer", "global_pool")
        given = {name: getattr(args, name) for name in names} | {"residual": args.residual or None, "features": args.features}
        model = create(args.model, args.checkpoint, args.num_classes, args.in_chans, **given)
        size = (args.in_chans, *args.input_size)
        how = {"input_size": size, "features": args.features, "fold": not args.no_fold}
        how |= {} if args.tolerance is None else {"tolerance": args.tolerance}
        if args.format == "int8":
            from gemnet.deploy.quantization import export_int8  # which reads images as OpenMMLab's pipelines do

            how |= {} if args.calibration_images is None else {"count": args.calibration_images}
            print(export_int8(model, args.out, args.calibration, data=args.data, edge=args.image_size, **how))
            return
        worst = export(model, args.out, args.format, dynamic_size=args.dynamic_size, **how)
        least = smallest_side(model, args.format)
        sizes = f" at every size that was tried; height and width are free from {least} on" if args.dynamic_size else ""
        random = "; its weights are random, for want of --checkpoint" if args.checkpoint is None else ""
        print(f"{args.out}: outputs equal the model's to {worst:.1e}{sizes}{random}")

    with warnings.catch_warnings():  # of what cannot be folded
        warnings.showwarning = lambda message, *_: print(f"export: {message}", file=sys.stderr)
        return reported("export", task, args.out, explain=explained)
