"""Settings of the search's parts, described in their signatures (`gemnet.settings`), are checked where a part is built."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from gemnet.errors import UserError
from gemnet.settings import Setting, check_settings, settings_of
from search.base import SearchError

Part = TypeVar("Part", bound=Callable[..., Any])


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
    """`gemnet.settings.check_settings`, whose errors are SearchErrors."""
    with as_search_errors():
        return check_settings(described, given, where)


def takes_settings(section: str) -> Callable[[Part], Part]:
    """Decorates a class or function: when it is called, arguments that are described as settings are checked.

    section: whose settings they are, for messages; may be empty. The call raises SearchError for a value that does not do.
    """

    def decorate(part: Part) -> Part:
        function = part.__init__ if isinstance(part, type) else part
        signature = inspect.signature(function)
        described = functools.cache(lambda: settings_of(part))

        @functools.wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            bound = signature.bind(*args, **given)
            with as_search_errors():
                for name in bound.arguments.keys() & described().keys():
                    place = f"{section}: {name}" if section else name
                    bound.arguments[name] = described()[name].check(place, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        if not isinstance(part, type):
            return checked  # type: ignore[return-value]
        part.__init__ = checked  # type: ignore[method-assign]
        return part

    return decorate


def check_whole(what: str, least: int, most: int | None = None, **settings: object) -> None:
    """Raises SearchError, with the name and the value, for an argument that is no whole number from `least` on, to `most` if
    that is given.

    what: whose arguments they are, such as "decoding"; may be empty.
    """
    setting = Setting("", int, at_least=least, at_most=most)
    with as_search_errors():
        for name, value in settings.items():
            setting.check(f"{what}: {name}" if what else name, value)
