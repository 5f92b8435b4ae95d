"""Command lines that are printed to be entered: they work where the user stands, whatever is in their paths."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def shell_line(*arguments: str | os.PathLike[str]) -> str:
    """A command line of the search, to be entered where this process was started, with the same Python, called as it was."""
    return shlex.join([*_command(), *(os.fspath(argument) for argument in arguments)])


def _command() -> list[str]:
    """What runs the search: a checkout's tool where that is what runs, the command `gemnet` where that is, else its module."""
    script = Path(sys.argv[0])
    if script.name == "search.py" and script.is_file():
        return [_python(), os.path.relpath(script)]
    if script.name == "gemnet" and _same("gemnet", script):
        return ["gemnet", "search"]
    return [_python(), "-m", "gemnet", "search"]


def _python() -> str:
    """ "python" where that is the Python that runs here, else its path."""
    return "python" if _same("python", Path(sys.executable)) else sys.executable


def _same(name: str, file: Path) -> bool:
    """Whether the shell finds `file` by `name`: one of the same folder, for folders of environments link to one Python."""
    found = shutil.which(name)
    return found is not None and Path(found).parent == file.parent and os.path.samefile(found, file)
