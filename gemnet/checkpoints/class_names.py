"""Names of classes: what a checkpoint says that its model predicts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gemnet.checkpoints.meta import checkpoint_meta

Colour = tuple[int, int, int]


class ClassNames(NamedTuple):
    """The names in the order of the labels, and their colours (red, green, blue), None where the checkpoint has none."""

    classes: tuple[str, ...] | None
    palette: tuple[Colour, ...] | None


def checkpoint_classes(path: str | os.PathLike[str]) -> ClassNames:
    """`classes_of` a checkpoint's `meta`. Raises WeightsError where the file cannot be read."""
    return classes_of(checkpoint_meta(path))


def classes_of(meta: Mapping[str, Any]) -> ClassNames:
    """The classes in the `meta` of a training of mmengine (`dataset_meta`), or of OpenMMLab before it (`CLASSES`).

    Both are None for the empty `meta` of a file of weights alone.
    """
    data = meta.get("dataset_meta")
    data = data if isinstance(data, Mapping) else {}
    found: tuple[Any, ...] = (data.get("classes"), data.get("CLASSES"), meta.get("classes"), meta.get("CLASSES"))
    classes = next((tuple(names) for names in found if _are_names(names)), None)
    palette: Any = data.get("palette", data.get("PALETTE"))
    fits = classes is not None and _is_list(palette) and len(palette) >= len(classes) and all(map(_is_colour, palette))
    return ClassNames(classes, tuple(tuple(colour) for colour in palette) if fits else None)


def difference(classes: Sequence[str], others: Sequence[str], told: int = 8) -> str:
    """How names differ, as 'has another order of classes (blue, red; not red, blue)'."""
    one, other = (", ".join(list(names)[:told]) + ", ..." * (len(names) > told) for names in (classes, others))
    kind = f"{len(classes)} classes, not {len(others)}" if len(classes) != len(others) else "other classes"
    kind = "another order of classes" if sorted(classes) == sorted(others) else kind
    return f"has {kind} ({one}; not {other})"


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _are_names(value: Any) -> bool:
    return _is_list(value) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _is_colour(value: Any) -> bool:
    return _is_list(value) and len(value) == 3 and all(type(part) is int and 0 <= part < 256 for part in value)
