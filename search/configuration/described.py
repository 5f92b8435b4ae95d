"""Every setting of a search: checked before anything is trained or downloaded, and listed for people."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gemnet.core.settings import REQUIRED, Setting, expected_name, markdown, settings_of
from search.configuration.settings import SECTIONS, check_settings
from search.core.checks import check
from search.core.registry import named_part
from search.core.types import SearchError
from search.encoders import ENCODERS
from search.evaluation.cost import COSTS, build_cost, check_latency, latency_settings
from search.evaluation.data import DATA_SETS
from search.evaluation.evaluators import PROXIES, Model
from search.evaluation.executor import build_executor
from search.predictors import PREDICTORS, build_predictor
from search.record.schedule import Schedule
from search.spaces.dag import SPACES, build_space


@dataclass(frozen=True)
class Choice:
    """The parts that a section's `type` names, and the name of the one that is taken if none is given."""

    parts: Mapping[str, Callable[..., Any]]
    default: Any = REQUIRED

    @classmethod
    def of(cls, parts: Mapping[str, Callable[..., Any]], build: Callable[..., Any]) -> Choice:
        """The default is that of the function that builds them."""
        return cls(parts, inspect.signature(build).parameters["type"].default)


CHOICES = {
    "space": Choice.of(SPACES, build_space),
    "encoder": Choice(ENCODERS),
    "predictor": Choice.of(PREDICTORS, build_predictor),
    "data": Choice(DATA_SETS),
    "proxy": Choice(PROXIES, "training"),
    "cost": Choice.of(COSTS, build_cost),
}
PLAIN: dict[str, Callable[..., Any]] = {"search": Schedule, "model": Model, "executor": build_executor}
"""Sections of one part."""
PAGE_HEAD = """# Settings of a search

Made by `python tools/search.py settings --out docs/settings.md` from the descriptions beside the parts. A config of
`configs/search` gives them as `encoder = dict(type="svge", dim=56)`, a command line as `--cfg-options encoder.type=svge
encoder.dim=56`; the defaults below are those of the parts, which a config may replace. A whole number is written without a
point (`3`, not `3.0`), True and False are no numbers, a list is written `[1,2]`, and no number is NaN or infinite.
"""


def described(section: str, name: str | None = None) -> dict[str, Setting]:
    """The settings of a section, but for its type; name: of the type, where it has several. Raises SearchError for an unknown
    name."""
    if section not in CHOICES:
        return settings_of(PLAIN[section])
    return settings_of(named_part(section, CHOICES[section].parts, name))


def check_search(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings of a search, each checked; source: where they are from, for messages.

    Raises SearchError for one that is unknown or missing, or may not be what it is. Whether they fit together, and whether
    files, devices and functions that they name are there, is told where the parts are built.
    """
    found = check_settings(dict(settings), source)
    try:
        for section in (*CHOICES, *PLAIN):
            found[section] = _checked(section, found[section], found)
    except SearchError as error:
        raise SearchError(f"{source}: {error}") from None
    return found


def _checked(section: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    looked_up = settings["proxy"].get("type") == "table"
    if section == "data" and looked_up and not given:
        return {}
    if section == "model" and looked_up:
        return check({name: replace(s, default=None) for name, s in described(section).items()}, given, section)
    if section not in CHOICES:
        found = check(described(section), given, section)
        if section == "search" and found.get("latency"):
            found["latency"] = check_latency(found["latency"])
        return found
    choice, rest = CHOICES[section], dict(given)
    name = rest.pop("type", choice.default)
    if name is REQUIRED:
        raise SearchError(f"{section}: setting 'type' is missing; {expected_name('', choice.parts)}")
    found = check(described(section, name), rest, section)
    if section == "predictor" and isinstance(found.get("predictor"), Mapping):
        found["predictor"] = _checked(section, found["predictor"], settings)
    return {**({"type": name} if "type" in given else {}), **found}


def tables(name: str | None = None) -> list[str]:
    """Markdown lines: the settings of all sections, of one ("encoder"), of one type of it ("encoder.svge"), or one setting
    ("search.start").

    Raises SearchError for an unknown name.
    """
    if name is None:
        lines = ["", "## All", "", *markdown({n: s for n, s in SECTIONS.items() if s.type is not dict})]
        for section in SECTIONS:
            lines += tables(section) if SECTIONS[section].type is dict else []
        return lines
    section, _, kind = name.partition(".")
    known = [*CHOICES, *PLAIN]
    if section not in known:
        raise SearchError(f"unknown section {name!r}; {expected_name(section, known)}")
    lines = ["", f"## {section}: {SECTIONS[section].meaning}"]
    if kind and section not in CHOICES:
        settings = described(section)
        if kind not in settings:
            raise SearchError(f"unknown setting {name!r}; {expected_name(kind, settings)}")
        return [*lines, "", *markdown({kind: settings[kind]}, f"{section}.")]
    if section not in CHOICES:
        lines += ["", *markdown(described(section), f"{section}.")]
        if section == "search":
            lines += ["", "Of `search.latency`, with which the time is measured here, or that of a function:", ""]
            lines += markdown({**latency_settings(False), **latency_settings(True)}, "search.latency.")
        return lines
    choice = CHOICES[section]
    if kind:
        named_part(section, choice.parts, kind)
    default = "must be given" if choice.default is REQUIRED else f"`{choice.default}` if not given"
    lines += ["", f"`{section}.type`: {', '.join(f'`{one}`' for one in choice.parts)}; {default}."]
    for one in [kind] if kind else choice.parts:
        settings = described(section, one)
        lines += ["", f"### {section}.type={one}", "", *(markdown(settings, f"{section}.") if settings else ["No settings."])]
    return lines


def page() -> str:
    """The page of all settings, Markdown."""
    return "\n".join([PAGE_HEAD.rstrip(), *tables(), ""])
