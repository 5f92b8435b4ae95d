"""The settings of a part that was made, read back from it."""

from __future__ import annotations

import inspect
from typing import Any

from gemnet.core.settings import settings_of

NO_SETTINGS = ("space", "device")
"""Parameters that tell what a part is made for and where it computes, not what it is."""


def kept_settings(part: object) -> dict[str, Any]:
    """The parameters of a part's constructor, each as the attribute of the same name, as scikit-learn's estimators keep them;
    JSON values, so that tuples are lists.

    First those that the class takes for another (`**settings`). Left out are NO_SETTINGS.
    """
    own = [name for name, p in inspect.signature(type(part)).parameters.items() if p.kind is not p.VAR_KEYWORD]
    others = [name for name in settings_of(type(part)) if name not in own]
    found = {name: getattr(part, name) for name in (*others, *own) if name not in NO_SETTINGS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
