"""SVGe on a search space: train it under several seeds, measure it, draw its latent space, optimise and extrapolate with it.

What was stopped goes on where it was when the same command is given again.

examples:
  gemnet svge --space enas --jobs 2                               everything, with 3 seeds of 2 models; hours
  gemnet svge --space enas --quick                                a small part of the graphs, minutes
  gemnet svge --space enas --parts measures --settings epochs=60 --seeds 0 --write
  gemnet svge --space nasbench201 --parts measures --models SVGe --seeds 0
  gemnet svge --space nasbench101 --parts extrapolation --config configs/search/svge_extrapolation_folder.py
"""

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import reported
from gemnet.core.configs import config_path
from gemnet.core.options import named


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("--space", required=True, help="enas, nasbench101 or nasbench201")
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="some of measures, smoothness, optimisation, extrapolation; default: all"
    )
    parser.add_argument("--work-dir", help="where results, tables and figures go; default: work_dirs/svge/<space>")
    parser.add_argument("--data", help="the space's file or its folder; default: GEMNET_DATA, then data")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="of the trainings; default: 0 1 2")
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="SVGe, or 'SVGe with WL kernel', NASGEM's loss besides; the first is what all but the measures is made with; "
        "default: both",
    )
    parser.add_argument(
        "--settings", nargs="+", metavar="KEY=VALUE", help="of SVGe, see search/experiments/svge/tasks.py: epochs=60"
    )
    parser.add_argument(
        "--write", action="store_true", help="renew docs/results/svge with what the work directory has; the rest stays"
    )
    parser.add_argument("--quick", action="store_true", help="a small part of everything, to see that it works")
    parser.add_argument(
        "--config",
        default="gemnet::search/svge_extrapolation.py",
        help="images and proxy training for extrapolation; default: %(default)s",
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override settings of that config")
    parser.add_argument("--jobs", type=whole(1), default=1, help="models trained and measured at the same time (default: 1)")
    parser.add_argument("--threads", type=whole(1), help="CPU threads of a process; default: the cores, shared by the jobs")
    parser.add_argument("--device", default="cpu", help="of all trainings (default: %(default)s)")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from search.experiments.svge import run as reproduce_svge

        reproduce_svge.run(
            args.space,
            args.work_dir,
            args.parts or reproduce_svge.PARTS,
            args.seeds,
            args.models or tuple(reproduce_svge.MODELS),
            args.quick,
            args.data,
            config_path(args.config, "search"),
            args.cfg_options,
            args.jobs,
            args.threads,
            args.device,
            named(args.settings, "--settings"),
            call.checkout if args.write else None,
        )

    return reported("svge", task, args.work_dir or "work_dirs/svge", "stopped; what is done is kept, the same command goes on")
