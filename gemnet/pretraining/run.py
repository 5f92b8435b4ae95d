"""Pretrain a network on images: ask the teacher, if there is one, train, and write the weights."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm.data
import torch
from mmengine.config import Config

from gemnet.core.errors import DataError, UserError
from gemnet.core.files import save_text
from gemnet.core.locks import locked
from gemnet.core.machine import processor
from gemnet.core.plans import earlier_plan
from gemnet.core.progress import progress
from gemnet.core.telling import printable, tell
from gemnet.openmmlab import engine
from gemnet.openmmlab.launching import train_to_log
from gemnet.openmmlab.precision import precision, use_as_begun
from gemnet.pretraining import images as lists
from gemnet.pretraining.asking import ask, question
from gemnet.pretraining.settings import (
    CONFIG,
    TESTED,
    TRAIN,
    VAL,
    Choice,
    set_classes,
    set_lists,
    set_targets,
    settled,
)
from gemnet.pretraining.targets import WHOLE, Targets
from gemnet.pretraining.teachers import Teacher, load_teacher
from gemnet.pretraining.writing import LOG, WEIGHTS, accuracy, write_weights

PLAN, RESULT = "plan.json", "result.json"
"""In the work directory: what was chosen, and the figures."""


def pretrain(choice: Choice, work_dir: str, cache: str | None = None) -> dict[str, Any]:
    """Train a network on a teacher's answers to images, or on labels; the same call again goes on where it was.

    Args:
        choice: What is trained, on what.
        work_dir: Where everything goes: weights.safetensors, result.json, the config, the log.
        cache: Of the answers; None for `answers` in the work directory.

    Returns:
        What is in result.json: agreement (share of held-out images where both name the same class first) or, with labels,
        accuracy; top1 where the images have a test set of the teacher's classes; and what was done.

    Raises:
        UserError: Something given does not fit, weights are not to be had, or the work directory has another training.
        DataError: There are no images that can be read.
    """
    began, place = time.monotonic(), Path(work_dir)
    choice, settings = settled(choice)
    place.mkdir(parents=True, exist_ok=True)
    with locked(place) as held:
        return _pretrain(choice, settings, place, Path(cache) if cache is not None else place / "answers", held, began)


def _pretrain(choice: Choice, settings: Config, place: Path, cache: Path, held: int, began: float) -> dict[str, Any]:
    plan = earlier_plan(place / PLAN, choice.command)
    if plan is not None and (place / RESULT).is_file() and (place / WEIGHTS).is_file():
        tell(f"finished already: {place / WEIGHTS}; name another --work-dir to train anew")
        return dict(json.loads((place / RESULT).read_text(encoding="utf-8")))
    prepare = prepare_labels if choice.supervised else prepare_answers
    told = prepare(choice, settings, place, cache)
    set_lists(settings, place)
    if plan is not None and (place / CONFIG).is_file():
        use_as_begun(settings, engine.load_config(str(place / CONFIG)))
    settings.dump(place / CONFIG)
    save_text(place / PLAN, json.dumps({"command": choice.command, **told}, indent=1) + "\n")
    tell(training_told(choice, settings, told["train"]))
    train_to_log(place / CONFIG, place / LOG, choice.processes or 1, keep=[held])
    checkpoint = engine.latest_checkpoint(place)
    if checkpoint is None:
        raise UserError(f"{place}: the training left no checkpoint; {place / LOG} tells why")
    epochs = int(checkpoint.stem.rpartition("_")[2])
    done = {**told, "epochs": epochs, "image_size": settings.image_size, "precision": precision(settings)}
    command = {key: value for key, value in choice.command.items() if key != "folders" and value is not None}
    measured = _measured(choice, place, checkpoint)
    write_weights(place, checkpoint, choice.model, {**command, **done, **measured})
    result = {**measured, **command, **done, "seconds": round(time.monotonic() - began, 1), "machine": machine()}
    save_text(place / RESULT, json.dumps(result, indent=1) + "\n")
    for name, value in measured.items():
        print(f"{MEASURES[name]}: {value:.1%}")
    print(printable(str(place / WEIGHTS)))
    return result


MEASURES = {
    "agreement": "agreement with the teacher on images that were held out",
    "accuracy": "accuracy on images that were held out",
    "top1": "top-1 accuracy on the test images",
}
"""What is measured, for people."""


def machine() -> str:
    """What trains, for people: the GPUs, or the processor."""
    if not torch.cuda.is_available():
        return processor()
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"


def training_told(choice: Choice, settings: Config, images: int) -> str:
    """What people are told before the training. Raises UserError where a batch is more than there is to train on."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch, views = (choice.processes or 1) * settings.train_dataloader.batch_size, choice.views or 1
    if batch > images * views:
        raise UserError(f"batches of {batch} of {images * views} views: give a smaller --batch-size")
    seen = f"{images:,} images" if choice.supervised else f"{views} views of {images:,} images"
    length = f"{settings.epochs} epochs" if choice.minutes is None else f"{choice.minutes:g} minutes, in epochs"
    rate = f"batches of {batch:,}, learning rate {settings.optim_wrapper.optimizer.lr:.2g}"
    return f"training on {choice.processes} x {device} in {precision(settings)}: {length} of {seen}, {rate}"


def prepare_labels(choice: Choice, settings: Config, place: Path, cache: Path) -> dict[str, Any]:
    """Write the lists of images with their labels, and put their classes into the config; returns what is told of them."""
    found = lists.labelled(choice.folders, choice.seed)
    lists.write_labels(place / TRAIN, found.classes, found.train)
    lists.write_labels(place / VAL, found.classes, found.val)
    set_classes(settings, len(found.classes))
    return {"train": len(found.train), "held_out": len(found.val), "classes": len(found.classes)}


def prepare_answers(choice: Choice, settings: Config, place: Path, cache: Path) -> dict[str, Any]:
    """Ask the teacher, write the lists of images, and put answers into the config; returns what is told of them."""
    gpus, views = torch.cuda.device_count(), choice.views or 1
    teacher = load_teacher(choice.teacher or "", "cuda" if gpus else "cpu")
    tell(teacher.told() + (f"; here it sees {choice.teacher_size}x{choice.teacher_size}" if choice.teacher_size else ""))
    images = lists.unlabelled(choice.folders)
    out = lists.held_out(len(images), choice.seed)
    asked = question(teacher, images, choice.seed, choice.teacher_size, bool(choice.features)).targets(cache)
    there = asked.there(range(views))
    tell(
        f"{views} views of {len(images):,} images, {asked.size(views) / 1e9:.2f} GB of answers in {cache}"
        + (f"; {there:,} are there" if there else "")
    )
    targets, whole = _asked(teacher, choice, images, [images[index] for index in out], cache, min(gpus, choice.processes or 1))
    train, val = _readable(images, out, targets, whole, views)
    names = class_names(teacher)
    lists.write_list(place / TRAIN, names, train)
    lists.write_list(place / VAL, names, val)
    if tested := lists.tested(choice.folders, names):
        lists.write_labels(place / TESTED, names, tested)
    set_classes(settings, teacher.classes)
    set_targets(settings, targets, whole, views, choice.seed)
    return {"digest": teacher.digest, "images": len(images), "train": len(train), "held_out": len(val)}


def _asked(
    teacher: Teacher, choice: Choice, images: Sequence[str], held_out: Sequence[str], cache: Path, gpus: int
) -> tuple[Targets, Targets]:
    """The answers to the views of all images, and to the whole ones that are held out."""
    size, features = choice.teacher_size, bool(choice.features)
    views, others = range(choice.views or 1), [f"cuda:{number}" for number in range(1, gpus)]
    with progress("asking the teacher") as shown:
        own = ask(teacher, images, views, cache, choice.seed, size, shown, features, others)
    with progress("held-out images") as shown:
        whole = ask(teacher, held_out, [WHOLE], cache, choice.seed, size, shown, features)
    return own, whole


def _readable(
    images: Sequence[str], held_out: Sequence[int], targets: Targets, whole: Targets, views: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images to train on and those held out that can be read, with their numbers in the answers."""
    out = set(held_out)
    readable = np.logical_and.reduce([targets.read(number)["scores"][:, 0] > 0 for number in range(views)])
    train = [{"img_path": path, "image": index} for index, path in enumerate(images) if index not in out and readable[index]]
    seen = whole.read(WHOLE)["scores"][:, 0] > 0
    val = [{"img_path": images[index], "image": number} for number, index in enumerate(held_out) if seen[number]]
    if broken := int((~readable).sum()):
        tell(f"{broken} images cannot be read; left out")
    if not train or not val:
        raise DataError(f"{len(train)} images to train on and {len(val)} to compare with can be read; expected one of each")
    return train, val


def class_names(teacher: Teacher) -> list[str]:
    """The teacher's classes: WordNet's numbers where they are ImageNet-1k's, else their places."""
    names = timm.data.ImageNetInfo().label_names()
    return list(names) if teacher.classes == len(names) else [str(label) for label in range(teacher.classes)]


def _measured(choice: Choice, place: Path, checkpoint: Path) -> dict[str, float]:
    found = {"accuracy" if choice.supervised else "agreement": accuracy(place, checkpoint)}
    if (place / TESTED).is_file() and not choice.supervised:
        pipeline = [
            {"type": "LoadImageFromFile", "_scope_": "gemnet"},
            {"type": "gemnet.CutView", "scale": engine.load_config(str(place / CONFIG)).image_size},
            {"type": "PackInputs"},
        ]
        dataset = {"_delete_": True, "type": "gemnet.ListedImages", "ann_file": str((place / TESTED).absolute())}
        dataset |= {"test_mode": True, "pipeline": pipeline}
        found["top1"] = accuracy(place, checkpoint, {"test_dataloader.dataset": dataset})
    return found
