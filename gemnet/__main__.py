"""Run a command of `gemnet`, or a program of OpenMMLab with mmcv's operators and `gemnet::` configs offered from its start.

    python -m gemnet train configs/retinanet_gemnet_a.py
    python -m gemnet tools/test.py configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth
    python -m gemnet mmdet::tools/analysis_tools/browse_dataset.py configs/retinanet_gemnet_a.py --output-dir browsed --not-show
    torchrun --nproc-per-node 2 -m gemnet mmdet::tools/test.py CONFIG CHECKPOINT --launcher pytorch

PACKAGE::PATH is a file that an installed package of OpenMMLab brings along. Where mmcv has compiled operators, this is the same
as `python PROGRAM`.
"""

from __future__ import annotations

import re
import runpy
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from gemnet.cli.commands import COMMANDS
from gemnet.cli.main import main as command
from gemnet.cli.running import explained, reported
from gemnet.core.errors import UserError


def program(name: str) -> Path:
    """The file that `name` stands for. Raises UserError where there is none, with those of the package."""
    match = re.fullmatch(r"(\w+)::(.+)", name)
    if match is None:
        file, others = Path(name), Path(name).parent
    else:
        spec = find_spec(match[1])
        if spec is None or spec.origin is None:
            raise UserError(f"{name}: {match[1]} is not installed")
        others = Path(spec.origin).parent / ".mim"
        file = others / match[2]
    if not file.is_file():
        paths = sorted(str(path.relative_to(others)) for path in others.rglob(file.name)) if match else []
        near = [f"{match[1]}::{path}" for path in paths] if match else []
        raise UserError(f"{name}: no such program" + (f"; there is {', '.join(near)}" if near else ""))
    return file


def main(arguments: list[str]) -> int:
    """Run the command or program `arguments[0]` with the rest; returns 1 for what the user can mend, told in one message."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        print("commands:", *COMMANDS)
        return 0 if arguments else 2
    name, *rest = arguments
    if re.fullmatch(r"[\w-]+", name) and not Path(name).is_file():
        return command(arguments, "python -m gemnet")

    def task() -> None:
        import_module("gemnet.openmmlab")
        file = program(name)
        sys.argv[:] = [str(file), *rest]
        sys.path[0] = str(file.parent)
        runpy.run_path(str(file), run_name="__main__")

    return reported(Path(name).name, task, name, explain=explained)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
