"""KEY=VALUE pairs of a command line as settings by name."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from gemnet.core.errors import UserError


def named(given: Mapping[str, Any] | Sequence[str] | None, flag: str = "--cfg-options") -> dict[str, Any]:
    """Pairs KEY=VALUE -> {key: value}, values read as mmengine reads them; what is a mapping already, as it is.

    Raises UserError, naming `flag`, for what is no such pair.
    """
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    wrong = [pair for pair in given if not re.match(r"[^=]+=", pair)]
    if wrong:
        raise UserError(f"{flag}: {' '.join(wrong)}: expected KEY=VALUE")
    from mmengine.config import DictAction

    found: dict[str, Any] = {}
    for pair in given:
        read = Namespace()
        try:
            DictAction([flag], "settings", nargs="+")(ArgumentParser(), read, [pair], flag)
        except (AssertionError, RecursionError, IndexError):  # of its own parser, at brackets
            raise UserError(f"{flag}: {pair}: expected a number, a text, or a list such as [1,2] as the value") from None
        found |= read.settings
    return found
