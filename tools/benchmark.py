#!/usr/bin/env python
"""Measure how fast the kernel, bootstrap optimisation and the models are, on this machine.

examples:
  python tools/benchmark.py                                       all three parts
  python tools/benchmark.py kernel --pairs 50000                  beside grakel, if it is installed
  python tools/benchmark.py bootstrap --cells 200000
  python tools/benchmark.py models --models gemnet_a mobilenetv2_140 --batch 16
"""

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this file's folder would hide the package `search`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["kernel", "bootstrap", "models", "all"], default="all")
    parser.add_argument("--pairs", type=int, default=50_000, help="pairs of cells for the kernel (default: %(default)s)")
    parser.add_argument("--grakel-pairs", type=int, default=1000, help="pairs for grakel, 0 for none (default: %(default)s)")
    parser.add_argument("--cells", type=int, default=100_000, help="cells for bootstrap optimisation (default: %(default)s)")
    parser.add_argument("--models", nargs="+", default=["gemnet_a", "gemnet_b", "mobilenetv2_140"], help="timm names")
    parser.add_argument("--batch", type=int, default=16, help="images a forward pass (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="for the models (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: its own choice)")
    args = parser.parse_args()

    import timm
    import torch

    import gemnet.benchmark
    import search.benchmark

    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}")
    print("median (slowest - fastest)")
    if args.part in ("kernel", "all"):
        ours = search.benchmark.kernel(args.pairs)
        print(f"WL kernel, {args.pairs} pairs of 30 nodes, h = 3, one core: {ours.rate(args.pairs)}")
        peer = search.benchmark.grakel_kernel(args.grakel_pairs) if args.grakel_pairs else None
        if peer:
            ratio = (peer[0].median / args.grakel_pairs) / (ours.median / args.pairs)
            print(
                f"  grakel, {args.grakel_pairs} pairs, one fit a pair: {peer[0].rate(args.grakel_pairs)}: {ratio:.0f} x slower;"
            )
            print(f"  largest difference of the values {peer[1]:.1e}")
    if args.part in ("bootstrap", "all"):
        timing = search.benchmark.bootstrap_cells(args.cells)
        print(f"Bootstrap, {args.cells} cells of 30 nodes: {timing.rate(args.cells)}")
    if args.part in ("models", "all"):
        for name in args.models:
            timing = gemnet.benchmark.inference(timm.create_model(name), args.batch, device=args.device)
            print(f"{name}, batch {args.batch}, 224x224, fp32, {args.device}: {timing.rate(args.batch)} images")


if __name__ == "__main__":
    main()
