"""A teacher's answers to views of images, on the disk: each is asked once, and a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemnet.core.errors import DataError, UserError
from gemnet.core.files import save_text
from gemnet.core.machine import cores
from gemnet.images.pixels import ImageError, read_image
from gemnet.pretraining.teachers import Teacher
from gemnet.pretraining.views import View, cut, random_view, whole_view

KEPT = 32
"""Classes of an answer that are kept; the rest of the probability is shared by all others."""
BATCH = 64
WHOLE = -1
"""The number of the view that is the middle of an image."""


def record_type(kept: int) -> np.dtype:
    """Of an answer: the likeliest classes, and their probabilities. An image that cannot be read has 0 for all of them."""
    return np.dtype([("classes", "<u2", (kept,)), ("scores", "<f2", (kept,))])


def view_of(shape: tuple[int, int], seed: int, image: int, number: int) -> View:
    """The view of an image by its number."""
    return whole_view(shape) if number == WHOLE else random_view(shape, seed, image, number)


@dataclass(frozen=True)
class Targets:
    """Answers to views of a list of images.

    Attributes:
        folder: Where they lie: `asked.json`, and `view_N.bin` a view.
        images: How many images the list has.
        kept: Classes an answer has.
    """

    folder: Path
    images: int
    kept: int

    def file(self, number: int) -> Path:
        """Of a view."""
        return self.folder / f"view_{'whole' if number == WHOLE else number}.bin"

    def read(self, number: int) -> np.ndarray:
        """The answers [images] to a view, of `record_type`. Raises DataError where they are not whole."""
        kind = record_type(self.kept)
        try:
            found = np.memmap(self.file(number), kind, "r")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.file(number)}: cannot be read ({error}); remove it, and ask again") from error
        if len(found) != self.images:
            raise DataError(f"{self.file(number)}: has {len(found)} of {self.images} answers; ask again with the same command")
        return found


def ask(
    teacher: Teacher,
    images: Sequence[str],
    numbers: Sequence[int],
    cache: Path,
    seed: int = 0,
    size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Targets:
    """Ask a teacher about views of images, but for what the cache has.

    Args:
        teacher: Whom.
        images: Paths, in an order that stays.
        numbers: Of the views; `WHOLE` is the middle of each image.
        cache: A folder; the answers lie in one below it that is named by all that they depend on.
        seed: Of the views.
        size: Height and width of what the teacher sees; None for what it was trained with.
        progress: Is told how many answers of how many there are.

    Raises:
        UserError: The disk is full or cannot be written; what was asked stays.
        DataError: No image can be read.
    """
    size = size or teacher.size
    kept = min(KEPT, teacher.classes)
    asked = {
        "teacher": teacher.name, "digest": teacher.digest, "mean": teacher.mean, "std": teacher.std, "size": size,
        "seed": seed, "kept": kept, "images": len(images),
        "list": hashlib.sha256("\n".join(map(_identity, images)).encode()).hexdigest()[:16],
    }  # fmt: skip
    text = json.dumps(asked, indent=1)
    targets = Targets(cache / hashlib.sha256(text.encode()).hexdigest()[:16], len(images), kept)
    done, total = 0, len(images) * len(numbers)
    try:
        targets.folder.mkdir(parents=True, exist_ok=True)
        save_text(targets.folder / "asked.json", text + "\n")
        with ThreadPoolExecutor(max(1, min(8, cores()))) as pool:
            for number in numbers:
                done = _ask_view(teacher, images, number, targets, seed, size, pool, done, total, progress)
    except OSError as error:
        remedy = "make room or name another --cache, then go on with the same command"
        raise UserError(f"{error.filename or targets.folder}: {error.strerror}; {remedy}") from error
    return targets


def _identity(path: str) -> str:
    """Of an image file: its name, length and time, so that a changed one is asked about again."""
    try:
        state = os.stat(path)
    except OSError:
        return path
    return f"{path} {state.st_size} {state.st_mtime_ns}"


def _ask_view(
    teacher: Teacher,
    images: Sequence[str],
    number: int,
    targets: Targets,
    seed: int,
    size: int,
    pool: ThreadPoolExecutor,
    done: int,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> int:
    kind = record_type(targets.kept)
    with open(targets.file(number), "ab") as file:
        there = min(file.tell() // kind.itemsize, len(images))
        file.truncate(there * kind.itemsize)  # an answer that a full disk or a kill has cut off
        done += there
        for start in range(there, len(images), BATCH):
            batch = range(start, min(start + BATCH, len(images)))
            views = list(pool.map(lambda image: _view(images[image], number, seed, image, size), batch))
            file.write(_answers(teacher, views, kind, size).tobytes())
            file.flush()
            done += len(batch)
            if progress:
                progress(done, total)
    return done


def _view(path: str, number: int, seed: int, image: int, size: int) -> np.ndarray | None:
    """What the teacher sees of an image; None where that cannot be read."""
    try:
        pixels = read_image(path)
    except ImageError:
        return None
    return cut(pixels, view_of(pixels.shape[:2], seed, image, number), size)


def _answers(teacher: Teacher, views: Sequence[np.ndarray | None], kind: np.dtype, size: int) -> np.ndarray:
    blank = np.zeros((size, size, 3), np.uint8)
    scores, classes = teacher(np.stack([blank if view is None else view for view in views])).topk(kind["scores"].shape[0])
    found = np.zeros(len(views), kind)
    found["classes"], found["scores"] = classes.numpy(), scores.numpy()
    found[[view is None for view in views]] = 0
    return found
