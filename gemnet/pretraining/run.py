"""Pretrain a network on images without labels: ask the teacher, train, and write the weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.torch
import timm.data
import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from gemnet.checkpoints.reading import WeightsError, find, plain_tensors, read_checkpoint
from gemnet.core.errors import DataError, UserError
from gemnet.core.files import replacing, save_text
from gemnet.core.machine import cores
from gemnet.core.plans import earlier_plan
from gemnet.core.telling import printable, tell
from gemnet.images.folders import image_files
from gemnet.model_table import MODELS
from gemnet.openmmlab import engine
from gemnet.openmmlab.launching import to_log, train_to_log
from gemnet.pretraining.targets import WHOLE, Targets, ask
from gemnet.pretraining.teachers import Teacher, load_teacher
from gemnet.weights import convert

CONFIG, PLAN, LOG, RESULT, WEIGHTS = "pretrain.py", "plan.json", "train.log", "result.json", "weights.safetensors"
"""In the work directory: the config, what was chosen, what libraries print, the figures, the weights."""
HELD_OUT = (0.02, 1000)
"""The share of the images, and at most so many, on which the student is compared with the teacher."""


def pretrain(
    folders: Sequence[str],
    work_dir: str,
    teacher: str = "efficientnet_lite0",
    model: str = "gemnet_a",
    cell: str | None = None,
    config: str = "gemnet::pretrain.py",
    options: Mapping[str, Any] | None = None,
    views: int = 2,
    teacher_size: int | None = None,
    cache: str | None = None,
    seed: int = 0,
    processes: int | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Train a network on a teacher's answers to images without labels; the same call again goes on where it was.

    Args:
        folders: Of images, with all folders below; what they are called does not matter. Nothing is written there.
        work_dir: Where everything goes: weights.safetensors, result.json, the config, the log.
        teacher: As `gemnet.pretraining.teachers.load_teacher` takes it.
        model: A model of `gemnet.model_table`, or, to compare with, one of timm's.
        cell: A cell, in place of the model's, at the model's budget.
        config: What is trained: a file, or `gemnet::pretrain.py`.
        options: Options of the config (dotted keys), as epochs, batch_size, image_size.
        views: Crops of each image that the teacher is asked about; an epoch has all of them.
        teacher_size: Height and width of what the teacher sees; None for its own.
        cache: Of the answers; None for `answers` in the work directory.
        seed: Of views, weights and order.
        processes: That train together; None for one a GPU, or one on a CPU.
        minutes: Of training, in place of epochs; asking the teacher comes before. None for the config's epochs.

    Returns:
        What is in result.json: agreement (share of held-out images where both name the same class first), and what was done.

    Raises:
        UserError: Something given does not fit, weights are not to be had, or the work directory has another training.
        DataError: There are no images that can be read.
    """
    began, place = time.monotonic(), Path(work_dir)
    if model not in MODELS and not timm.is_model(model):
        raise UserError(f"model {model!r}: expected one of {', '.join(MODELS)}, or a name of timm's")
    if cell is not None and model not in MODELS:
        raise UserError(f"model {model!r}: has no cell; expected one of {', '.join(MODELS)} with --cell")
    if views < 1:
        raise UserError(f"views={views}: expected 1 or more")
    processes = processes or max(1, torch.cuda.device_count())
    command = {
        "folders": [str(Path(folder).absolute()) for folder in folders], "teacher": teacher, "model": model, "cell": cell,
        "config": config, "options": json.loads(json.dumps(dict(options or {}), default=str)), "views": views,
        "teacher_size": teacher_size, "seed": seed, "processes": processes, "minutes": minutes,
    }  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    plan = earlier_plan(place / PLAN, command)
    if plan is not None and (place / RESULT).is_file() and (place / WEIGHTS).is_file():
        tell(f"finished already: {place / WEIGHTS}; name another --work-dir to train anew")
        return dict(json.loads((place / RESULT).read_text(encoding="utf-8")))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = [str(path) for folder in folders for path in image_files(Path(folder))]
    held_out = _held_out(len(images), seed)
    asked = load_teacher(teacher, device)
    tell(asked.told() + (f"; here it sees {teacher_size}x{teacher_size}" if teacher_size else ""))
    store = Path(cache) if cache is not None else place / "answers"
    train_targets, whole = _asked(asked, images, held_out, views, store, seed, teacher_size)
    settings = _settings(config, place, model, cell, dict(options or {}), asked, seed, device)
    _write_lists(place, images, held_out, train_targets, whole, views, asked)
    _fill(settings, place, train_targets, whole, views, seed)
    settings.train_cfg.seconds = None if minutes is None else 60 * minutes
    settings.dump(place / CONFIG)
    save_text(place / PLAN, json.dumps({"command": command, "teacher": asked.told(), "digest": asked.digest}, indent=1) + "\n")
    seen = f"{views} views of {len(images) - len(held_out):,} images"
    length = f"{settings.epochs} epochs" if minutes is None else f"{minutes:g} minutes, in epochs"
    tell(f"training on {processes} x {device}: {length} of {seen}")
    train_to_log(place / CONFIG, place / LOG, processes)
    checkpoint = engine.latest_checkpoint(place)
    if checkpoint is None:
        raise UserError(f"{place}: the training left no checkpoint; {place / LOG} tells why")
    done = {"epochs": int(checkpoint.stem.rpartition("_")[2]), "image_size": settings.image_size, "digest": asked.digest}
    agreement = _write_weights(place, checkpoint, {**command, **done})
    result = {
        "agreement": agreement, "teacher": asked.name, "images": len(images), "held_out": len(held_out), "views": views,
        "seed": seed, "model": model, "cell": cell, **done, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    save_text(place / RESULT, json.dumps(result, indent=1) + "\n")
    print(f"agreement with the teacher on {len(held_out):,} images that were held out: {agreement:.1%}")
    print(printable(str(place / WEIGHTS)))
    return result


def _held_out(count: int, seed: int) -> list[int]:
    """Numbers of the images that are not trained on; they follow from the seed."""
    number = min(HELD_OUT[1], max(1, round(HELD_OUT[0] * count)))
    if count < 2:
        raise DataError(f"{count} images: expected 2 or more, one of them to compare with the teacher")
    return sorted(np.random.default_rng((seed, count)).permutation(count)[:number].tolist())


def _asked(
    teacher: Teacher, images: list[str], held_out: list[int], views: int, cache: Path, seed: int, size: int | None
) -> tuple[Targets, Targets]:
    """The answers to the views of all images, and to the whole ones that are held out."""
    with Progress(console=Console(stderr=True)) as bar:

        def shown(name: str) -> Callable[[int, int], None]:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        own = ask(teacher, images, range(views), cache, seed, size, shown("asking the teacher"))
        whole = ask(teacher, [images[index] for index in held_out], [WHOLE], cache, seed, size, shown("held-out images"))
    return own, whole


def _write_lists(
    place: Path, images: list[str], held_out: list[int], targets: Targets, whole: Targets, views: int, teacher: Teacher
) -> None:
    """Lists of the images that can be read, in mmengine's form."""
    out = set(held_out)
    readable = np.logical_and.reduce([targets.read(number)["scores"][:, 0] > 0 for number in range(views)])
    train = [
        {"img_path": images[index], "image": index} for index in range(len(images)) if index not in out and readable[index]
    ]
    seen = whole.read(WHOLE)["scores"][:, 0] > 0
    val = [{"img_path": images[index], "image": number} for number, index in enumerate(held_out) if seen[number]]
    if broken := int((~readable).sum()):
        tell(f"{broken} images cannot be read; left out")
    if not train or not val:
        raise DataError(f"{len(train)} images to train on and {len(val)} to compare with can be read; expected one of each")
    for name, entries in (("train", train), ("val", val)):
        content = {"metainfo": {"classes": class_names(teacher)}, "data_list": entries}
        save_text(place / f"{name}.json", json.dumps(content) + "\n")


def class_names(teacher: Teacher) -> list[str]:
    """The teacher's classes: WordNet's numbers where they are ImageNet-1k's, else their places."""
    names = timm.data.ImageNetInfo().label_names()
    return list(names) if teacher.classes == len(names) else [str(label) for label in range(teacher.classes)]


def _settings(
    config: str, place: Path, model: str, cell: str | None, options: dict[str, Any], teacher: Teacher, seed: int, device: str
) -> Config:
    settings = engine.load_config(config, None, str(place))
    engine.merge(settings, {"model.backbone": _student(model, cell), "model.head.num_classes": teacher.classes})
    if model not in MODELS:
        settings.model.neck = None  # timm's model pools by itself
    settings.data_preprocessor.num_classes = teacher.classes
    settings.val_evaluator.topk = settings.test_evaluator.topk = settings.model.head.topk = (1, min(5, teacher.classes))
    engine.merge(settings, options)
    settings.randomness.seed = seed
    for loader in (settings.train_dataloader, settings.val_dataloader, settings.test_dataloader):
        loader.pin_memory = device == "cuda"
        if device == "cpu" and cores() < 2:
            loader.num_workers = 0
    if device == "cuda":
        engine.use_amp(settings)
    return settings


def _student(model: str, cell: str | None) -> dict[str, Any]:
    """The backbone that learns."""
    if model not in MODELS:
        return {"_delete_": True, "type": "gemnet.TimmStudent", "model": model}
    backbone: dict[str, Any] = {"_delete_": True, "type": "gemnet.GEMNet", "out_indices": (5,), "norm_cfg": {"type": "BN"}}
    if cell is None:
        return {**backbone, "arch": model.removeprefix("gemnet_")}
    entry = MODELS[model]
    return {**backbone, "cell": cell, "target_macs": entry.macs, "target_params": entry.params, "residual": True}


def _fill(settings: Config, place: Path, targets: Targets, whole: Targets, views: int, seed: int) -> None:
    parts = {"train": (targets, list(range(views))), "val": (whole, [WHOLE]), "test": (whole, [WHOLE])}
    for split, (found, numbers) in parts.items():
        dataset = settings[f"{split}_dataloader"].dataset
        dataset.update(targets=str(found.folder.absolute()), images=found.images, kept=found.kept, views=numbers)
        dataset.ann_file = str((place / f"{'train' if split == 'train' else 'val'}.json").absolute())
        for step in dataset.pipeline:
            if step["type"] == "gemnet.CutView":
                step["seed"] = seed


def _write_weights(place: Path, checkpoint: Path, told: dict[str, Any]) -> float:
    """Write the last weights for timm, in half precision, with what is told of them; returns the agreement with the teacher."""
    with to_log(place / LOG), TemporaryDirectory(dir=place, prefix="evaluation_") as runner:  # which writes its config there
        found = engine.evaluate(str(place / CONFIG), str(checkpoint), runner)
    state = _of_ours(checkpoint, place) if told["model"] in MODELS else _of_timms(checkpoint, told["model"])
    slim = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}  # variances may be very small
    with replacing(place / WEIGHTS) as temporary:
        safetensors.torch.save_file(
            slim, temporary, {"gemnet": json.dumps({key: told[key] for key in told if key != "folders"})}
        )
    return float(found["accuracy/top1"]) / 100


def _of_ours(checkpoint: Path, place: Path) -> dict[str, Tensor]:
    with TemporaryDirectory(dir=place, prefix="weights_") as folder:
        whole = Path(folder) / WEIGHTS
        convert(checkpoint, whole, "timm")
        return safetensors.torch.load_file(whole)


def _of_timms(checkpoint: Path, model: str) -> dict[str, Tensor]:
    """The weights of a `TimmStudent` and its head, by the names of timm's model. Raises WeightsError where some are missing."""
    network = timm.create_model(model, pretrained=False, num_classes=0)
    classifier = str(vars(network)["pretrained_cfg"]["classifier"])
    held = find(checkpoint, read_checkpoint(checkpoint), network.state_dict().keys()).held
    start = held.prefix.removesuffix("backbone.body.") + "head.fc."
    head = {f"{classifier}.{key.removeprefix(start)}": held.container[key] for key in held.container if key.startswith(start)}
    state = plain_tensors(checkpoint, {**held.tensors, **head})
    missing = [key for key in network.state_dict() if key not in state]
    if missing or not head:
        raise WeightsError(f"{checkpoint}: {len(missing)} weights of {model} are missing, first {(missing or [classifier])[0]}")
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
