"""Search for a cell with NASGEM; the best cell becomes a file that gemnet builds.

examples:
  gemnet search                                          digits, a few minutes on a CPU
  gemnet search configs/search/nasgem_cifar10.py         on 1/10 of CIFAR-10, as the paper's proxy
  gemnet search configs/search/image_folder.py --cfg-options data.root=photos
  gemnet search configs/search/own_detector.py --cfg-options data.root=photos     photos with boxes, for a detector
  gemnet search --executor ray --ray-address auto        candidates are trained on a Ray cluster
  gemnet search --work-dir runs/wide --cfg-options space.num_nodes=20 search.rounds=5

A search that was stopped goes on where it was when the same command is given again. --retry-failed tries candidates again
that failed, as for want of memory. What it has found so far:

  gemnet search status work_dirs/digits                  is it running, how far is it
  gemnet search top work_dirs/digits --count 20          its best cells
  gemnet search export work_dirs/digits --out digits.jsonl    the record as JSON lines
  gemnet search report work_dirs/digits                  its report, also while it runs
  gemnet search report work_dirs/digits --out shown      the same there, with two figures as SVG
  gemnet search retrain work_dirs/digits --count 8 --seeds 3     its best cells trained again: which were lucky?
  gemnet search export-devices work_dirs/digits          its best cells' networks, to be timed on a device
  gemnet search times work_dirs/digits/devices/times.json        what came back, and how well others are predicted

Instead of a work directory these, but for export and times, take an exported record as well, a .jsonl file.

What a config and --cfg-options may set, with types, ranges, units and defaults (also docs/settings.md):

  gemnet search settings encoder.svge
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from gemnet.cli.arguments import add_custom_imports, whole
from gemnet.cli.calling import Call
from gemnet.core.own_modules import import_custom

ACTIONS = {
    "status": """Tell whether a search runs, how far it is, what training took, and its best cell.

examples:
  gemnet search status work_dirs/digits
  gemnet search status work_dirs/digits/record.jsonl     an exported record""",
    "top": """Tell the best cells of a search.

examples:
  gemnet search top work_dirs/digits
  gemnet search top work_dirs/digits --count 20""",
    "export": """Write the record of a search as JSON lines: settings and rounds first, then a line an evaluation.

examples:
  gemnet search export work_dirs/digits                      to work_dirs/digits/record.jsonl
  gemnet search export work_dirs/digits --out digits.jsonl""",
    "report": """Write the report of a search, one HTML file that holds everything.

examples:
  gemnet search report work_dirs/digits                      also while it runs
  gemnet search report work_dirs/digits --out shown          the same there, with two figures as SVG""",
    "retrain": """Train the best cells of a search again with other seeds: which were lucky? What was stopped goes on.

examples:
  gemnet search retrain work_dirs/digits --count 8 --seeds 3
  gemnet search retrain work_dirs/digits --cfg-options proxy.epochs=12     also data.root and executor.*""",
    "export-devices": """Write the networks of a search's best cells with scripts that time them on a device: docs/devices.md.

examples:
  gemnet search export-devices work_dirs/digits --top 50 --random 50 --to onnx
  gemnet search export-devices work_dirs/digits --out phone --to torchscript

What an earlier, stopped call has written stays. Then, on the device: python time_models.py, or through adb: sh time_adb.sh""",
    "times": """Check a times.json of a device, and tell how well the times of cells are predicted that are not in it.

examples:
  gemnet search times work_dirs/digits/devices/times.json
  gemnet search times times.json --fit 50                learn from the first 50 cells alone, test on the others""",
    "settings": """List what may be set of a search: type, range, unit, default and meaning.

examples:
  gemnet search settings                                     all
  gemnet search settings encoder                             a section
  gemnet search settings encoder.svge                        one type of it
  gemnet search settings search.start                        one setting
  gemnet search settings --out docs/settings.md              the page of all""",
}


def work_with_record(call: Call) -> int:
    """The exit code of an action on a record."""
    parser = call.parser("Work with the record of a search, running or ended, or list settings.")
    actions = parser.add_subparsers(dest="action", required=True)
    parsers = {
        name: actions.add_parser(name, description=call.told(about), formatter_class=RawDescriptionHelpFormatter)
        for name, about in ACTIONS.items()
    }
    parsers["settings"].add_argument("name", nargs="?", help="a section, a type as encoder.svge, or a setting as search.start")
    parsers["settings"].add_argument("--out", metavar="FILE", help="write them there: without a name, the page of all")
    for name, action in parsers.items():
        if name in ("settings", "times"):
            continue
        add_custom_imports(action)
        record = "" if name == "export" else ", or an exported record, a .jsonl file"
        action.add_argument("work_dir", help=f"where the search's record is{record}")
    parsers["top"].add_argument("--count", type=whole(1), default=10, help="how many cells; default: %(default)s")
    parsers["export"].add_argument("--out", metavar="FILE", help="default: WORK_DIR/record.jsonl")
    parsers["report"].add_argument("--out", metavar="DIR", help="a folder, which gets SVGs as well; default: WORK_DIR")
    retrain = parsers["retrain"]
    retrain.add_argument("--out", metavar="DIR", help="where the trainings are kept; default: WORK_DIR/retrained")
    retrain.add_argument("--count", type=whole(1), default=8, help="how many cells; default: %(default)s")
    retrain.add_argument("--seeds", type=whole(1), default=3, help="trainings of each cell; default: %(default)s")
    retrain.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="instead of the search's settings")
    add_device_arguments(parsers["export-devices"], parsers["times"])
    args = parser.parse_args(call.arguments)
    import_custom(getattr(args, "custom_imports", []))
    if args.action in ("export-devices", "times"):
        from search.cli.devices import export_devices_command, times_command

        if args.action == "times":
            return times_command(args.file, args.fit)
        return export_devices_command(args.work_dir, args.out, args.top, args.form, args.random, args.seed)
    if args.action == "retrain":
        from search.experiments.retraining import retrain_command

        return retrain_command(args.work_dir, args.out, args.count, args.seeds, args.cfg_options)
    if args.action == "settings":
        from search.cli.command import settings_command

        return settings_command(args.name, args.out)
    from search.cli.records import records_command

    return records_command(args.action, args.work_dir, getattr(args, "out", None), getattr(args, "count", 10))


def add_device_arguments(export: ArgumentParser, times: ArgumentParser) -> None:
    """Add the arguments of both actions for devices."""
    export.add_argument("--to", dest="form", metavar="RUNTIME", default="onnx", help="of gemnet export; default: %(default)s")
    export.add_argument("--top", type=whole(0), default=50, help="best cells; default: %(default)s")
    export.add_argument("--random", type=whole(0), default=0, help="cells of the space beside them; default: %(default)s")
    export.add_argument("--seed", type=whole(0), default=0, help="of the random cells; default: %(default)s")
    export.add_argument("--out", metavar="DIR", help="default: WORK_DIR/devices")
    times.add_argument("file", help="times.json, as time_models.py wrote it")
    times.add_argument("--fit", type=whole(1), help="cells to learn from; default: all but one fifth, by turns")
    add_custom_imports(times)


def main(call: Call) -> int:
    """The exit code of the command."""
    if call.arguments and call.arguments[0] in ACTIONS:
        return work_with_record(call)
    parser = call.parser(__doc__)
    parser.add_argument(
        "config",
        nargs="?",
        default="gemnet::search/digits.py",
        help="a file, gemnet::search/NAME.py, or the NAME of such a one; default: digits",
    )
    parser.add_argument("--work-dir", help="where record, cells and report go; default: work_dirs/<config>")
    parser.add_argument("--resume", action="store_true", help="insist on going on with a search that is there")
    parser.add_argument("--retry-failed", action="store_true", help="go on, and try candidates that failed again first")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override settings of the config")
    parser.add_argument("--executor", choices=["local", "ray"], help="where candidates are trained (default: the config's)")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="auto, or host:port; default: Ray on this machine")
    args = parser.parse_args(call.arguments)
    options = args.cfg_options
    options += [f"executor.type={args.executor}"] if args.executor else []
    options += [f"executor.address={args.ray_address}"] if args.ray_address else []

    from search.cli.command import search_command

    return search_command(args.config, args.work_dir, args.resume, options, args.retry_failed)
