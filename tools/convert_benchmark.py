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
    parser.add_argument("benchmark", choices=["nasbench101", "nasbench201"])
    parser.add_argument("source", help="the published file, or folder")
    parser.add_argument("target", help="the compact file to write, .npz")
    args = parser.parse_args()

    from search.base import SearchError
    from search.benchmarks.conversion import convert_nasbench101, convert_nasbench201
    from search.display import Display

    converters = {"nasbench101": convert_nasbench101, "nasbench201": convert_nasbench201}
    display = Display()
    try:
        if not args.target.endswith(".npz"):
            raise SearchError(f"{args.target}: expected a file .npz to write")
        with display.progress(f"Reading {args.source}") as progress:
            counts = converters[args.benchmark](args.source, args.target, progress)
        display.line(f"{args.target}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
        return 0
    except SearchError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or args.target}: {error.strerror or error}"
    except KeyboardInterrupt:
        message = "stopped; nothing was written"
    print(f"convert_benchmark: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("convert_benchmark: stopped")
