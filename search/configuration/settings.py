"""Settings of a search: an mmengine config file, overridden on the command line, checked, as plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.configs import read_config
from gemnet.core.options import named
from gemnet.core.settings import Setting, plain, shown
from search.core.checks import check
from search.core.types import SearchError

EXECUTION = ("executor", "search.encoder_cache")
"""Settings that change where and how fast a search runs, not what it finds."""

EVALUATION = ("seed", "data", "proxy", "model", "cost", "penalty")
"""Settings that decide what an evaluation gives."""

EXCHANGED = ("space", "encoder", "predictor", "data", "cost")
"""Sections whose `type` names one of several parts, each with settings of its own."""

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
}
"""Of every search; what is in those that are settings by name: see `search.configuration.described`."""


def load_settings(path: str | os.PathLike[str], options: Mapping[str, Any] | Sequence[str] | None = None) -> dict[str, Any]:
    """Read a config file (a Python program: run only what you trust), override it with `options`, and check every setting.

    These are {"space.num_nodes": 20}, or pairs as a command line has them, ["space.num_nodes=20"].

    An option that names another type ("encoder.type": "svge") leaves out the settings of the former one. Raises SearchError for
    a file that is missing or broken, and for settings of unknown name or wrong type; UserError for a pair that is none.
    """
    from search.configuration.described import check_search  # which knows all parts, and they this module

    if not Path(path).is_file():
        known = sorted(str(p) for p in Path(path).parent.glob("*.py")) if Path(path).parent.is_dir() else []
        raise SearchError(f"config {path} does not exist" + (f"; there are {', '.join(known)}" if known else ""))
    options = named(options)
    try:
        config = read_config(path)
        for name in EXCHANGED:
            type_ = options.get(f"{name}.type")
            if type_ is not None and isinstance(config.get(name), dict) and config[name].get("type") != type_:
                config[name] = {}
        config.merge_from_dict(options)
        settings = _plain(config.to_dict())
    except Exception as error:  # a config is a program: whatever it raises is the user's to mend
        raise SearchError(f"config {path}: {type(error).__name__}: {error}") from error
    return check_search(settings, str(path))


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


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON has it, so that settings compare equal after a round through the record; paths as texts."""
    value = os.fspath(value) if isinstance(value, os.PathLike) else plain(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise SearchError(f"expected plain values (numbers, strings, lists, dicts), found {shown(value)}")
