"""What a pretraining would cost on this machine: its answers' room, and the time of asking and of training."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.config import Config

from gemnet.core.errors import DataError
from gemnet.openmmlab import pace
from gemnet.pretraining import images as lists
from gemnet.pretraining.asking import BATCH, ask, question
from gemnet.pretraining.run import class_names, prepare_labels, training_told
from gemnet.pretraining.settings import TRAIN, Choice, set_classes, set_lists, set_targets, settled
from gemnet.pretraining.targets import Question, Targets
from gemnet.pretraining.teachers import Teacher, load_teacher

SAMPLE = 2048
"""Images that are read, from all over the folders."""
SECONDS = 20.0
"""The teacher is timed for about so long."""


def estimate(choice: Choice, cache: Path) -> str:
    """What a pretraining would cost, for people: a line each for the answers, asking, training. Nothing is left of it.

    Args:
        choice: What would be trained.
        cache: Where the answers would lie.

    Raises:
        UserError: Something given does not fit, or there is not a batch of images.
        DataError: There are no images.
    """
    choice, settings = settled(choice)
    with TemporaryDirectory(prefix="estimate_") as folder:
        place = Path(folder)
        set_lists(settings, place)
        if choice.supervised:
            count = prepare_labels(choice, settings, place, place)["train"]
            lines = []
        else:
            images = lists.unlabelled(choice.folders)
            count = len(images) - len(lists.held_out(len(images), choice.seed))
            lines = _of_answers(choice, settings, place, images, cache)
        told = training_told(choice, settings, count)
        rate = pace.measured(settings).rate
    seen = settings.epochs * count * (choice.views or 1)
    if choice.minutes is None:
        told += f": {pace.times_told(seen, rate, choice.processes or 1)}"
    return "\n".join([*lines, f"student: {pace.pace_told(rate)}; {told}"])


def _of_answers(choice: Choice, settings: Config, place: Path, images: Sequence[str], cache: Path) -> list[str]:
    """Lines about the answers and asking; the config is given made-up answers to a sample of the images."""
    teacher = load_teacher(choice.teacher or "", "cuda" if torch.cuda.is_available() else "cpu")
    views, features = choice.views or 1, bool(choice.features)
    asked = question(teacher, images, choice.seed, choice.teacher_size, features)
    targets = asked.targets(cache)
    missing = views * len(images) - targets.there(range(views))
    order = np.random.default_rng(0).permutation(len(images))[:SAMPLE]
    sample = [images[index] for index in order]
    rate = _teachers_rate(teacher, sample, place, asked)
    parent = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(parent).free
    made = _made_up(Targets(place / "made_up", len(sample), targets.kept, targets.features), views)
    names = class_names(teacher)
    lists.write_list(place / TRAIN, names, ({"img_path": path, "image": index} for index, path in enumerate(sample)))
    set_classes(settings, teacher.classes)
    set_targets(settings, made, made, views, choice.seed)
    return [
        teacher.told(),
        f"answers: {views} views of {len(images):,} images, {targets.size(views) / 1e9:.2f} GB; {free / 1e9:.0f} GB are free",
        f"asking: {pace.pace_told(rate)}; {missing:,} answers are missing: "
        + pace.times_told(missing, rate, choice.processes or 1),
    ]


def _teachers_rate(teacher: Teacher, sample: Sequence[str], place: Path, asked: Question) -> float:
    """Images a second, with reading them; the first batch is not timed."""
    if len(sample) < 2:
        raise DataError(f"{len(sample)} images: expected 2 or more to measure the teacher's pace")
    seconds, done = 0.0, 0
    start = 0
    while start < len(sample) and (done == 0 or seconds < SECONDS):
        part = sample[start : start + (BATCH if len(sample) > BATCH else 1)]
        began = time.monotonic()
        ask(teacher, part, [0], place / "asked", asked.seed, asked.size, features=bool(asked.features))
        if start:
            seconds, done = seconds + time.monotonic() - began, done + len(part)
        start += len(part)
    return done / seconds


def _made_up(targets: Targets, views: int) -> Targets:
    """Answers of the right form, alike for all images."""
    targets.folder.mkdir()
    answers = np.zeros(targets.images, targets.kind)
    answers["classes"], answers["scores"] = np.arange(targets.kept), 1 / targets.kept
    for number in range(views):
        answers.tofile(targets.file(number))
    return targets
