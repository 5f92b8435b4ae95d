"""Make the compact file that searches on a benchmark read, from the file that its authors published. Once, without TensorFlow.

examples:
  gemnet convert-benchmark nasbench101 nasbench_only108.tfrecord data/nasbench101.npz
  gemnet convert-benchmark nasbench101 nasbench_full.tfrecord data/nasbench101.npz            with 4, 12 and 36 epochs
  gemnet convert-benchmark nasbench201 NAS-Bench-201-v1_1-archive data/nasbench201.npz        cell by cell
  gemnet convert-benchmark nasbench201 NAS-Bench-201-v1_1-096897.pth data/nasbench201.npz     all at once in memory
  gemnet convert-benchmark nasbench_macro nas-bench-macro_cifar10.json data/nasbench_macro.npz

then, with the folder of the compact files in the environment or in the config:
  GEMNET_DATA=data gemnet search configs/search/nasbench101.py
  gemnet search configs/search/nasbench201.py --cfg-options space.data=data

Nothing in a file is executed. NATS-Bench's *.pickle.pbz2 are refused for that reason.
"""

from gemnet.cli.calling import Call
from gemnet.cli.running import reported


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("benchmark", choices=["nasbench101", "nasbench201", "nasbench_macro"], help="what the file is of")
    parser.add_argument("source", help="the published file, or folder")
    parser.add_argument("target", help="the compact file to write, .npz")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from search.experiments.convert.conversion import convert

        convert(args.benchmark, args.source, args.target)

    return reported("convert_benchmark", task, args.target, "stopped; nothing was written")
