"""Command lines that are printed to be entered: they work where the user stands, whatever is in their paths."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "search.py"


def shell_line(*arguments: str | os.PathLike[str]) -> str:
    """A command line of tools/search.py, to be entered where this process was started, with the same Python."""
    tool = os.path.relpath(TOOL) if TOOL.exists() else sys.argv[0]
    return shlex.join([_python(), tool, *(os.fspath(argument) for argument in arguments)])


def _python() -> str:
    """ "python" where that is the Python that runs here, else its path."""
    found = shutil.which("python")
    same = found is not None and Path(found).parent == Path(sys.executable).parent and os.path.samefile(found, sys.executable)
    return "python" if same else sys.executable
