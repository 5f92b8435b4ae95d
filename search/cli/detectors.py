"""Compare detectors: the small one of gemnet detect, from scratch and from weights, beside others trained from scratch.

Each training has the same budget of CPU seconds on one thread, and the recipe of its authors. A record keeps what has ended:
the same command goes on with what is missing. All test photos are measured by the same code, once a training.

examples:
  gemnet compare-detectors --data bccd raccoon --yolo-python yolo/bin/python --jobs 2
  gemnet compare-detectors --data photos --methods gemnet_a ssdlite320 --seeds 0 --budget 600 --record photos.jsonl
  gemnet compare-detectors table --write                              the tables of docs/results/own_detector.md
  gemnet compare-detectors speed --yolo-python yolo/bin/python        their networks in onnxruntime, on a quiet machine

The licence of the YOLO's package (AGPL) keeps it out of this one. It is called by its own command line, in an environment of
its own: python -m venv yolo && yolo/bin/pip install ultralytics onnx
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported
from gemnet.core.errors import UserError
from search.cli.recorded import STOPPED

METHODS = (
    "gemnet_a", "gemnet_a_pretrained", "gemnet_a_bfloat16", "gemnet_small", "gemnet_small_pretrained", "gemnet_small_bfloat16",
    "ssdlite320", "rtmdet_tiny", "yolo11n",
)  # fmt: skip
BUDGET = 1800.0
RECORD = "docs/results/own_detector.jsonl"
WORK_DIR = "work_dirs/compare_detectors"


def main(call: Call) -> int:
    """The exit code of the command."""
    actions: dict[str, Callable[[Call], int]] = {"one": _one, "table": _table, "speed": _speed}
    if call.arguments and call.arguments[0] in actions:
        name = call.arguments[0]
        return actions[name](replace(call, arguments=call.arguments[1:], usage=f"{call.usage} {name}"))
    return _compare(call)


def _add_budget(parser: ArgumentParser) -> None:
    parser.add_argument("--budget", type=number(above=0), default=BUDGET, help="CPU seconds of a training; default: 1800")


def _add_record(parser: ArgumentParser) -> None:
    parser.add_argument("--record", type=Path, default=Path(RECORD), help="of the trainings that ended; default: %(default)s")


def _add_methods(parser: ArgumentParser, methods: tuple[str, ...] = METHODS) -> None:
    known = f"some of {', '.join(methods)}, in the order that is wanted; default: all"
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods, metavar="METHOD", help=known)


def _add_yolo(parser: ArgumentParser) -> None:
    parser.add_argument("--yolo-python", type=Path, help="the interpreter of an environment that has ultralytics")


def _compare(call: Call) -> int:
    parser = call.parser(__doc__)
    known = "folders of photos with boxes, or names of folders in GEMNET_DATA, else in data"
    parser.add_argument("--data", nargs="+", required=True, help=f"{known}; or one, table or speed, each of which has --help")
    _add_methods(parser)
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="of the trainings; default: 0 1 2")
    _add_budget(parser)
    parser.add_argument("--jobs", type=whole(1), default=1, help="trainings side by side, of one thread each; default: 1")
    parser.add_argument("--work-dir", default=WORK_DIR, help="where the trainings go; default: %(default)s")
    _add_record(parser)
    _add_yolo(parser)
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/results/own_detector.md at the end")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from search.core.display import Display
        from search.experiments.detectors import pages, record, report, run, tasks, yolo

        planned = tasks.tasks(args.data, args.methods, args.seeds, args.budget, Path(args.work_dir), args.yolo_python)
        if any(yolo.is_yolo(one.method) for one in planned):
            yolo.check_python(args.yolo_python)
        display = Display()
        with record.open_record(args.record, Path(args.work_dir)) as store:
            failed = run.train_all(planned, store, args.jobs, display)
            rows = list(store.rows.values())
        display.line(report.table(rows, args.budget))
        if args.write:
            pages.write(call.checkout, rows)
        if failed:
            told = f"{len(failed)} of {len(planned)} trainings failed; the same command tries them again"
            raise UserError("\n".join([told, *failed]))

    return reported("compare-detectors", task, args.work_dir, STOPPED, "the same command", explain=explained)


def _one(call: Call) -> int:
    """Train one detector of the comparison in this process, and leave its line for the record, row.json, in its folder.

    examples:
      gemnet compare-detectors one --data photos --method gemnet_a --seed 0 --work-dir work_dirs/one
      gemnet compare-detectors one --data photos --method yolo11n --yolo-python yolo/bin/python --work-dir work_dirs/yolo
    """
    parser = call.parser(cleandoc(_one.__doc__ or ""))
    parser.add_argument("--data", required=True, help="a folder of photos with boxes, or the name of one in GEMNET_DATA")
    parser.add_argument("--method", choices=METHODS, required=True, help="what is trained")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the training; default: 0")
    _add_budget(parser)
    parser.add_argument("--work-dir", required=True, help="where everything of it goes")
    _add_yolo(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        from search.experiments.detectors.record import told
        from search.experiments.detectors.tasks import Task, data_folder
        from search.experiments.detectors.training import train

        folder, place = data_folder(args.data), Path(args.work_dir)
        print(told(train(Task(folder.resolve().name, folder, args.method, args.seed, args.budget, place, args.yolo_python))))

    return reported("compare-detectors one", task, args.work_dir, "stopped", explain=explained)


def _table(call: Call) -> int:
    """Make the tables of what is recorded; nothing is trained.

    examples:
      gemnet compare-detectors table --record photos.jsonl --budget 600
      gemnet compare-detectors table --write          renews docs/results/own_detector.md
    """
    parser = call.parser(cleandoc(_table.__doc__ or ""))
    _add_record(parser)
    parser.add_argument("--budget", type=number(above=0), help="only of this one, in CPU seconds; default: of each")
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from search.experiments.detectors import pages, record, report

        with record.open_record(args.record) as store:
            rows = list(store.rows.values())
        print(report.tables(rows) if args.budget is None else report.table(rows, args.budget))
        if args.write:
            pages.write(call.checkout, rows)

    return reported("compare-detectors table", task, str(args.record), elsewhere="--record")


def _speed(call: Call) -> int:
    """Time the networks in onnxruntime: one photo of 320x320, one thread, in each round each network once.

    Backbone, neck and head are timed, without what follows them. Each library writes its own ONNX file, of a network for 80
    classes with random weights; params and MACs are counted on these files. The machine should do nothing else meanwhile.

    examples:
      gemnet compare-detectors speed --yolo-python yolo/bin/python
      gemnet compare-detectors speed --methods gemnet_a ssdlite320 --rounds 20
      gemnet compare-detectors speed --yolo-python yolo/bin/python --write       renews docs/results/own_detector.md
    """
    parser = call.parser(cleandoc(_speed.__doc__ or ""))
    _add_methods(parser, tuple(name for name in METHODS if not name.endswith(("_pretrained", "_bfloat16"))))  # the same network
    parser.add_argument("--rounds", type=whole(1), default=100, help="passes of each network; default: %(default)s")
    parser.add_argument("--work-dir", default=f"{WORK_DIR}/speed", help="where the ONNX files go; default: %(default)s")
    _add_yolo(parser)
    parser.add_argument("--write", action="store_true", help="renew docs/results/own_detector.md and the file of its figures")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.core.extras import need

        need("detection")
        need("export")
        from search.experiments.detectors import pages, record, report, speed

        speeds = speed.measured(args.methods, Path(args.work_dir), args.yolo_python, args.rounds)
        print(report.speed_table(speeds))
        print(speed.save(Path(args.work_dir), speeds))
        if args.write:
            speed.write(call.checkout, speeds)
            with record.open_record(call.checkout / RECORD) as store:
                pages.write(call.checkout, list(store.rows.values()))

    return reported("compare-detectors speed", task, args.work_dir, explain=explained)
