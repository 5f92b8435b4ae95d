"""Make the paper's tables and figures, and comparisons of predictors and searches, on real cells.

Each row, setting and seed is measured once and kept in the work directory; after Ctrl-C or kill the same command goes on.
Tables come as Markdown and CSV, pictures as SVG. Benchmarks are read as compact files (gemnet convert-benchmark makes them).
They are drawn anew from what is published, without measuring, by docs/site/pictures.py of the repository.

examples:
  gemnet reproduce table3                        all seeds: see the list of parts
  gemnet reproduce table3 fig1 --quick           one seed, hardly trained: does it run?
  gemnet reproduce all --jobs 2 --data ~/benchmarks
  gemnet reproduce fig5 --seeds 20 --write       also renews docs/results/paper
  gemnet reproduce table3 --missing --rows GATES --seeds 3
  gemnet reproduce table3 --missing --unfinished --write
  gemnet reproduce svge --space enas             SVGe's measures: see gemnet svge --help
  gemnet reproduce table1 --write                costs of the networks in Table 1: see gemnet reproduce table1 --help
  gemnet reproduce nasbench101 --first-seed 1000 --seeds 3 --rows NASGEM --work-dir work_dirs/tuning

parts:
  table3       Kendall's tau against the share of training cells, by embedding (20 seeds)
  table4       Pearson's r against the share of training cells, by embedding (20 seeds)
  fig1         similarity of embedded cells against the difference of their accuracies (5 seeds)
  fig4         surface of the efficiency score over the embedded cells (3 seeds)
  fig5         global prediction bias on NAS-Bench-101, with and without the embedding (20 seeds)
  search       search on NAS-Bench-101's pool, test regret by method (20 seeds)
  nasbench201  NAS-Bench-201: predictors' Kendall's tau on all cells (10 seeds)
  nasbench101  NAS-Bench-101: predictors' Kendall's tau on all cells (10 seeds)
  protocols201 NAS-Bench-201: the same predictors ranked against test and against validation accuracies (10 seeds)
  protocols101 NAS-Bench-101: the same predictors ranked against test and against validation accuracies (10 seeds)
  encoder      the encoder on held-out and on isomorphic pairs (3 seeds)
  fig6         encoders on held-out pairs against nodes and dimension (1 seed)
"""

import re
from dataclasses import replace

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from search.cli import svge, table1

PARTS = re.findall(r"^  (\w+) .*seeds?\)$", __doc__, re.MULTILINE)


def main(call: Call) -> int:
    """The exit code of the command."""
    if call.arguments[:1] == ["svge"]:  # a command of its own
        return svge.main(replace(call, arguments=call.arguments[1:]))
    if call.arguments[:1] == ["table1"]:
        return table1.main(replace(call, arguments=call.arguments[1:], usage=f"{call.usage} table1"))
    parser = call.parser(__doc__)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"], metavar="PART", help=f"{', '.join(PARTS)}, or all of them")
    parser.add_argument("--work-dir", default="work_dirs/reproduce", help="results and encoders; default: %(default)s")
    parser.add_argument("--data", help="folder of the benchmarks' files; default: GEMNET_DATA, then data")
    parser.add_argument("--seeds", type=whole(1), help="how many; default: see the list of parts")
    parser.add_argument("--first-seed", type=whole(0), default=0, help="from 1000 on to choose settings; default: %(default)s")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some rows of the tables, by name; default: all")
    parser.add_argument("--quick", action="store_true", help="minutes: 1 seed, fewer settings, little training; no results")
    parser.add_argument("--jobs", type=whole(1), default=1, help="processes, with an equal share of the cores (default: 1)")
    parser.add_argument("--missing", action="store_true", help="take over what docs/results/paper has of the same settings")
    parser.add_argument("--unfinished", action="store_true", help="measure nothing: show, or write, what there is")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/results/paper")
    args = parser.parse_args(call.arguments)

    root = call.checkout if args.write else None
    from search.experiments.paper.command import reproduce_command

    return reproduce_command(
        args.parts,
        args.work_dir,
        args.data,
        args.seeds,
        args.first_seed,
        args.quick,
        args.jobs,
        root,
        args.rows,
        published=call.checkout if args.missing else None,
        unfinished=args.unfinished,
    )
