"""What a reader of annotations met: entries that it mended and entries that it cannot take, counted by kind."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

TOLD = 3


@dataclass
class Finding:
    """How many entries are of one kind, and the first `TOLD` of them, each with its place, id and value."""

    kind: str
    count: int = 0
    first: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.kind}: {self.count}, first {'; '.join(self.first)}{'; ...' if self.count > len(self.first) else ''}"


class Hint(Finding):
    """What a whole file looks like: one sentence, no entries."""

    def __str__(self) -> str:
        return self.kind


class Findings:
    """Findings by kind, in the order in which the kinds were met."""

    def __init__(self) -> None:
        self._kinds: dict[str, Finding] = {}

    def add(self, kind: str, entry: str = "", value: Any = ...) -> None:
        """Count `entry`, such as `annotations[3] (id 4)`, under `kind`, with the value that was found there."""
        finding = self._kinds.setdefault(kind, Finding(kind))
        finding.count += 1
        if len(finding.first) < TOLD:
            finding.first.append(entry if value is ... else f"{entry}: {shown(value)}" if entry else shown(value))

    def hint(self, text: str) -> None:
        """Say what the whole file looks like."""
        self._kinds.setdefault(text, Hint(text))

    def merge(self, findings: Iterable[Finding]) -> None:
        """Add what another reading met."""
        for other in findings:
            if isinstance(other, Hint):
                self.hint(other.kind)
                continue
            finding = self._kinds.setdefault(other.kind, Finding(other.kind))
            finding.count += other.count
            finding.first += other.first[: TOLD - len(finding.first)]

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def __iter__(self) -> Any:
        return iter(self._kinds.values())


def shown(value: Any, longest: int = 60) -> str:
    """A value as a message shows it, in one line and not too long."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (RecursionError, ValueError):  # nested too deep; a whole number with too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= longest else text[: longest - 3] + "..."


def plain_name(name: str) -> str:
    """A name without spaces around it and with single ones in it, as names of classes are compared."""
    return " ".join(name.split())


def number(value: Any) -> float | int | None:
    """A finite number, also one written as text; None for anything else."""
    if type(value) is float:  # most are
        return value if math.isfinite(value) else None
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", value, re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond the floats
        return None


def whole_number(value: Any) -> int | None:
    """A whole number of 64 bits, also one written as text, '7', or as a fraction, 7.0; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63 else None
