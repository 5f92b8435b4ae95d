"""Parts that a config chooses by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gemnet.core.settings import expected_name, settings_of, shown
from search.core.checks import check
from search.core.types import SearchError


def build_named(what: str, known: Mapping[str, Callable[..., Any]], name: str, *parts: Any, **settings: Any) -> Any:
    """`known[name](*parts, **settings)`. Raises SearchError for an unknown name, with the known ones, and for a setting that is
    unknown, missing, or may not be what it is (`gemnet.core.settings`)."""
    part = named_part(what, known, name)
    return part(*parts, **check(settings_of(part), settings, what))


def named_part(what: str, known: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """`known[name]`. Raises SearchError for an unknown name, with the nearest and all known ones."""
    if not isinstance(name, str) or name not in known:
        raise SearchError(f"unknown {what} {shown(name)}; {expected_name(name, known)}")
    return known[name]
