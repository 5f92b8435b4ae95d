"""Parts that a config chooses by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search.base import SearchError


def build_named(what: str, known: Mapping[str, Callable[..., Any]], name: str, *parts: Any, **settings: Any) -> Any:
    """`known[name](*parts, **settings)`. Raises SearchError for an unknown name, with the known ones, or an unknown setting."""
    if name not in known:
        raise SearchError(f"unknown {what} {name!r}; expected one of {', '.join(known)}")
    try:
        return known[name](*parts, **settings)
    except TypeError as error:
        raise SearchError(f"{what} {name!r}: {error}") from None
