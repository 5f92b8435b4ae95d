"""Parts of a search by name: where the built-in ones are, and how one's own join them.

A config names a part in the `type` of a section: `encoder = dict(type="svge", dim=56)`. A part is a class or function; what it
takes besides its settings it gets by the names of its parameters (`Registry.offered`), as pytest's fixtures are. One's own part
is registered by a decorator in a module that the config names in `custom_imports`, or named by its import path,
`type="mine:MyEncoder"`. Records name parts too, and are no programs: reading one imports nothing of anybody's own.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from gemnet.core.own_modules import IMPORTED
from gemnet.core.settings import REQUIRED, Setting, expected_name, settings_of, shown
from search.core.checks import check
from search.core.own_modules import imported
from search.core.types import SearchError

Part = Callable[..., Any]
P = TypeVar("P", bound=Part)


class Registry:
    """The parts that one section of the settings chooses from."""

    def __init__(
        self, section: str, builtin: Mapping[str, str], offered: Sequence[str] = (), default: str | None = None
    ) -> None:
        """
        Args:
            section: of the settings, such as "encoder".
            builtin: name -> "module:attribute", imported when it is asked for.
            offered: names of what a part may take besides its settings, by parameters of these names.
            default: the name that is taken where none is given; None where one must be.
        """
        self.section, self.offered, self.default = section, tuple(offered), default
        self._builtin, self._registered = dict(builtin), dict[str, Part]()

    def __iter__(self) -> Iterator[str]:
        """The names, the built-in ones first."""
        return iter(dict.fromkeys([*self._builtin, *self._registered]))

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._registered

    def register(self, name: str) -> Callable[[P], P]:
        """Decorates a class or function: `type=name` means it from now on, also where a built-in part has that name."""

        def add(part: P) -> P:
            self._registered[name] = part
            return part

        return add

    def load(self, name: object) -> None:
        """Import the part that is named by its import path, "module:attribute", the working directory last on the path.

        This runs the module: only what a user wrote by hand may be given here. Raises SearchError where it cannot be had.
        """
        if isinstance(name, str) and ":" in name and name not in self:
            self._registered[name] = imported(name, f"{self.section}: type", "name")

    def part(self, name: object) -> Part:
        """The class or function called `name`. Raises SearchError for an unknown one, with the nearest and all known ones."""
        if isinstance(name, str) and name in self._registered:
            return self._registered[name]
        if isinstance(name, str) and name in self._builtin:
            return located(self._builtin[name])
        if isinstance(name, str) and ":" in name:
            module, _, attribute = name.partition(":")
            if module in IMPORTED and hasattr(sys.modules.get(module), attribute):  # by hand, and by this process
                return self.register(name)(getattr(sys.modules[module], attribute))
            raise SearchError(
                f"{self.section}: {shown(name)} is somebody's own and is not imported from a record; import it first:"
                f" --custom-imports {module}"
            )
        raise unknown_part(self.section, name, self)

    def settings(self, name: object) -> dict[str, Setting]:
        """The settings of a part: those that it describes (`gemnet.core.settings`), and its other keyword parameters, which may
        be anything. Raises SearchError for an unknown part."""
        part = self.part(name)
        described = settings_of(part)
        for parameter in _parameters(part) if name in self._registered else ():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.name not in described and parameter.name not in self.offered:
                default = REQUIRED if parameter.default is parameter.empty else parameter.default
                described[parameter.name] = Setting("", object, default=default, optional=True)
        return described

    def takes(self, name: object) -> tuple[str, ...]:
        """Which of the offered things a part takes. Raises SearchError for an unknown part."""
        names = {parameter.name for parameter in _parameters(self.part(name))}
        return tuple(offer for offer in self.offered if offer in names)

    def build(self, name: object, offers: Mapping[str, Callable[[], Any]], settings: Mapping[str, Any]) -> Any:
        """Make a part.

        Args:
            name: of the part.
            offers: name -> a function that gives the thing; called for what the part takes, after its settings are checked.
            settings: of the part.

        Raises:
            SearchError: for an unknown name, and for a setting that is unknown, missing, or may not be what it is.
        """
        checked = check(self.settings(name), settings, self.section)
        return self.part(name)(**{offer: offers[offer]() for offer in self.takes(name)}, **checked)


def located(location: str) -> Part:
    """What "module:attribute" names, of this project. Nothing of a user's own is imported so: see `imported`."""
    module, _, attribute = location.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _parameters(part: Part) -> list[inspect.Parameter]:
    return list(inspect.signature(part).parameters.values())


def named_part(what: str, known: Mapping[str, Any], name: object) -> Any:
    """`known[name]`. Raises SearchError for an unknown name, with the nearest and all known ones."""
    if not isinstance(name, str) or name not in known:
        raise unknown_part(what, name, known)
    return known[name]


def unknown_part(what: str, name: object, known: Iterable[str]) -> SearchError:
    """The error that tells of a name that no part has, with the nearest and all known ones."""
    return SearchError(f"unknown {what} {shown(name)}; {expected_name(name, known)}")


def build_part(section: str, part: Part, *arguments: Any, **settings: Any) -> Any:
    """`part(*arguments, **settings)`, with checked settings. Raises SearchError, with `section`, for one that does not do."""
    return part(*arguments, **check(settings_of(part), settings, section))
