"""GEMNet: search a cell, fit it to a budget, train it with MMDetection or MMPretrain, export it.

examples:
  gemnet search digits                                            minutes on a CPU
  gemnet fit work_dirs/digits/best_cell.json --target-macs 300e6
  gemnet train configs/retinanet_gemnet_a.py
  gemnet export gemnet_a gemnet_a.onnx --checkpoint gemnet_a.safetensors

`gemnet COMMAND --help` tells about each. Configs are files, or gemnet::NAME.py, those that the package brings along.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from gemnet import __version__
from gemnet.cli.calling import Call, run
from gemnet.cli.commands import COMMANDS


def usage(program: str = "gemnet") -> str:
    """What `gemnet --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{command.about}" for name, command in COMMANDS.items()]
    told = Call((), program, program, Path()).told(__doc__)
    return "\n".join([f"usage: {program} COMMAND ...", "", told.strip(), "", "commands:", *lines, "", "options:",
                      "  --help, -h        this", "  --version         the version"])  # fmt: skip


def main(arguments: Sequence[str] | None = None, program: str = "gemnet") -> int:
    """The exit code of a command line; 2 where it names no command."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in COMMANDS:
        return run(name, Call(rest, program, f"{program} {name}", Path.cwd()))
    if name in ("-h", "--help"):
        print(usage(program))
        return 0
    if name == "--version":
        print(f"gemnet {__version__}")
        return 0
    near = get_close_matches(name, COMMANDS, 1)
    wrong = f"no command {name!r}" + (f"; did you mean {near[0]}?" if near else "") if name else "expected a command"
    print(f"{usage(program)}\n\ngemnet: {wrong}", file=sys.stderr)
    return 2
