"""Time the networks of manifest.json on this device: Python, the runtime and NumPy are all that it needs.

  python time_models.py --device "Pixel 9"              writes times.json
  python time_models.py --threads 4 --rounds 20
  python time_models.py --from-logs logs --device ...   reads what time_adb.sh wrote

Rounds go through all networks, each time in another order, so that what disturbs the device for a while falls on all of them.
A round's time is that of its fastest pass; what is told of a network is the median over the rounds.
"""

import argparse
import hashlib
import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FORMAT, VERSION = "gemnet.device_times", 1
WARM_UP = 2
RESTLESS = 0.1
"""From this distance between the quartiles of the rounds, in parts of the median, the device is told to be restless."""
LINES: dict[str, tuple[str, float]] = {
    "onnx": (r"P50 Latency(?: is|:)\s*([0-9.eE+-]+)\s*s", 1e3),
    "litert": (r"Inference \(avg\): ([0-9.eE+-]+)", 1e-3),
    "executorch": (r"Model executed successfully ([0-9]+) time\(s\) in ([0-9.eE+-]+) ms", 1.0),
    "ncnn": (r"min = *[0-9.]+ +max = *[0-9.]+ +avg = *([0-9.]+)", 1.0),
    "openvino": (r"Median: *([0-9.eE+-]+) ms", 1.0),
}
"""How each runtime's own benchmark tells a time, and the milliseconds of its unit; of ExecuTorch passes and their sum."""


class Refused(Exception):
    """What is wrong, and what to do."""


def open_onnx(path: str, threads: int, images: Any) -> Callable[[], object]:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def open_torchscript(path: str, threads: int, images: Any) -> Callable[[], object]:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    torch._C._jit_set_profiling_executor(False)
    network = torch.jit.freeze(torch.jit.load(path).eval())
    tensor = torch.from_numpy(images)

    def run() -> object:
        with torch.inference_mode():
            return network(tensor)

    return run


def open_openvino(path: str, threads: int, images: Any) -> Callable[[], object]:
    network = import_module("openvino").Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
    request = network.create_infer_request()
    return lambda: request.infer([images])


def open_executorch(path: str, threads: int, images: Any) -> Callable[[], object]:
    if threads != 1:
        raise Refused("ExecuTorch's Python takes its threads from the machine: give --threads 1 with taskset -c 0")
    torch, runtime = import_module("torch"), import_module("executorch.runtime")
    method = runtime.Runtime.get().load_program(path).load_method("forward")
    tensor = torch.from_numpy(images)
    return lambda: method.execute([tensor])


def open_litert(path: str, threads: int, images: Any) -> Callable[[], object]:
    network = import_module("ai_edge_litert.interpreter").Interpreter(path, num_threads=threads)
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], images)
    return lambda: network.invoke()


def open_ncnn(path: str, threads: int, images: Any) -> Callable[[], object]:
    ncnn = import_module("ncnn")
    network = ncnn.Net()
    network.opt.num_threads = threads
    if network.load_param(path) or network.load_model(path[: -len(".param")] + ".ncnn.bin"):
        raise Refused(f"{path}: ncnn cannot read it; copy the .ncnn.bin file beside it as well")

    def run() -> object:
        extractor = network.create_extractor()
        extractor.input(network.input_names()[0], ncnn.Mat(images[0]).clone())
        return [extractor.extract(name) for name in network.output_names()]

    return run


OPEN: dict[str, tuple[str, Callable[[str, int, Any], Callable[[], object]]]] = {
    "onnx": ("onnxruntime", open_onnx),
    "torchscript": ("torch", open_torchscript),
    "openvino": ("openvino", open_openvino),
    "executorch": ("executorch", open_executorch),
    "litert": ("ai_edge_litert", open_litert),
    "ncnn": ("ncnn", open_ncnn),
}
"""Runtime -> its module, and what makes one pass of one image of a file."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, each of whose files is there and as it was exported."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        versions = manifest["format"], manifest["version"]
        if versions != ("gemnet.device_candidates", 1):
            raise Refused(f"{path}: expected gemnet.device_candidates, version 1, found {versions}")
        for digest, entry in manifest["entries"].items():
            for name, expected in entry["files"].items():
                if os.path.basename(name) != name:
                    raise Refused(f"{path}: entry {digest[:16]}: {name!r} is not a file of this folder; export again")
                if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                    raise Refused(f"{folder / name}: is not the file that was exported; copy it again")
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}; copy the whole folder") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: damaged ({type(error).__name__}: {error}); export again") from None
    return manifest


def measured(manifest: dict[str, Any], folder: Path, args: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of the rounds, by digest."""
    numpy = import_module("numpy")
    module, opened = OPEN[manifest["runtime"]]
    try:
        import_module(module)
    except ImportError:
        raise Refused(f"{module} is not installed; pip install {module.replace('ai_edge_litert', 'ai-edge-litert')}") from None
    images = numpy.random.default_rng(0).standard_normal(manifest["input"]).astype("float32")
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    rounds: dict[str, list[float]] = {digest: [] for digest in manifest["entries"]}
    order, kept = list(rounds), dict[str, Callable[[], object]]()
    for index in range(args.rounds):
        random.Random(index).shuffle(order)
        for number, digest in enumerate(order):
            name = manifest["entries"][digest]["file"]
            try:
                run = kept.get(digest) or opened(str(folder / name), args.threads, images)
                if args.keep_open:
                    kept[digest] = run
                passes = []
                for _ in range(WARM_UP + args.passes):
                    started = clock()
                    run()
                    passes.append(1e3 * (clock() - started))
            except Exception as error:
                if isinstance(error, Refused):
                    raise
                raise Refused(f"{folder / name}: {manifest['runtime']} cannot run it: {error}") from error
            rounds[digest].append(min(passes[WARM_UP:]))
            if sys.stderr.isatty():
                end = "\n" if (index + 1, number + 1) == (args.rounds, len(order)) else ""
                print(f"\rround {index + 1} of {args.rounds}: {number + 1} of {len(order)}", end=end, file=sys.stderr)
        if not sys.stderr.isatty():
            print(f"round {index + 1} of {args.rounds}", file=sys.stderr)
    return rounds


def logged(manifest: dict[str, Any], logs: Path) -> dict[str, list[float]]:
    """Milliseconds of the rounds, by digest, from files NAME.ROUND.txt with what the runtime's benchmark printed."""
    if manifest["runtime"] not in LINES:
        raise Refused(f"no benchmark of {manifest['runtime']} is known; expected one of {', '.join(LINES)}")
    pattern, unit = LINES[manifest["runtime"]]
    rounds: dict[str, list[float]] = {}
    for digest, entry in manifest["entries"].items():
        files = sorted(logs.glob(f"{Path(entry['file']).stem}.*.txt"))
        if not files:
            raise Refused(f"{logs}: no log of {entry['file']}; run time_adb.sh again")
        rounds[digest] = []
        for file in files:
            found = re.findall(pattern, file.read_text(encoding="utf-8", errors="replace"))
            if not found:
                raise Refused(f"{file}: no time in it; see in it what the benchmark said, and run time_adb.sh again")
            last = found[-1]
            rounds[digest].append(float(last[1]) / int(last[0]) if isinstance(last, tuple) else unit * float(last))
    return rounds


def entry_of(entry: dict[str, Any], rounds: list[float], passes: int) -> dict[str, Any]:
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else (0.0, 0.0, 0.0)
    kept = {name: entry[name] for name in ("nodes", "edges", "widths", "depths", "head_width")}
    return {
        **kept,
        "sha256": entry["files"][entry["file"]],
        "median": round(statistics.median(rounds), 6),
        "spread": round(high - low, 6),
        "runs": len(rounds) * passes,
    }


def version_of(module: str) -> str:
    """The runtime's release, if it tells one here."""
    return str(getattr(sys.modules.get(module), "__version__", ""))


def whole(least: int) -> Callable[[str], int]:
    """A whole number from `least` on."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, found {text}")
        return int(text)

    return number


def main(arguments: "list[str] | None" = None) -> int:
    """The exit code."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=here, help="with manifest.json; default: the script's own")
    parser.add_argument("--out", type=Path, help="default: times.json in that folder")
    parser.add_argument("--device", default=os.uname().nodename, help="its name, for people; default: %(default)s")
    parser.add_argument("--threads", type=whole(1), default=1, help="of the CPU; default: %(default)s")
    parser.add_argument("--rounds", type=whole(1), default=10, help="default: %(default)s")
    parser.add_argument("--passes", type=whole(1), default=5, help="in a round; default: %(default)s")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: of all threads, for a busy machine")
    parser.add_argument("--keep-open", action="store_true", help="open each file once, where memory holds all of them")
    parser.add_argument("--from-logs", type=Path, metavar="DIR", help="nothing is timed here; see time_adb.sh")
    args = parser.parse_args(arguments)
    try:
        manifest = read_manifest(args.folder)
        if args.from_logs is None and manifest["runtime"] not in OPEN:
            raise Refused(f"{manifest['runtime']} is not timed by this script; expected one of {', '.join(OPEN)}")
        rounds = logged(manifest, args.from_logs) if args.from_logs else measured(manifest, args.folder, args)
        document = {
            "format": FORMAT, "version": VERSION, "device": args.device, "runtime": manifest["runtime"],
            "threads": args.threads,
            "clock": "wall" if args.from_logs else args.clock, "unit": "ms", "network": manifest["network"],
            "entries": {digest: entry_of(manifest["entries"][digest], found, args.passes) for digest, found in rounds.items()},
        }  # fmt: skip
        version = "" if args.from_logs else version_of(OPEN[manifest["runtime"]][0])
        if version:
            document["runtime_version"] = version
        target = args.out or args.folder / "times.json"
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        timed = [entry for entry in document["entries"].values() if entry["median"]]
        unrest = statistics.median([entry["spread"] / entry["median"] for entry in timed] or [0.0])
        lines = ",\n".join(f"{json.dumps(digest)}: {json.dumps(entry)}" for digest, entry in document.pop("entries").items())
        part.write_text(json.dumps(document)[:-1] + ',\n"entries": {\n' + lines + "\n}}\n", encoding="utf-8")
        os.replace(part, target)
    except Refused as error:
        print(f"time_models.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"time_models.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{target}: times of {len(rounds)} networks, {manifest['runtime']}, {args.threads} threads")
    if unrest > RESTLESS:
        told = f"half of the times differ by over {unrest:.0%} between the quartiles of the rounds"
        print(f"time_models.py: {told}: the device was busy or hot; time again, or with more --rounds", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
