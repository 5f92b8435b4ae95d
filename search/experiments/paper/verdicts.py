"""Whether a row is ahead of others beyond chance: paired differences in standard errors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from gemnet.core.tables import markdown_table
from search.experiments.paper.summary import settings_of

ENOUGH = 2.0
"""Standard errors by which a row has to be ahead."""


def verdicts(summary: Mapping[str, Any], figure: str, against: Collection[str], unit: str = "", lower: bool = False) -> str:
    """Markdown, a line for each comparison with one of `against` and a column for each setting: yes where the row is ahead by
    ENOUGH standard errors of the paired difference, no where not, and by how many of them, and over how many seeds. Empty
    where none of `against` is measured.

    unit: after the settings of the head. lower: whether small figures are good. What one seed cannot tell is "not known".
    """
    settings = settings_of(summary)
    found = {
        (pair["row"], pair["against"], pair["setting"]): _verdict(pair, lower)
        for pair in summary["paired"]
        if pair["figure"] == figure and pair["against"] in against
    }
    if not found:
        return ""
    lines = [
        [f"{row} ahead of {other}", *(found.get((row, other, setting)) for setting in settings)]
        for row, other in dict.fromkeys(key[:2] for key in found)
    ]
    head = f"ahead by {ENOUGH:g} standard errors or more"
    return markdown_table([head, *(f"{setting}{unit}" for setting in settings)], lines)


def _verdict(pair: Mapping[str, Any], lower: bool) -> str:
    """In words, of one comparison and setting."""
    if not pair["deviation"]:
        return f"not known ({pair['count']} seed)" if pair["count"] == 1 else "not known"
    errors = (-1 if lower else 1) * pair["mean"] / (pair["deviation"] / math.sqrt(pair["count"]))
    return f"{'yes' if errors >= ENOUGH else '**no**'}, {errors:+.1f} ({pair['count']} seeds)"
