"""What a command has chosen for a work directory, so that the same command goes on and another one is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemnet.core.errors import UserError


def earlier_plan(file: Path, command: Mapping[str, Any], what: str = "training") -> dict[str, Any] | None:
    """The plan of an earlier call of the same command; None where there is none that can be read.

    Args:
        file: The plan, JSON with the settings of its command as "command".
        command: The settings of this call, as JSON has them.
        what: The work directory has, as people are told.

    Raises:
        UserError: The work directory has that of another command; names what differs.
    """
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
        before = plan["command"]
        different = [key for key in command if before.get(key) != command[key]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if different:
        told = ", ".join(f"{key} {before.get(key)!r}, now {command[key]!r}" for key in different)
        raise UserError(f"{file.parent}: has a {what} with other settings ({told}); name another directory with --work-dir")
    return dict(plan)
