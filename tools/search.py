#!/usr/bin/env python
"""Search for a cell with NASGEM; the best cell becomes a file that gemnet builds.

examples:
  python tools/search.py                                          digits, a few minutes on a CPU
  python tools/search.py configs/search/nasgem_cifar10.py         on 1/10 of CIFAR-10, as the paper's proxy
  python tools/search.py configs/search/image_folder.py --cfg-options data.root=photos
  python tools/search.py --executor ray --ray-address auto        candidates are trained on a Ray cluster
  python tools/search.py --work-dir runs/wide --cfg-options space.num_nodes=20 search.rounds=5

A search that was stopped goes on where it was when the same command is given again. What it has found so far:

  python tools/search.py status work_dirs/digits                  is it running, how far is it
  python tools/search.py top work_dirs/digits --count 20          its best cells
  python tools/search.py export work_dirs/digits --out digits.jsonl    the record as JSON lines
  python tools/search.py report work_dirs/digits                  its report, also while it runs
  python tools/search.py report work_dirs/digits --out shown      the same there, with two figures as PNG
  python tools/search.py retrain work_dirs/digits --count 8 --seeds 3     its best cells trained again: which were lucky?

What a config and --cfg-options may set, with types, ranges, units and defaults (also docs/settings.md):

  python tools/search.py settings                                 all; or of one part: encoder, encoder.svge

Instead of a work directory these, but for export, take an exported record as well, a .jsonl file.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this file's folder would make `import search` find this file

from gemnet.arguments import whole  # noqa: E402

ACTIONS = ("status", "top", "export", "report", "retrain")


def work_with_record() -> int:
    parser = argparse.ArgumentParser(
        description="Work with the record of a search, running or ended.",
        epilog="retrain goes on where it was stopped; --cfg-options: data.root, proxy.epochs and executor.*",
    )
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("work_dir", help="where the search's record is, or an exported record, a .jsonl file")
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="export: the file; default: WORK_DIR/record.jsonl. report: a directory, which gets PNGs as well. retrain: a"
        " directory; default: WORK_DIR/retrained",
    )
    parser.add_argument("--count", type=whole(1), help="top, retrain: how many cells; default: 10, 8")
    parser.add_argument("--seeds", type=whole(1), default=3, help="retrain: trainings of each cell; default: %(default)s")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="retrain: instead of the search's settings")
    args = parser.parse_args()
    if args.action == "retrain":
        from search.retraining import retrain_command

        return retrain_command(args.work_dir, args.out, 8 if args.count is None else args.count, args.seeds, args.cfg_options)
    from search.records import records_command

    return records_command(args.action, args.work_dir, args.out, 10 if args.count is None else args.count)


def list_settings() -> int:
    parser = argparse.ArgumentParser(description="List the settings of a search: type, range, unit, default and meaning.")
    parser.add_argument("action", choices=["settings"])
    parser.add_argument("name", nargs="?", help="a section, as encoder, or a type of it, as encoder.svge; default: all")
    parser.add_argument("--out", metavar="PATH", help="write the page of all settings there, Markdown")
    args = parser.parse_args()

    from search.command import settings_command

    return settings_command(args.name, args.out)


def main() -> int:
    if sys.argv[1:2] == ["settings"]:
        return list_settings()
    if sys.argv[1:2] and sys.argv[1] in ACTIONS:
        return work_with_record()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "config", nargs="?", default=str(ROOT / "configs/search/digits.py"), help="default: configs/search/digits.py"
    )
    parser.add_argument("--work-dir", help="where record, cells and report go; default: work_dirs/<config>")
    parser.add_argument("--resume", action="store_true", help="insist on going on with a search that is there")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override settings of the config")
    parser.add_argument("--executor", choices=["local", "ray"], help="where candidates are trained (default: the config's)")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="auto, or host:port; default: Ray on this machine")
    args = parser.parse_args()
    options = args.cfg_options
    options += [f"executor.type={args.executor}"] if args.executor else []
    options += [f"executor.address={args.ray_address}"] if args.ray_address else []

    from search.command import search_command

    return search_command(args.config, args.work_dir, args.resume, options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("search: stopped")
