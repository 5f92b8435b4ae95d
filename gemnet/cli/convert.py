"""Write a GEMNet checkpoint of one library in the form of another; safetensors or .pth, by the ending.

examples:
  gemnet convert work_dirs/gemnet_a_imagenet/epoch_300.pth gemnet_a.safetensors
  gemnet convert gemnet_a.safetensors backbone.pth --to mmdet
  gemnet convert timm_output/model_best.pth.tar classifier.pth --to mmpretrain
  gemnet convert work_dirs/run/epoch_300.pth raw.safetensors --weights raw      before averaging (EMA)
  gemnet convert distilled.pth student.safetensors --prefix student.

It tells which weights it took: the averaged ones where there are both.
"""

from gemnet.cli.calling import Call
from gemnet.cli.running import reported


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("source", help="a checkpoint of timm, mmpretrain or mmdet: a file, or an address")
    parser.add_argument("target", help="a file .safetensors or .pth")
    parser.add_argument(
        "--to", choices=["timm", "mmpretrain", "mmdet"], default="timm", help="the library that reads it; default: timm"
    )
    parser.add_argument("--prefix", help="where the weights are in it, as student.; default: where the network's names are")
    parser.add_argument("--weights", choices=["averaged", "raw"], help="which, where it has both; default: averaged")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.weights import convert

        print(convert(args.source, args.target, args.to, args.prefix, args.weights))

    return reported("convert_checkpoint", task, args.target)
