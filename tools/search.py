#!/usr/bin/env python
"""Search for a cell with NASGEM; the best cell becomes a file that gemnet builds.

examples:
  python tools/search.py                                          digits, a few minutes on a CPU
  python tools/search.py configs/search/nasgem_cifar10.py         the paper's setting, on CIFAR-10
  python tools/search.py configs/search/image_folder.py --cfg-options data.root=photos
  python tools/search.py --work-dir runs/wide --cfg-options space.num_nodes=20 search.rounds=5

A search that was stopped goes on where it was when the same command is given again.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this file's folder would make `import search` find this file


def main() -> int:
    from mmengine.config import DictAction

    from search.command import search_command

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "config", nargs="?", default=str(ROOT / "configs/search/digits.py"), help="default: configs/search/digits.py"
    )
    parser.add_argument("--work-dir", help="where record, cells and report go; default: work_dirs/<config>")
    parser.add_argument("--resume", action="store_true", help="insist on going on with a search that is there")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="override settings of the config"
    )
    args = parser.parse_args()
    return search_command(args.config, args.work_dir, args.resume, args.cfg_options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while Python still imports
        sys.exit("search: stopped")
