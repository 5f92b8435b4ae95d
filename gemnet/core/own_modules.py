"""Modules of a user's own: how they are found and imported."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

IMPORTED: dict[str, None] = {}
"""Names of what `import_own` imported, in order."""


def search_working_directory() -> None:
    """Let imports find modules in the working directory, after all other places.

    This is for good: worker processes, which look for the modules as well, take over the path.
    """
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.append(directory)
    importlib.invalidate_caches()  # a module may have been written a moment ago


def import_own(module: str) -> ModuleType:
    """Import a user's module; the working directory counts, after all other places.

    This runs the module: only what a user wrote by hand may be given here, never what a file from elsewhere says. Raises
    whatever the module raises.
    """
    search_working_directory()
    imported = importlib.import_module(module)
    IMPORTED[module] = None
    return imported
