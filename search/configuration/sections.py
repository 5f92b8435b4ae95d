"""The sections of a search's settings, and what each of them decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemnet.core.settings import Setting
from search.core.checks import check

EXECUTION = ("executor", "search.encoder_cache")
"""Settings that change where and how fast a search runs, not what it finds."""

EVALUATION = ("seed", "data", "proxy", "model", "cost", "penalty")
"""Settings that decide what an evaluation gives."""

SECTIONS: dict[str, Setting] = {
    "seed": Setting("of all that a search draws", int, at_least=0),
    "penalty": Setting("lambda in the score, accuracy less lambda times log10 of the cost (Eq. 5)", float, at_least=0),
    "space": Setting("of cells", dict),
    "encoder": Setting("of cells as vectors", dict),
    "predictor": Setting("of scores", dict),
    "data": Setting("images that candidates are trained on", dict),
    "proxy": Setting("how a candidate's accuracy is found", dict),
    "search": Setting("how many candidates are evaluated, and which", dict),
    "cost": Setting("what the score counts as cost", dict),
    "model": Setting("the budget of the models to come", dict),
    "executor": Setting("where candidates are evaluated", dict),
    "custom_imports": Setting(
        "modules that register parts or operators of one's own, imported first",
        dict,
        default={},
        fields={
            "imports": Setting("names of modules", list, item=Setting("", str), alone=True),
            "allow_failed_imports": Setting("as MMEngine's configs have it; only False does", bool, False, choices=(False,)),
        },
    ),
}
"""Of every search; what is in those that are settings by name: see `search.configuration.checking`."""


def check_settings(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """The settings, if every section is there and known, whatever is in it. Raises SearchError otherwise."""
    return check(SECTIONS, settings, source)


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a search finds."""
    search = {name: value for name, value in settings["search"].items() if f"search.{name}" not in EXECUTION}
    return {name: value for name, value in {**settings, "search": search}.items() if name not in EXECUTION}


def evaluation_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what an evaluation gives."""
    return {name: settings[name] for name in EVALUATION}
