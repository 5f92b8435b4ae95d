#!/usr/bin/env python
"""Make the paper's tables and figures, and comparisons of predictors and searches, on real cells.

Each row, setting and seed is measured once and kept in the work directory; after Ctrl-C or kill the same command goes on.
Tables come as Markdown and CSV, plots as PNG. Benchmarks are read as compact files (tools/convert_benchmark.py makes them).

examples:
  python tools/reproduce.py table3                        all seeds: see the list of parts
  python tools/reproduce.py table3 fig1 --quick           one seed, hardly trained: does it run?
  python tools/reproduce.py all --jobs 2 --data ~/benchmarks
  python tools/reproduce.py fig5 --seeds 20 --write       also renews docs/reproduce
  python tools/reproduce.py svge --space enas             SVGe's measures: see tools/svge.py --help
  python tools/reproduce.py nasbench101 --first-seed 1000 --seeds 3 --rows NASGEM --work-dir work_dirs/tuning

parts:
  table3       Kendall's tau against the share of training cells, by embedding (20 seeds)
  table4       Pearson's r against the share of training cells, by embedding (20 seeds)
  fig1         similarity of embedded cells against the difference of their accuracies (5 seeds)
  fig4         surface of the efficiency score over the embedded cells (3 seeds)
  fig5         global prediction bias on NAS-Bench-101, with and without the embedding (20 seeds)
  search       search on NAS-Bench-101's pool, test regret by method (20 seeds)
  nasbench201  NAS-Bench-201: predictors' Kendall's tau on all cells (10 seeds)
  nasbench101  NAS-Bench-101: predictors' Kendall's tau on all cells (10 seeds)
  encoder      the encoder on held-out and on isomorphic pairs (3 seeds)
  fig6         encoders on held-out pairs against nodes and dimension (1 seed)
"""

import argparse
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this file's folder would make `import search` find tools/search.py

from gemnet.cli.arguments import whole  # noqa: E402

PARTS = re.findall(r"^  (\w+) .*seeds?\)$", __doc__, re.MULTILINE)


def main() -> int:
    if sys.argv[1:2] == ["svge"]:  # a command of its own
        del sys.argv[1]
        return runpy.run_path(str(ROOT / "tools/svge.py"))["main"]()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"], metavar="PART", help=f"{', '.join(PARTS)}, or all of them")
    parser.add_argument("--work-dir", default="work_dirs/reproduce", help="results and encoders; default: %(default)s")
    parser.add_argument("--data", help="folder of the benchmarks' files; default: GEMNET_DATA, then ../shared/data")
    parser.add_argument("--seeds", type=whole(1), help="how many; default: see the list of parts")
    parser.add_argument("--first-seed", type=whole(0), default=0, help="from 1000 on to choose settings; default: %(default)s")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some rows of the tables, by name; default: all")
    parser.add_argument("--quick", action="store_true", help="minutes: 1 seed, fewer settings, little training; no results")
    parser.add_argument("--jobs", type=whole(1), default=1, help="processes, with an equal share of the cores (default: 1)")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/reproduce")
    args = parser.parse_args()

    from search.experiments.paper.command import reproduce_command

    return reproduce_command(
        args.parts,
        args.work_dir,
        args.data,
        args.seeds,
        args.first_seed,
        args.quick,
        args.jobs,
        args.write,
        args.rows,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("reproduce: stopped")
