"""Every setting of a search, checked before anything is trained or downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gemnet.core.own_modules import import_custom
from gemnet.core.settings import Setting, expected_name, settings_of
from gemnet.operators import NAMES, load
from search.configuration.renamed import with_present_names
from search.configuration.sections import check_settings
from search.core.checks import as_search_errors, check
from search.core.parts import EVALUATORS, REGISTRIES
from search.core.registry import located
from search.core.types import SearchError

PLAIN = {
    "search": "search.configuration.schedule:Schedule",
    "model": "search.configuration.model:Model",
    "executor": "search.evaluation.executor:build_executor",
}
"""Sections of one part, and where it is."""


def described(section: str, name: str | None = None) -> dict[str, Setting]:
    """The settings of a section, but for its type; name: of the type, where it has several. Raises SearchError for an unknown
    name."""
    return settings_of(located(PLAIN[section])) if section in PLAIN else REGISTRIES[section].settings(name)


def check_search(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check each setting of a search, and import the parts of the user's own that they name.

    Whether settings fit together, and whether files, devices and functions that they name are there, is told where the parts
    are built. What is imported runs: settings from a record, which is no program, are not for this function.

    Args:
        settings: from a config or a caller.
        source: where they are from, for messages.

    Returns:
        The same settings, as Python's own values.

    Raises:
        SearchError: for one that is unknown or missing, or may not be what it is, and for a part that cannot be imported.
    """
    found = check_settings(with_present_names(settings), source)
    try:
        with as_search_errors():
            import_custom(_custom_imports(found))
        for section in (*REGISTRIES, *PLAIN):
            found[section] = _checked(section, found[section], found)
    except SearchError as error:
        raise SearchError(f"{source}: {error}") from None
    return found


def _custom_imports(settings: dict[str, Any]) -> list[str]:
    """Of the settings, which keep them only where there are some."""
    given = settings.pop("custom_imports", {}).get("imports", [])
    modules = [given] if isinstance(given, str) else given
    if modules:
        settings["custom_imports"] = {"imports": modules}
    return modules


def _checked(section: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    if section in ("data", "model"):
        proxy = settings["proxy"].get("type", EVALUATORS.default)
        EVALUATORS.load(proxy)
        if section not in EVALUATORS.takes(proxy):
            return _unused(section, given)
    if section in PLAIN:
        found = check(described(section), given, section)
        if found.get("latency"):
            found["latency"] = located("search.evaluation.cost:check_latency")(found["latency"])
        return found
    registry, rest = REGISTRIES[section], dict(given)
    name = rest.pop("type", registry.default)
    if name is None:
        raise SearchError(f"{section}: setting 'type' is missing; {expected_name('', registry)}")
    registry.load(name)
    if section == "space":
        _load_operators(rest.get("operators"))
    found = check(described(section, name), rest, section)
    if section == "predictor" and isinstance(found.get("predictor"), Mapping):
        found["predictor"] = _checked(section, found["predictor"], settings)
    return {**({"type": name} if "type" in given else {}), **found}


def _load_operators(names: Any) -> None:
    """Import the operators of a space that are named by their import paths."""
    with as_search_errors():
        for name in names if isinstance(names, (list, tuple)) else ():
            if isinstance(name, str) and ":" in name and name not in NAMES:
                load(name)


def _unused(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A section that the evaluator does not take: images must not be given, a model may, since cells can make models anyway."""
    if section == "data":
        return dict(given)  # `evaluator_of` refuses what is there
    return check({name: replace(s, default=None) for name, s in described(section).items()}, given, section)
