"""Train a model by a config.

examples:
  gemnet train configs/retinanet_gemnet_a.py                        one GPU, or the CPU
  torchrun --standalone --nproc-per-node gpu -m gemnet train configs/retinanet_gemnet_a.py --launcher pytorch     all GPUs
  tools/dist_train.sh configs/retinanet_gemnet_a.py                 all GPUs, of several machines too, from a checkout
  gemnet train configs/retinanet_gemnet_a.py --resume               go on from the last checkpoint
  gemnet train configs/retinanet_gemnet_a.py --amp --auto-scale-lr
  gemnet train configs/faster_rcnn_mnasnet_130.py --pretrained      torchvision's weights, shorter schedule
  gemnet train configs/retinanet_gemnet_a.py --cfg-options data_root=photos epochs=12 batch_size=4
  gemnet train configs/retinanet_gemnet_a.py --amp --estimate       what it would cost on this machine
"""

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
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
        help="start the backbone from a checkpoint, or from its own weights: GEMNet's that ship, or its library's; takes the "
        "config's shorter schedule",
    )
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="set by dist_train.sh and slurm_train.sh"
    )
    parser.add_argument(
        "--estimate",
        type=whole(1),
        nargs="?",
        const=0,
        metavar="IMAGES",
        help="time a few steps, tell how long the training would take, and train nothing; IMAGES: of an epoch, where data_root "
        "has a part of them",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="override the config: epochs, batch_size, image_size, data_root change all that follows",
    )
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.openmmlab import engine
        from gemnet.openmmlab.distributed import leave_processes

        options = named(args.cfg_options)
        if args.estimate is not None:
            from gemnet.openmmlab.pace import estimate

            print(estimate(args.config, args.amp, args.pretrained, options, args.estimate or None))
            return
        engine.train(
            args.config, args.work_dir, args.resume, args.amp, args.auto_scale_lr, args.pretrained, args.launcher, options
        )
        leave_processes()  # not after an error: others may wait for this one until they are ended

    stopped = "stopped; the same command with --resume goes on from the last checkpoint"
    return reported("train", task, "writing", stopped, "the same command with --resume", explain=explained)
