"""Evaluate a checkpoint on the config's test set with COCO's metrics.

examples:
  gemnet test configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth
  torchrun --standalone --nproc-per-node gpu -m gemnet test CONFIG CHECKPOINT --launcher pytorch         all GPUs
  tools/dist_test.sh configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth
  gemnet test CONFIG CHECKPOINT --out work_dirs/predictions --show-dir work_dirs/pictures
"""

from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("config", help="that of the training")
    parser.add_argument("checkpoint", help="a file that training wrote")
    parser.add_argument("--work-dir", help="where the log goes; default: work_dirs/<config>")
    parser.add_argument("--out", metavar="PREFIX", help="write the predictions to PREFIX.bbox.json, in COCO's form")
    parser.add_argument("--show-dir", metavar="DIR", help="write pictures with the boxes, under the work directory")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none", help="set by dist_test.sh")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.openmmlab import engine
        from gemnet.openmmlab.distributed import leave_processes

        options = named(args.cfg_options)
        engine.evaluate(args.config, args.checkpoint, args.work_dir, args.out, args.show_dir, args.launcher, options)
        leave_processes()

    return reported("test", task, "writing", explain=explained)
