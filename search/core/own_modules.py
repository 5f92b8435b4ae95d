"""Modules of the user's own: found in the working directory as well, and known to the processes that evaluate candidates."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from gemnet.core.own_modules import IMPORTED, import_attribute, import_own
from search.core.checks import as_search_errors


def imported(path: str, setting: str, what: str = "function") -> Any:
    """What the import path "module:attribute" names. Raises SearchError, with the setting's name, where it cannot be had."""
    with as_search_errors():
        return import_attribute(path, setting, f"package.module:{what}")


class OwnModules:
    """The modules of the user's own that this process has imported. Where it is unpickled, it imports them: what is pickled
    after it, in one tuple, may need the operators and parts that they register."""

    def __init__(self) -> None:
        self.names = tuple(name for name in IMPORTED if name in sys.modules and _can_be_found(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return _import_all, (self.names,)

    def places(self) -> list[str]:
        """Their files, or the folders of packages: what another machine needs. Installed ones are there."""
        installed = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")]
        tops = dict.fromkeys(name.partition(".")[0] for name in self.names)
        files = [Path(file) for name in tops if (file := getattr(sys.modules[name], "__file__", None))]
        own = [file for file in files if not any(file.is_relative_to(place) for place in installed)]
        return [str(file.parent if file.name == "__init__.py" else file) for file in own]


def _can_be_found(name: str) -> bool:
    """Whether another process with this one's path finds the module: not what a notebook or a removed file once gave."""
    return PathFinder.find_spec(name.partition(".")[0]) is not None


def _import_all(names: Sequence[str]) -> OwnModules:
    for name in names:
        import_own(name)
    return OwnModules()
