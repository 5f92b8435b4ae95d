"""A teacher's answers to views of images, as they lie on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gemnet.core.errors import DataError
from gemnet.pretraining.views import View, random_view, whole_view

KEPT = 32
"""Classes of an answer that are kept; the rest of the probability is shared by all others."""
WHOLE = -1
"""The number of the view that is the middle of an image."""


def record_type(kept: int, features: int = 0) -> np.dtype:
    """Of an answer: the likeliest classes, their probabilities, and pooled features, if any.

    An image that cannot be read has 0 for all of them.
    """
    pooled = [("features", "<f2", (features,))] if features else []
    return np.dtype([("classes", "<u2", (kept,)), ("scores", "<f2", (kept,)), *pooled])


def view_of(shape: tuple[int, int], seed: int, image: int, number: int) -> View:
    """The view of an image by its number."""
    return whole_view(shape) if number == WHOLE else random_view(shape, seed, image, number)


@dataclass(frozen=True)
class Question:
    """What a teacher is asked, and on what its answers depend.

    Attributes:
        teacher: Its name, digest, mean and std.
        images: Paths, in an order that stays.
        seed: Of the views.
        size: Height and width of what the teacher sees.
        kept: Classes an answer has.
        features: Pooled features an answer has; 0 for none.
    """

    teacher: tuple[str, str, tuple[float, ...], tuple[float, ...]]
    images: Sequence[str]
    seed: int
    size: int
    kept: int
    features: int = 0

    @cached_property
    def text(self) -> str:
        """All that the answers depend on, as JSON."""
        name, digest, mean, std = self.teacher
        asked = {
            "teacher": name, "digest": digest, "mean": mean, "std": std, "size": self.size, "seed": self.seed,
            "kept": self.kept, "images": len(self.images),
            "list": hashlib.sha256("\n".join(map(_identity, self.images)).encode()).hexdigest()[:16],
            **({"features": self.features} if self.features else {}),
        }  # fmt: skip
        return json.dumps(asked, indent=1)

    def targets(self, cache: Path) -> Targets:
        """Where the answers lie in a cache: a folder named by all that they depend on."""
        name = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        return Targets(cache / name, len(self.images), self.kept, self.features)


def _identity(path: str) -> str:
    """Of an image file: its name, length and time, so that a changed one is asked about again."""
    try:
        state = os.stat(path)
    except OSError:
        return path
    return f"{path} {state.st_size} {state.st_mtime_ns}"


@dataclass(frozen=True)
class Targets:
    """Answers to views of a list of images.

    Attributes:
        folder: Where they lie: `asked.json`, and `view_N.bin` a view.
        images: How many images the list has.
        kept: Classes an answer has.
        features: Pooled features an answer has; 0 for none.
    """

    folder: Path
    images: int
    kept: int
    features: int = 0

    @property
    def kind(self) -> np.dtype:
        """Of an answer."""
        return record_type(self.kept, self.features)

    def file(self, number: int) -> Path:
        """Of a view."""
        return self.folder / f"view_{'whole' if number == WHOLE else number}.bin"

    def there(self, numbers: Sequence[int]) -> int:
        """How many answers to these views are on the disk."""
        sizes = [file.stat().st_size if (file := self.file(number)).is_file() else 0 for number in numbers]
        return sum(min(size // self.kind.itemsize, self.images) for size in sizes)

    def size(self, views: int) -> int:
        """Bytes of the answers to so many views."""
        return views * self.images * self.kind.itemsize

    def read(self, number: int) -> np.ndarray:
        """The answers [images] to a view, of `kind`. Raises DataError where they are not whole."""
        try:
            found = np.memmap(self.file(number), self.kind, "r")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.file(number)}: cannot be read ({error}); remove it, and ask again") from error
        if len(found) != self.images:
            raise DataError(f"{self.file(number)}: has {len(found)} of {self.images} answers; ask again with the same command")
        return found
