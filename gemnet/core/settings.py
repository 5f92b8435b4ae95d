"""Settings described once: type, range, unit, default and meaning; checked, refused with a remedy, and listed from there."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import os
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from gemnet.core.errors import UserError
from gemnet.core.tables import markdown_table

REQUIRED: Any = inspect.Parameter.empty
"""The default of a setting that has none: it must be given."""
LARGEST = 2**63 - 1
"""No whole number may be larger: arrays, random generators and records hold 64 bits."""
Part = TypeVar("Part", bound=Callable[..., Any])
COLUMNS = ("setting", "type", "range", "unit", "default", "meaning")
"""Of the table that `markdown` makes."""
WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
    list: ("a list", "lists"),
    dict: ("settings by name", "settings by name"),
    object: ("a value", "values"),
}
"""One value of a type, and several."""


@dataclass(frozen=True)
class Setting:
    """What one setting may be.

    meaning: one sentence. type: int, float, bool, str, list, dict, or Path for a path as text; `settings_of` takes it from an
    annotation. default: REQUIRED for one that must be given. optional: None is taken too. at_least, above, at_most, below: the
    range of a number, closed at the first and third. unit: of a number. choices: the values there are, if not all of the type.
    also: values taken besides those of the type, such as "auto". item: of a list, what each value may be. length: of a list,
    how many values, least and most. alone: whether one value will do in the place of a list. fields: of a dict, its settings;
    None for any.

    True and False are no numbers, 3.0 is no whole number, a text is no list, and no number is NaN or infinite.
    """

    meaning: str
    type: Any = None
    default: Any = REQUIRED
    optional: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    unit: str = ""
    choices: Collection[Any] = ()
    also: tuple[Any, ...] = ()
    item: Setting | None = None
    length: tuple[int, int | None] = (0, None)
    alone: bool = False
    fields: Mapping[str, Setting] | None = None

    def check(self, name: str, value: Any) -> Any:
        """The value as Python's own: scalars of NumPy as numbers, tuples and arrays as lists.

        Raises UserError, with name, value and what is expected, for one that the setting may not be.
        """
        value = plain(value)
        if (value is None and self.optional) or any(type(value) is type(word) and value == word for word in self.also):
            return value
        if self.type is dict and isinstance(value, Mapping):
            return dict(value) if self.fields is None else check_settings(self.fields, value, name)
        if self.type is list and isinstance(value, (list, tuple)):
            value = list(value)
            least, most = self.length
            if len(value) < least or (most is not None and len(value) > most):
                raise self._error(name, value)
            return (
                [self.item.check(f"{name}: value {place}", one) for place, one in enumerate(value, 1)] if self.item else value
            )
        if self.type is list and self.alone and self.item and self.item._is_one(value):
            return value
        if not self._is_one(value):
            raise self._error(name, value)
        return os.fspath(value) if self.type is Path else value

    def expected(self) -> str:
        """What the setting may be, in words, such as "a whole number from 1 to 8, or 'auto'"."""
        others = [repr(word) for word in self.also] + ["None"] * self.optional
        one = [self.item._words(0)] if self.alone and self.item else []
        return ", or ".join([*one, self._words(0), *others])

    def range(self) -> str:
        """The range in words, such as "from 1 to 8", or the choices; empty where there is neither."""
        if self.choices:
            return " or ".join(map(str, self.choices)) if self.type is not str else f"one of {listed(self.choices)}"
        low = f"from {_short(self.at_least)}" if self.at_least is not None else ""
        low = f"above {_short(self.above)}" if self.above is not None else low
        high = f"{'to' if low else 'at most'} {_short(self.at_most)}" if self.at_most is not None else ""
        high = f"{'to ' if low else ''}below {_short(self.below)}" if self.below is not None else high
        return f"{low} {high}".strip()

    def kind(self) -> str:
        """The type, as tables have it, such as "list of int, or None"."""
        name = {Path: "path"}.get(self.type, self.type.__name__)
        name += f" of {self.item.kind()}" if self.type is list and self.item else ""
        one = [self.item.kind()] if self.alone and self.item else []
        return ", or ".join([*one, name, *(repr(word) for word in self.also), *["None"] * self.optional])

    def _words(self, number: int) -> str:
        """What the type and the range allow; number: 0 for one value, 1 for several."""
        if self.choices:
            return f"values among {', '.join(map(str, self.choices))}" if number else self.range()
        words = [WORDS[self.type][number], self.range()]
        if self.item:
            least, most = self.length
            words += ["of", "" if not least else str(least) if least == most else f"{least} or more", self.item._words(1)]
        return " ".join(word for word in words if word)

    def _is_one(self, value: Any) -> bool:
        if self.choices:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if self.type in (int, float):
            return self._is_number(value)
        if self.type is Path:
            return isinstance(value, os.PathLike) or (isinstance(value, str) and value != "" and "\0" not in value)
        return isinstance(value, self.type) and value != ""

    def _is_number(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.type is int else (int, float)):
            return False
        try:
            finite = abs(value) <= LARGEST if self.type is int else math.isfinite(float(value))
        except OverflowError:
            return False
        return (
            finite
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def _error(self, name: str, value: Any) -> UserError:
        remedy = ""
        if self.type is int and isinstance(value, float) and value.is_integer() and self._is_number(int(value)):
            remedy = f"; write {int(value)}"
        elif self.type is list and self.item and self.item.type is str and isinstance(value, str):
            remedy = f"; write [{shown(value)}]"
        elif self.type is str and (near := _nearest(value, self.choices)):
            remedy = f"; did you mean {near}?"
        return UserError(f"{name}: expected {self.expected()}, found {shown(value)}{remedy}")


def check_settings(described: Mapping[str, Setting], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings that are given, each checked, in their order; defaults are not filled in.

    where: what they are settings of, for messages; may be empty. Raises UserError for what is no mapping, an unknown name, with
    the nearest known one, for a setting that is required and missing, and for a value that a setting may not be.
    """
    place = f"{where}: " if where else ""
    if not isinstance(given, Mapping):
        raise UserError(f"{place}expected settings by name, found {shown(given)}")
    for name in given:
        if name not in described:
            raise UserError(f"{place}unknown setting {shown(name)}; {expected_name(name, described)}")
    for name, setting in described.items():
        if setting.default is REQUIRED and name not in given:
            raise UserError(f"{place}setting {name!r} is missing: {setting.meaning}; expected {setting.expected()}")
    return {name: described[name].check(f"{place}{name}", value) for name, value in given.items()}


def expected_name(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, if one is near, and all of them."""
    known = list(known)
    near = _nearest(name, known)
    told = f"expected one of {listed(known)}" if known else "there are none"
    return f"did you mean {near}? {told[0].upper()}{told[1:]}" if near else told


def listed(names: Iterable[str], most: int = 40) -> str:
    """Names for a message: all of them, or of more than `most` the first dozen and how many there are beside."""
    names = list(names)
    return ", ".join(names if len(names) <= most else [*names[:12], f"and {len(names) - 12} more"])


def _nearest(name: object, known: Iterable[str]) -> str:
    """Of known names, quoted; empty where none is near."""
    near = difflib.get_close_matches(name[:100], list(known), 1) if isinstance(name, str) else []
    return repr(near[0]) if near else ""


def shown(value: object) -> str:
    """A value for a message, on one line, however long or deep it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    try:
        return short.repr(value).replace("\n", " ")
    except Exception:  # of a class's own __repr__, or of an integer of thousands of digits
        return f"a value of type {type(value).__name__}"


def settings_of(part: Callable[..., Any]) -> dict[str, Setting]:
    """The settings of a class or function: its parameters annotated as `Annotated[type, Setting(...)]`, in their order.

    Types come from the annotations, where a Setting has none of its own, and defaults from the signature; parameters without a
    Setting are no settings. What takes more for another part, as `**more: Annotated[Any, other]`, has the other's as well.
    """
    return dict(_settings_of(part))


def _called(part: Callable[..., Any]) -> Callable[..., Any]:
    """What a call of `part` runs with its arguments: a class's initialiser, a function itself."""
    return part.__init__ if isinstance(part, type) else part  # type: ignore[misc]  # a class's own, which it is asked for


@functools.cache
def _settings_of(part: Callable[..., Any]) -> dict[str, Setting]:
    takes = _called(part)
    fields = {field.name: field for field in dataclasses.fields(part)} if dataclasses.is_dataclass(part) else {}
    hints = typing.get_type_hints(part if fields else takes, include_extras=True)
    found: dict[str, Setting] = {}
    for parameter in inspect.signature(takes).parameters.values():
        annotation = hints.get(parameter.name)
        if not hasattr(annotation, "__metadata__"):  # Python 3.10 puts what has the default None into an Optional
            annotation = next((one for one in typing.get_args(annotation) if hasattr(one, "__metadata__")), annotation)
        for told in getattr(annotation, "__metadata__", ()):
            if isinstance(told, Setting):
                field, default = fields.get(parameter.name), parameter.default
                if field is not None and field.default_factory is not dataclasses.MISSING:
                    default = field.default_factory()
                found[parameter.name] = replace(_typed(told, typing.get_args(annotation)[0]), default=default)
            elif parameter.kind is parameter.VAR_KEYWORD and callable(told):
                found |= {name: setting for name, setting in settings_of(told).items() if name not in found}
    return found


def takes_settings(
    section: str = "", errors: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Callable[[Part], Part]:
    """Decorates a class or function: when it is called, arguments that `settings_of` it are checked.

    section: whose settings they are, for messages; may be empty. errors: a context that may turn the errors into others. The
    call raises UserError for a value that does not do.
    """

    def decorate(part: Part) -> Part:
        function = _called(part)
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            bound = signature.bind(*args, **given)
            with errors():
                for name, setting in _settings_of(part).items():
                    if name in bound.arguments:
                        place = f"{section}: {name}" if section else name
                        bound.arguments[name] = setting.check(place, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        if not isinstance(part, type):
            return checked  # type: ignore[return-value]
        part.__init__ = checked  # type: ignore[misc]  # the class itself is decorated
        return part

    return decorate


def markdown(described: Mapping[str, Setting], prefix: str = "", narrow: bool = False) -> list[str]:
    """The lines of a Markdown table, one row a setting; settings of a dict follow it.

    prefix: of the names, as "encoder.". narrow: whether columns that are empty in every row are left out.
    """
    rows = list(_rows(described, prefix))
    kept = [place for place in range(len(COLUMNS)) if not narrow or any(row[place] for row in rows)]
    return markdown_table([COLUMNS[place] for place in kept], [[row[place] for place in kept] for row in rows]).splitlines()


def _rows(described: Mapping[str, Setting], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, s in described.items():
        default = "required" if s.default is REQUIRED else f"`{_default(s)}`"
        within = (s.item.range() or s.range()) if s.item else s.range()
        yield f"`{prefix}{name}`", s.kind(), within, s.unit or (s.item.unit if s.item else ""), default, s.meaning
        if s.fields:
            yield from _rows(s.fields, f"{prefix}{name}.")


def _default(setting: Setting) -> str:
    value = setting.default
    if isinstance(value, tuple):
        value = list(value)
    return _short(value) if isinstance(value, float) else repr(value)


def _typed(setting: Setting, annotation: Any) -> Setting:
    """With the type that an annotation tells, where the setting has none of its own."""
    if setting.type is not None:
        return setting
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = list(typing.get_args(annotation)) if union else [annotation]
    optional = type(None) in options
    first = next(option for option in options if option is not type(None))
    origins = [typing.get_origin(option) or option for option in options]
    if os.PathLike in origins:
        return replace(setting, type=Path, optional=optional)
    origin, inner = typing.get_origin(first) or first, typing.get_args(first)
    if origin is Literal:
        return replace(setting, type=type(inner[0]), choices=inner, optional=optional)
    if issubclass(origin, Mapping):
        return replace(setting, type=dict, optional=optional)
    if issubclass(origin, Collection) and origin is not str:
        return replace(setting, type=list, optional=optional, item=setting.item or Setting("", inner[0]))
    return replace(setting, type=origin, optional=optional)


def plain(value: Any) -> Any:
    """Scalars and arrays of NumPy and tensors as Python's own."""
    tolist = None if isinstance(value, Mapping) else getattr(value, "tolist", None)
    return tolist() if callable(tolist) else value


def _short(number: Any) -> str:
    """A number as people write it: 1e-4 as 0.0001, 463000000.0 as 4.63e+08."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e6:
        return str(int(number)) if number else "0"
    return f"{number:g}" if isinstance(number, float) else str(number)
