#!/usr/bin/env python
"""Make the compact file that searches on a benchmark read, from the file that its authors published. Once, without TensorFlow.

examples:
  python tools/convert_benchmark.py nasbench101 nasbench_only108.tfrecord data/nasbench101.npz
  python tools/convert_benchmark.py nasbench101 nasbench_full.tfrecord data/nasbench101.npz            with 4, 12 and 36 epochs
  python tools/convert_benchmark.py nasbench201 NAS-Bench-201-v1_1-archive data/nasbench201.npz        cell by cell
  python tools/convert_benchmark.py nasbench201 NAS-Bench-201-v1_1-096897.pth data/nasbench201.npz     all at once in memory

then, with the folder of the compact files in the environment or in the config:
  GEMNET_DATA=data python tools/search.py configs/search/nasbench101.py
  python tools/search.py configs/search/nasbench201.py --cfg-options space.data=data

Nothing in a file is executed. NATS-Bench's *.pickle.pbz2 are refused for that reason.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["nasbench101", "nasbench201"], help="what the file is of")
    parser.add_argument("source", help="the published file, or folder")
    parser.add_argument("target", help="the compact file to write, .npz")
    args = parser.parse_args()

    from search.cli.command import reported
    from search.experiments.convert.conversion import convert

    def task() -> None:
        convert(args.benchmark, args.source, args.target)

    return reported("convert_benchmark", task, args.target, "stopped; nothing was written")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("convert_benchmark: stopped")
