"""How a command is called: as `gemnet train ...`, or as the tool of a checkout, `python tools/train.py ...`."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gemnet.cli.commands import COMMANDS
from gemnet.core.errors import UserError
from gemnet.core.extras import missing_extra


@dataclass(frozen=True)
class Call:
    """A command line.

    Attributes:
        arguments: What follows the command.
        program: What runs commands: `gemnet`, `python -m gemnet`, or `tools`, the scripts of a checkout.
        usage: The command as its usage shows it.
        root: Where a checkout is looked for, whose pages and figures `--write` renews.
    """

    arguments: Sequence[str]
    program: str
    usage: str
    root: Path

    @property
    def checkout(self) -> Path:
        """The checkout. Raises UserError where there is none."""
        if not (self.root / "tools").is_dir() or not (self.root / "configs").is_dir():
            raise UserError(f"{self.root}: not a checkout of gemnet, whose files this is about; call it in one")
        return self.root

    def parser(self, description: str | None) -> ArgumentParser:
        """A parser with `description`, its lines and examples as they are; see `told`."""
        return ArgumentParser(self.usage, description=self.told(description), formatter_class=RawDescriptionHelpFormatter)

    def told(self, text: str | None) -> str:
        """`text`, which has commands as `gemnet train configs/NAME.py`, with them as they are entered where this one was.

        Outside of a checkout there are no tools, and the configs are those of the package, `gemnet::NAME.py`.
        """
        if self.program != "tools":
            text = re.sub(r"^  tools/.*\n?", "", text or "", flags=re.MULTILINE)
            text = re.sub(r"(?<![\w/])configs/([\w/]+\.py)", r"gemnet::\1", text)
        names = "|".join(sorted(COMMANDS, key=len, reverse=True))
        return re.sub(rf"(?<!-m )\bgemnet ({names})(?![\w-])", lambda found: self._entered(found[1]), text or "")

    def _entered(self, name: str) -> str:
        tool = COMMANDS[name].tool
        if self.program != "tools":
            return f"{self.program} {name}"
        return f"python tools/{tool}.py" if tool else f"gemnet {name}"


def run(name: str, call: Call) -> int:
    """The exit code of a command: 1, after one line, where Ctrl-C comes or what the user can mend shows while it imports."""
    try:
        return import_module(COMMANDS[name].module).main(call)
    except KeyboardInterrupt:
        message = "stopped"
    except (ImportError, UserError) as error:
        found = error if isinstance(error, UserError) else missing_extra(error)
        if found is None:
            raise
        message = str(found)
    print(f"{name}: {message}", file=sys.stderr)
    return 1


def tool(name: str, script: str) -> int:
    """The exit code of the command `name` for tools/*.py, a checkout's scripts. script: the script's own path."""
    return run(name, Call(sys.argv[1:], "tools", Path(sys.argv[0]).name, Path(script).resolve().parent.parent))
