"""Settings of a search: an mmengine config file, overridden on the command line, checked, as plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.options import named
from search.base import SearchError

EXECUTION = ("executor", "search.encoder_cache")
"""Settings that change where and how fast a search runs, not what it finds."""

EVALUATION = ("seed", "data", "proxy", "model", "cost", "penalty")
"""Settings that decide what an evaluation gives."""

EXCHANGED = ("space", "encoder", "predictor", "data", "cost")
"""Sections whose `type` names one of several parts, each with settings of its own."""

SECTIONS: dict[str, type] = {
    "seed": int,
    "penalty": float,
    "space": dict,
    "encoder": dict,
    "predictor": dict,
    "data": dict,
    "proxy": dict,
    "search": dict,
    "cost": dict,
    "model": dict,
    "executor": dict,
}


def load_settings(path: str | os.PathLike[str], options: Mapping[str, Any] | Sequence[str] | None = None) -> dict[str, Any]:
    """Read a config file (a Python program: run only what you trust) and override it with `options`.

    These are {"space.num_nodes": 20}, or pairs as a command line has them, ["space.num_nodes=20"].

    An option that names another type ("encoder.type": "svge") leaves out the settings of the former one. Raises SearchError for
    a file that is missing or broken, and for settings of unknown name or wrong type; UserError for a pair that is none.
    """
    from mmengine.config import Config

    if not Path(path).is_file():
        known = sorted(str(p) for p in Path(path).parent.glob("*.py")) if Path(path).parent.is_dir() else []
        raise SearchError(f"config {path} does not exist" + (f"; there are {', '.join(known)}" if known else ""))
    options = named(options)
    try:
        config = Config.fromfile(str(path))
        for name in EXCHANGED:
            type_ = options.get(f"{name}.type")
            if type_ is not None and isinstance(config.get(name), dict) and config[name].get("type") != type_:
                config[name] = {}
        config.merge_from_dict(options)
        settings = _plain(config.to_dict())
    except Exception as error:  # a config is a program: whatever it raises is the user's to mend
        raise SearchError(f"config {path}: {type(error).__name__}: {error}") from error
    return check_settings(settings, str(path))


def check_settings(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """The settings, if every section is there and known. Raises SearchError otherwise."""
    unknown = sorted(set(settings) - set(SECTIONS))
    if unknown:
        raise SearchError(f"{source}: unknown setting {unknown[0]!r}; expected {', '.join(SECTIONS)}")
    for name, kind in SECTIONS.items():
        if name not in settings:
            raise SearchError(f"{source}: setting {name!r} is missing")
        value = settings[name]
        if isinstance(value, bool) or not (isinstance(value, kind) or (kind is float and isinstance(value, int))):
            raise SearchError(f"{source}: {name}: expected {kind.__name__}, found {value!r}")
    if settings["seed"] < 0 or settings["penalty"] < 0:
        raise SearchError(f"{source}: seed and penalty must not be negative")
    return settings


def is_positive(value: object) -> bool:
    """Whether a setting is a number above 0, and finite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a search finds."""
    search = {name: value for name, value in settings["search"].items() if f"search.{name}" not in EXECUTION}
    return {name: value for name, value in {**settings, "search": search}.items() if name not in EXECUTION}


def evaluation_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what an evaluation gives."""
    return {name: settings[name] for name in EVALUATION}


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON has it, so that settings compare equal after a round through the record."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise SearchError(f"expected plain values (numbers, strings, lists, dicts), found {value!r}")
