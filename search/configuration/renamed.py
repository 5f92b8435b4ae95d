"""Settings that had another name once: old configs and records still open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER = {("search", "trust"): "measured_weight", ("search", "optimism"): "ucb_beta"}
"""(section, former name) -> name."""


def with_present_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, those with a former name under the present one, which counts where both are given."""
    present = dict(settings)
    for (section, former), name in FORMER.items():
        given = present.get(section)
        if isinstance(given, Mapping) and former in given:
            rest = {key: value for key, value in given.items() if key != former}
            present[section] = {name: given[former], **rest}
    return present
