"""Settings of the search's parts, described in their signatures (`gemnet.core.settings`), are checked where a part is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gemnet.core import settings
from gemnet.core.errors import UserError
from gemnet.core.settings import Part, Setting, check_settings
from search.core.types import SearchError


@contextmanager
def as_search_errors() -> Iterator[None]:
    """What is amiss with a setting is a SearchError here."""
    try:
        yield
    except SearchError:
        raise
    except UserError as error:
        raise SearchError(str(error)) from None


def check(described: Mapping[str, Setting], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`gemnet.core.settings.check_settings`, whose errors are SearchErrors."""
    with as_search_errors():
        return check_settings(described, given, where)


def takes_settings(section: str) -> Callable[[Part], Part]:
    """`gemnet.core.settings.takes_settings`, whose errors are SearchErrors."""
    return settings.takes_settings(section, as_search_errors)


def check_whole(what: str, least: int, most: int | None = None, **arguments: object) -> None:
    """Raises SearchError, with the name and the value, for an argument that is no whole number from `least` on, to `most` if
    that is given.

    what: whose arguments they are, such as "decoding"; may be empty.
    """
    setting = Setting("", int, at_least=least, at_most=most)
    with as_search_errors():
        for name, value in arguments.items():
            setting.check(f"{what}: {name}" if what else name, value)
