"""What needs an operator of mmcv that is not offered: told when it is made, not in the first iteration."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, NoReturn

from torch import nn

from gemnet.core.errors import UserError

PACKAGE = "mmcv.ops"


class OperatorError(UserError, NotImplementedError):
    """An operator of mmcv that is not offered here."""


def refusal(what: str) -> OperatorError:
    """The error that says `what` is the matter, why, and the remedy."""
    return OperatorError(
        f"{what}: mmcv was installed without its compiled operators, and gemnet stands in for those of mmdet's "
        "detectors only. To compile mmcv, unpack its source, set -std=c++20 in its setup.py where torch wants that, and there: "
        "MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --force-reinstall . (all commands: docs/mmdet.md)"
    )


def operators_of(thing: Any, names: Collection[str]) -> list[str]:
    """Those of the operators `names` that a class or function calls, itself or through what it uses of `mmcv.ops`.

    What looks whether its input `is_cuda` has another way on the CPU and is left out.
    """
    found: dict[str, None] = {}
    todo, seen = [thing], set()
    while todo:
        for function in _functions(todo.pop()):
            used = {name for code in _codes(function.__code__) for name in code.co_names}
            if function in seen or "is_cuda" in used:
                continue
            seen.add(function)
            if "ext_module" in used:
                found |= dict.fromkeys(sorted(used & set(names)))
            others = [function.__globals__[name] for name in used if name in function.__globals__]
            others += [
                vars(other)[name] for other in others if isinstance(other, ModuleType) for name in used & set(vars(other))
            ]
            todo += [other for other in others if _module(other).startswith(PACKAGE)]
    return list(found)


def _module(thing: Any) -> str:
    """Where a class, a function or an autograd function's `apply` was defined."""
    owner = getattr(thing, "__self__", thing)
    return str(getattr(owner, "__module__", None)) if callable(thing) else ""


def _functions(thing: Any) -> Iterator[FunctionType]:
    thing = getattr(thing, "__self__", thing)
    if isinstance(thing, type):
        for kind in thing.__mro__:
            if kind.__module__.startswith(PACKAGE):
                for value in vars(kind).values():
                    yield from _functions(getattr(value, "__func__", value)) if not isinstance(value, type) else ()
    elif isinstance(thing, FunctionType):
        yield thing


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def refuse_modules(names: Collection[str]) -> None:
    """Let each module class of `mmcv.ops` that calls one of the operators `names` say so when it is made."""
    for name, module in list(sys.modules.items()):
        if not name.startswith(f"{PACKAGE}."):
            continue
        for kind in list(vars(module).values()):
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == name:
                lacking = operators_of(kind, names)
                if lacking:
                    kind.__init__ = _refusing(kind.__init__, lacking)  # type: ignore[method-assign]  # of mmcv's class


def _refusing(initialiser: Callable[..., None], lacking: list[str]) -> Callable[..., None]:
    @functools.wraps(initialiser)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        raise refusal(f"{kind} needs {', '.join(map(repr, lacking))} of mmcv's operators, not offered here")

    return __init__


def replace_fallbacks() -> None:
    """Give modules of mmdet that were imported before there were operators what they asked `mmcv.ops` for.

    Such a module has put a function or class in its place that fails when it is used.
    """
    fallbacks = [
        (module, attribute)
        for name, module in list(sys.modules.items())
        if name.startswith("mmdet.")
        for attribute, value in list(vars(module).items())
        if getattr(value, "__module__", None) == name and _is_fallback(value)
    ]
    if fallbacks:
        import mmcv.ops
        import mmcv.ops.merge_cells

        offered = {**vars(mmcv.ops.merge_cells), **vars(mmcv.ops)}
        for module, attribute in fallbacks:
            setattr(module, attribute, offered.get(attribute.lstrip("_"), getattr(module, attribute)))


def _is_fallback(value: Any) -> bool:
    function = vars(value).get("__init__") if isinstance(value, type) else value
    return isinstance(function, FunctionType) and any(
        isinstance(constant, str) and "mmcv" in constant and "compiled" in constant for constant in function.__code__.co_consts
    )
