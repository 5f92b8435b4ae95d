"""Modules of a user's own: how they are found and imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from gemnet.core.errors import UserError

IMPORTED: dict[str, None] = {}
"""Names of what `import_own` imported, in order."""
_WHERE = "a module that is installed or lies in the working directory"


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


def import_attribute(path: str, setting: str, form: str) -> Any:
    """Import what an import path, "module:attribute", names; as `import_own`, for what a user wrote by hand alone.

    Args:
        path: the import path.
        setting: what names it, for messages.
        form: of the path, as "package.module:function".

    Raises:
        UserError: where it cannot be had.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_own(module), attribute)
    except Exception as error:  # a module is a program: whatever it raises is the user's to mend
        raise UserError(
            f"{setting} {path!r} cannot be had ({type(error).__name__}: {error}); expected {form}, of {_WHERE}"
        ) from error


def import_custom(modules: Iterable[str]) -> None:
    """Import modules of a config's `custom_imports`, or of a command's. Raises UserError for one that cannot be imported."""
    for module in modules:
        try:
            import_own(module)
        except Exception as error:  # as above
            raise UserError(
                f"custom_imports: {module!r} cannot be imported ({type(error).__name__}: {error}); expected {_WHERE}"
            ) from error
