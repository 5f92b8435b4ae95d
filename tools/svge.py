#!/usr/bin/env python
"""SVGe on a search space: train it under several seeds, measure it, draw its latent space, optimise and extrapolate with it.

What was stopped goes on where it was when the same command is given again.

examples:
  python tools/svge.py --space enas --jobs 2                               everything, with 3 seeds of 2 models; hours
  python tools/svge.py --space enas --quick                                a small part of the graphs, minutes
  python tools/svge.py --space enas --parts measures --settings epochs=60 --seeds 0 --write
  python tools/svge.py --space nasbench201 --parts measures --models SVGe --seeds 0
  python tools/svge.py --space nasbench101 --parts extrapolation --config configs/search/svge_extrapolation_folder.py
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from gemnet.cli.arguments import whole  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", required=True, help="enas, nasbench101 or nasbench201")
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="some of measures, smoothness, optimisation, extrapolation; default: all"
    )
    parser.add_argument("--work-dir", help="where results, tables and figures go; default: work_dirs/svge/<space>")
    parser.add_argument("--data", help="the space's file or its folder; default: GEMNET_DATA, or shared/data beside this one")
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
    parser.add_argument("--write", action="store_true", help="renew docs/svge with what the work directory has; the rest stays")
    parser.add_argument("--quick", action="store_true", help="a small part of everything, to see that it works")
    parser.add_argument(
        "--config",
        default=str(ROOT / "configs/search/svge_extrapolation.py"),
        help="images and proxy training for extrapolation; default: configs/search/svge_extrapolation.py",
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override settings of that config")
    parser.add_argument("--jobs", type=whole(1), default=1, help="models trained and measured at the same time (default: 1)")
    parser.add_argument("--threads", type=whole(1), help="CPU threads of a process; default: the cores, shared by the jobs")
    parser.add_argument("--device", default="cpu", help="of all trainings (default: %(default)s)")
    args = parser.parse_args()

    from gemnet.core.options import named
    from search.cli.command import reported
    from search.experiments.svge import run as reproduce_svge

    def task() -> None:
        reproduce_svge.run(
            args.space,
            args.work_dir,
            args.parts or reproduce_svge.PARTS,
            args.seeds,
            args.models or tuple(reproduce_svge.MODELS),
            args.quick,
            args.data,
            args.config,
            args.cfg_options,
            args.jobs,
            args.threads,
            args.device,
            named(args.settings, "--settings"),
            ROOT if args.write else None,
        )

    return reported("svge", task, args.work_dir or "work_dirs/svge", "stopped; what is done is kept, the same command goes on")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("svge: stopped")
