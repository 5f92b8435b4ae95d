"""Measure how fast the kernel, bootstrap optimisation and the models are, and where their time goes, on this machine.

examples:
  gemnet benchmark                                       all three parts
  gemnet benchmark kernel --pairs 50000                  beside grakel, if it is installed
  gemnet benchmark kernel --write                        renews docs/results/wl_kernel.*, time against pairs and h
  gemnet benchmark bootstrap --cells 200000
  gemnet benchmark models                                GEMNets and their peers side by side
  gemnet benchmark models --write                        renews configs/benchmark.json and docs/results/speed.md
  gemnet benchmark models --settings "batch 1, fp32, onnxruntime" "batch 16, fp32, compiled"
  gemnet benchmark runtimes                              GEMNets and peers in the runtimes of gemnet export, side by side
  gemnet benchmark runtimes --write                      renews docs/results/runtimes.*; other runtimes' rows stay
  gemnet benchmark runtimes --runtimes executorch --python executorch=executorch/bin/python
  gemnet benchmark executors                             two workers beside one
  gemnet benchmark shapes                                which shapes of cells are fast at GEMNet-A's budget
  gemnet benchmark fusion                                what merging sibling convolutions gains (gemnet.fused)
  gemnet benchmark check --images 100000                 gemnet detect check on so many made photos (5 GB on the disk)
  gemnet benchmark startup --repeats 5                   CPU time of commands and help, beside import torch
  gemnet benchmark profile --models timm/gemnet_b        where its time goes, beside mnasnet1_3; also --training
"""

import os
import platform
from argparse import Namespace

from gemnet.cli.arguments import whole
from gemnet.cli.calling import Call
from gemnet.cli.running import reported
from gemnet.core.machine import cores

REPEATS, ROUNDS = 10, 15


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parts = ["kernel", "bootstrap", "models", "runtimes", "shapes", "fusion", "profile", "executors", "check", "startup", "all"]
    parser.add_argument("part", nargs="?", choices=parts, default="all", help="default: all, which is the first three")
    parser.add_argument("--pairs", type=whole(1), default=50_000, help="pairs of cells for the kernel (default: %(default)s)")
    parser.add_argument(
        "--grakel-pairs", type=whole(0), default=1000, help="pairs for grakel, 0 for none (default: %(default)s)"
    )
    parser.add_argument("--images", type=whole(1), default=10_000, help="photos for check (default: %(default)s)")
    parser.add_argument("--jobs", type=whole(1), default=24, help="trainings for executors (default: %(default)s)")
    parser.add_argument(
        "--cells", type=whole(1), default=100_000, help="cells for bootstrap optimisation (default: %(default)s)"
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help="timm/NAME, torchvision/NAME (default: the GEMNets and four peers)"
    )
    parser.add_argument("--runtimes", nargs="+", metavar="NAME", help="for runtimes: some of them (default: all)")
    parser.add_argument(
        "--python", nargs="+", default=[], metavar="NAME=PATH", help="for runtimes: the Python that one is installed for"
    )
    parser.add_argument(
        "--repeats",
        type=whole(1),
        help=f"timed passes of each model, or runs of each command (default: {REPEATS}; for runtimes {ROUNDS} bursts)",
    )
    parser.add_argument(
        "--settings", nargs="+", metavar="COLUMN", help="columns of the table of models, by name (default: all)"
    )
    parser.add_argument("--resolution", type=whole(1), default=224, help="height and width of images (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="renew the page of models, of runtimes, or the kernel's plot")
    parser.add_argument("--batch", type=whole(1), default=16, help="for profile: images a pass (default: %(default)s)")
    parser.add_argument("--training", action="store_true", help="for profile: a training step, not a forward pass")
    parser.add_argument("--device", default="cpu", help="for the models (default: %(default)s)")
    parser.add_argument("--threads", type=whole(1), help="CPU threads of torch (default: its own choice)")
    args = parser.parse_args(call.arguments)
    args.repeats = args.repeats or (ROUNDS if args.part == "runtimes" else REPEATS)

    return reported("benchmark", lambda: measure(args, call), "benchmark")


def measure(args: Namespace, call: Call) -> None:
    """Measure and print the parts that are asked for."""
    if args.part == "startup":
        from gemnet.bench import startup

        print(startup.table(startup.measure_startup(call.checkout, args.repeats)))
        return
    if args.part == "check":
        from gemnet.bench.data_check import measure_check

        print(measure_check(args.images))
        return
    if args.part == "runtimes":
        measure_runtimes(args, call)
        return
    import torch

    from gemnet.bench import benchmark, profiling
    from search.experiments import speed

    settings = benchmark.settings_named(args.settings)
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"{platform.processor() or platform.machine()}, {cores()} cores, torch {torch.__version__}")
    print("median (slowest - fastest)")
    if args.part in ("kernel", "all"):
        print(f"WL kernel, {args.pairs} pairs of 30 nodes, h = 3, one core:")
        times, difference = speed.kernel(args.pairs, args.grakel_pairs)
        peer = times.pop("grakel", None)
        for direction, time in times.items():
            ratio = f"; {peer.median / args.grakel_pairs / (time.median / args.pairs):.0f} x grakel" if peer else ""
            print(f"  {speed.DIRECTIONS_TIMED[direction]}: {time.rate(args.pairs)}{ratio}")
        if peer:
            print(f"  grakel, {args.grakel_pairs} pairs, one fit a pair: {peer.rate(args.grakel_pairs)};")
            print(f"  largest difference of the values {difference:.1e}")
        if args.write and args.part == "kernel":
            speed.write_kernel_costs(call.checkout, speed.kernel_costs())
            print(f"written: {speed.KERNEL_TIMES}, {speed.KERNEL_PICTURE}")
    if args.part in ("bootstrap", "all"):
        timing = speed.bootstrap_cells(args.cells)
        print(f"Bootstrap, {args.cells} cells of 30 nodes: {timing.rate(args.cells)}")
    if args.part in ("models", "all"):
        names = args.models or [*benchmark.ours(), *benchmark.PEERS]
        measured = benchmark.measure_models(names, args.repeats, args.device, settings, args.resolution)
        print(benchmark.table(measured))
        if args.write:
            benchmark.write(call.checkout, measured)
            print(f"written: {benchmark.MEASURED}, {benchmark.PAGE}")
    if args.part == "executors":
        one, two = speed.executor_efficiency(args.jobs)
        print(f"{args.jobs} trainings on 1 worker: {one.rate(args.jobs)}; on 2 workers: {two.rate(args.jobs)};")
        print(f"  efficiency {one.median / (2 * two.median):.2f}")
    if args.part == "shapes":
        names = [f"shape/{name}" for name in benchmark.SHAPES] + [benchmark.ours()[0], benchmark.PEERS[0]]
        measured = benchmark.measure_models(names, args.repeats, args.device, settings, args.resolution)
        print(benchmark.table(measured))
    if args.part == "fusion":
        names = args.models or [*benchmark.ours(), *(f"shape/{name}" for name in benchmark.SHAPES)]
        print(profiling.measure_fusion(names, args.repeats, args.device, args.resolution))
    if args.part == "profile":
        os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler's notes to its authors
        names = [*dict.fromkeys([*(args.models or benchmark.ours()), benchmark.PEERS[0]])]
        setting = benchmark.Setting(args.batch, training=args.training)
        found = profiling.profile_models(names, setting, args.repeats, args.device, args.resolution)
        print(profiling.table(found))


def measure_runtimes(args: Namespace, call: Call) -> None:
    """Measure and print the runtimes beside each other."""
    from gemnet.bench.runtimes import measuring, pages
    from gemnet.bench.runtimes.networks import DETECTORS, NETWORKS
    from gemnet.deploy.runtimes.table import RUNTIMES, runtime
    from search.core.display import Display

    runtimes = [runtime(name).name for name in args.runtimes or RUNTIMES]
    pythons = measuring.pythons(args.python)
    names, detectors = (args.models, ()) if args.models else (NETWORKS, DETECTORS)
    with Display().progress("runtimes") as progress:
        measured, left_out = measuring.measure(runtimes, args.repeats, pythons, names, args.resolution, detectors, progress)
    for _, table in pages.tables(measured):
        print(f"{table}\n")
    for name, reason in left_out.items():
        print(f"Left out: {name}: {reason}")
    if args.write:
        pages.write(call.checkout, measured)
        print(f"written: {pages.DATA}, {pages.PAGE}")
