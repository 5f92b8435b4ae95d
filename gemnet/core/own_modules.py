"""Modules of a user's own: how they are found and imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from types import ModuleType

from gemnet.core.errors import UserError

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


def import_custom(modules: Iterable[str]) -> None:
    """Import modules of a config's `custom_imports`, or of a command's. Raises UserError for one that cannot be imported."""
    for module in modules:
        try:
            import_own(module)
        except Exception as error:  # a module is a program: whatever it raises is the user's to mend
            raise UserError(
                f"custom_imports: {module!r} cannot be imported ({type(error).__name__}: {error}); expected a module that is"
                " installed or lies in the working directory"
            ) from error
