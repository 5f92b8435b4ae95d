"""Arguments of command lines that several have: numbers, checked as settings are, and modules of the user's own."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from gemnet.core.errors import UserError
from gemnet.core.settings import Setting, shown


def argument(setting: Setting) -> Callable[[str], Any]:
    """What argparse calls with the text of an argument; the number, or a message that says what is expected."""

    def read(text: str) -> Any:
        if text in setting.also:
            return text
        try:
            return setting.check("", setting.type(text))
        except (UserError, ValueError):
            raise ArgumentTypeError(f"expected {setting.expected()}, found {shown(text)}") from None

    return read


def whole(at_least: int, at_most: int | None = None) -> Callable[[str], int]:
    """Whole numbers from `at_least` on."""
    return argument(Setting("", int, at_least=at_least, at_most=at_most))


def number(
    at_least: float | None = None, above: float | None = None, at_most: float | None = None, below: float | None = None
) -> Callable[[str], float]:
    """Finite numbers of a range."""
    return argument(Setting("", float, at_least=at_least, above=above, at_most=at_most, below=below))


def add_watching(parser: ArgumentParser) -> None:
    """Add the options of predictions on videos: every, seconds, show."""
    parser.add_argument("--every", type=whole(1), default=1, metavar="N", help="of videos: look at every Nth frame; default: 1")
    parser.add_argument("--seconds", type=number(above=0), help="of videos and cameras: stop after so many seconds of them")
    parser.add_argument("--show", action="store_true", help="of videos and cameras: a window shows the frames; q ends")


def add_custom_imports(parser: ArgumentParser) -> None:
    """Add the option that names modules of the user's own; what is given is for `gemnet.core.own_modules.import_custom`."""
    parser.add_argument(
        "--custom-imports",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="import these first, from the working directory too: they register operators or parts of your own",
    )
