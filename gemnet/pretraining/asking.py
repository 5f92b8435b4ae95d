"""Ask a teacher about views of images: each once, by one process or several, and a run that was stopped goes on.

Whoever asks about a view has the lock of its file, which the system lets go of when the process ends, however it ends. So two
commands may ask into one cache: each takes the views that nobody asks about, and waits for the others.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import BinaryIO, Iterator

import numpy as np
import torch

from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.core.locks import lock
from gemnet.core.machine import cores
from gemnet.core.progress import Progress
from gemnet.core.telling import tell
from gemnet.images.pixels import ImageError, read_image
from gemnet.pretraining.targets import KEPT, Question, Targets, view_of
from gemnet.pretraining.teachers import Teacher, load_teacher
from gemnet.pretraining.views import cut

BATCH = 64
WAIT = 0.5
"""Seconds between looks at a view that another process asks about."""
LARGEST = float(np.finfo(np.float16).max)


def question(
    teacher: Teacher, images: Sequence[str], seed: int = 0, size: int | None = None, features: bool = False
) -> Question:
    """What a teacher is asked. size: height and width of what it sees; None for what it was trained with."""
    about = (teacher.name, teacher.digest, teacher.mean, teacher.std)
    kept = min(KEPT, teacher.classes)
    return Question(about, images, seed, size or teacher.size, kept, teacher.features if features else 0)


def ask(
    teacher: Teacher,
    images: Sequence[str],
    numbers: Sequence[int],
    cache: Path,
    seed: int = 0,
    size: int | None = None,
    progress: Progress | None = None,
    features: bool = False,
    devices: Sequence[str] = (),
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
        features: Whether answers have the teacher's pooled features, too.
        devices: Where processes ask beside this one, view by view.

    Raises:
        UserError: The disk is full or cannot be written; what was asked stays.
    """
    asked = question(teacher, images, seed, size, features)
    targets = asked.targets(cache)
    helpers: list[tuple[str, BaseProcess]] = []
    try:
        targets.folder.mkdir(parents=True, exist_ok=True)
        missing = targets.size(len(numbers)) - targets.there(numbers) * targets.kind.itemsize
        if missing > (free := shutil.disk_usage(targets.folder).free):
            raise UserError(
                f"{cache}: the teacher's answers need {missing / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are free; make room "
                "or name another --cache, then go on with the same command"
            )
        save_text(targets.folder / "asked.json", asked.text + "\n")
        if missing and len(numbers) > 1:
            helpers = [(device, _helper(teacher.name, device, asked, numbers, cache, len(devices))) for device in devices]
        _ask_all(teacher, asked, targets, numbers, progress)
        for device, process in helpers:
            process.join()
            if process.exitcode:
                tell(f"asking on {device} ended early; the others did its part")
    except OSError as error:
        remedy = "make room or name another --cache, then go on with the same command"
        if error.errno == errno.ENOLCK:
            remedy = "no locks can be had there; name a --cache on another disk"
        raise UserError(f"{error.filename or targets.folder}: {error.strerror}; {remedy}") from error
    finally:
        for _, process in helpers:
            process.terminate()
    return targets


def _helper(name: str, device: str, asked: Question, numbers: Sequence[int], cache: Path, count: int) -> BaseProcess:
    """A process that asks as well."""
    arguments = (name, device, asked, list(numbers), cache, count, os.getpid())
    process = multiprocessing.get_context("spawn").Process(target=_help, args=arguments, daemon=True)
    process.start()
    return process


def _help(name: str, device: str, asked: Question, numbers: Sequence[int], cache: Path, count: int, parent: int) -> None:
    def watch(done: int, total: int, note: str = "") -> None:
        if os.getppid() != parent:
            sys.exit(1)

    torch.set_num_threads(max(1, cores() // (count + 1)))
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stderr = nowhere  # what is to be told, the first process tells
        _ask_all(load_teacher(name, device), asked, asked.targets(cache), numbers, watch, count + 1)


def _ask_all(
    teacher: Teacher, asked: Question, targets: Targets, numbers: Sequence[int], progress: Progress | None, share: int = 1
) -> None:
    """Ask about the views that nobody else asks about, then wait for the others, and finish what they leave."""
    with ThreadPoolExecutor(max(1, min(8, cores() // share))) as pool:
        for wait in (False, True):
            for number in numbers:
                with _locked(targets.file(number), wait, lambda: _tell_progress(targets, numbers, progress)) as file:
                    if file is not None:
                        _ask_view(
                            teacher, asked, number, targets, file, pool, lambda: _tell_progress(targets, numbers, progress)
                        )


def _tell_progress(targets: Targets, numbers: Sequence[int], progress: Progress | None) -> None:
    if progress:
        progress(targets.there(numbers), len(numbers) * targets.images)


@contextmanager
def _locked(path: Path, wait: bool, waiting: Callable[[], None]) -> Iterator[BinaryIO | None]:
    """The file, to append to, with its lock; None where another process has it and this one is not to wait."""
    with open(path, "ab") as file:
        told = False
        while not lock(file.fileno()):
            if not wait:
                yield None
                return
            if not told:
                tell(f"{path}: another process asks about this view; waiting for it")
                told = True
            waiting()
            time.sleep(WAIT)
        file.seek(0, os.SEEK_END)
        yield file


def _ask_view(
    teacher: Teacher,
    asked: Question,
    number: int,
    targets: Targets,
    file: BinaryIO,
    pool: ThreadPoolExecutor,
    progress: Callable[[], None],
) -> None:
    length, images = targets.kind.itemsize, asked.images
    there = min(file.tell() // length, len(images))
    file.truncate(there * length)  # an answer that a full disk or a kill has cut off
    for start in range(there, len(images), BATCH):
        batch = range(start, min(start + BATCH, len(images)))
        views = list(pool.map(lambda image: _view(asked, image, number), batch))
        file.write(_answers(teacher, views, targets.kind, asked.size).tobytes())
        file.flush()
        progress()


def _view(asked: Question, image: int, number: int) -> np.ndarray | None:
    """What the teacher sees of an image; None where that cannot be read."""
    try:
        pixels = read_image(asked.images[image])
    except ImageError:
        return None
    return cut(pixels, view_of(pixels.shape[:2], asked.seed, image, number), asked.size)


def _answers(teacher: Teacher, views: Sequence[np.ndarray | None], kind: np.dtype, size: int) -> np.ndarray:
    blank = np.zeros((size, size, 3), np.uint8)
    names = kind.names or ()
    scores, pooled = teacher.answer(np.stack([blank if view is None else view for view in views]), "features" in names)
    likeliest, classes = scores.topk(kind["scores"].shape[0])
    found = np.zeros(len(views), kind)
    found["classes"], found["scores"] = classes.numpy(), likeliest.numpy()
    if pooled is not None:
        found["features"] = pooled.clamp(-LARGEST, LARGEST).numpy()
    found[[view is None for view in views]] = 0
    return found
