"""Settings of a search: an mmengine config file, overridden on the command line, checked, as plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.configs import FOLDER, read_config
from gemnet.core.options import named
from gemnet.core.settings import expected_name, plain, shown
from search.configuration.checking import check_search
from search.core.parts import REGISTRIES
from search.core.types import SearchError


def load_settings(path: str | os.PathLike[str], options: Mapping[str, Any] | Sequence[str] | None = None) -> dict[str, Any]:
    """Read a config file (a Python program: run only what you trust), override it with `options`, and check every setting.

    These are {"space.num_nodes": 20}, or pairs as a command line has them, ["space.num_nodes=20"].

    An option that names another type ("encoder.type": "svge") leaves out the settings of the former one. Raises SearchError for
    a file that is missing or broken, and for settings of unknown name or wrong type; UserError for a pair that is none.
    """

    if not Path(path).is_file():
        known = sorted(str(p) for p in Path(path).parent.glob("*.py")) if Path(path).parent.is_dir() else []
        names = sorted(p.stem for p in (FOLDER / "search").glob("*.py"))
        near = "" if known or not os.fspath(path).isidentifier() else f"; {expected_name(os.fspath(path), names)}"
        raise SearchError(f"config {path} does not exist" + (f"; there are {', '.join(known)}" if known else near))
    options = named(options)
    try:
        config = read_config(path, import_custom_modules=False)  # `check_search` does
        for name, registry in REGISTRIES.items():
            type_ = options.get(f"{name}.type")
            former = config[name].get("type", registry.default) if isinstance(config.get(name), dict) else type_
            if type_ is not None and former != type_:
                config[name] = {}
        config.merge_from_dict(options)
        settings = _plain(config.to_dict())
    except Exception as error:  # a config is a program: whatever it raises is the user's to mend
        raise SearchError(f"config {path}: {type(error).__name__}: {error}") from error
    return check_search(settings, str(path))


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
