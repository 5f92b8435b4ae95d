"""What a training checkpoint tells of its training beside the weights (`meta`), read as data."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Mapping
from typing import Any

from gemnet.checkpoints.reading import read_checkpoint

LONGEST = 1_000_000
"""Characters of a config beyond which it is not read: those of MMDetection have some 10,000."""


def checkpoint_meta(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """`meta` of a checkpoint of OpenMMLab; empty for a file of weights alone. Raises WeightsError where it cannot be read."""
    checkpoint = read_checkpoint(path)
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def checkpoint_recipe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """`recipe_of` a checkpoint's `meta`. Raises WeightsError where the file cannot be read."""
    return recipe_of(checkpoint_meta(path))


def recipe_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the training (`gemnet.openmmlab.recipe`), as `image_size`, in a checkpoint's config.

    The config is a Python program, which is not run: of `recipe = dict(name=value, ...)` the values that are plain are taken.
    Empty where there is none.
    """
    text = meta.get("cfg")
    if not isinstance(text, str) or len(text) > LONGEST:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd texts in the config
            statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and any(_is_named(target, "recipe") for target in statement.targets):
            found = _plain(statement.value)
    return found


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _plain(node: ast.expr) -> dict[str, Any]:
    """The plain values of `dict(name=value, ...)` or `{"name": value, ...}`, by name."""
    pairs: list[tuple[Any, ast.expr]]
    if isinstance(node, ast.Call) and _is_named(node.func, "dict"):
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Dict):
        pairs = [(key.value if isinstance(key, ast.Constant) else None, value) for key, value in zip(node.keys, node.values)]
    else:
        return {}
    found = {}
    for name, value in pairs:
        if isinstance(name, str):
            try:
                found[name] = ast.literal_eval(value)
            except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
                continue
    return found
