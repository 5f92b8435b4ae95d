"""What is chosen for a pretraining, and the config that is made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.config import Config

from gemnet.core.errors import UserError
from gemnet.core.machine import cores
from gemnet.model_table import MODELS
from gemnet.openmmlab import engine
from gemnet.openmmlab.precision import use_fastest
from gemnet.pretraining.targets import WHOLE, Targets

CONFIG = "pretrain.py"
TRAIN, VAL, TESTED = "train.json", "val.json", "tested.json"
"""In the work directory: the config, and lists of images: to train on, held out, and those of ImageNet's kind to test with."""
RATE = "optim_wrapper.optimizer.lr"


@dataclass(frozen=True)
class Choice:
    """What is trained, on what, and how.

    Attributes:
        folders: Of images.
        teacher: As `gemnet.pretraining.teachers.load_teacher` takes it; None for the config's.
        model: A model of `gemnet.model_table`, or, to compare with, one of timm's.
        cell: A cell, in place of the model's, at the model's budget.
        config: What is trained: a file, or `gemnet::pretrain.py`.
        options: Options of the config (dotted keys), as epochs, batch_size, image_size.
        views: Crops of each image that the teacher is asked about; an epoch has all of them. None for the config's.
        teacher_size: Height and width of what the teacher sees; None for the config's, or the teacher's own.
        features: Whether the teacher's pooled features are learned as well; None for the config's.
        supervised: Whether labels are learned, the names of the images' folders, and no teacher is asked.
        seed: Of views, weights and order.
        processes: That train together; None for one a GPU, or one on a CPU.
        minutes: Of training, in place of epochs; asking the teacher comes before. None for the config's epochs.
    """

    folders: Sequence[str]
    teacher: str | None = None
    model: str = "gemnet_a"
    cell: str | None = None
    config: str = "gemnet::pretrain.py"
    options: Mapping[str, Any] = field(default_factory=dict)
    views: int | None = None
    teacher_size: int | None = None
    features: bool | None = None
    supervised: bool | None = None
    seed: int = 0
    processes: int | None = None
    minutes: float | None = None

    @property
    def command(self) -> dict[str, Any]:
        """As JSON has it, with the folders' whole paths."""
        folders = [str(Path(folder).absolute()) for folder in self.folders]
        told = {**asdict(self), "folders": folders}
        return dict(json.loads(json.dumps(told, default=str)))


def settled(choice: Choice) -> tuple[Choice, Config]:
    """The choice with what the config has for what is open, and the config with what is chosen of it.

    Raises:
        UserError: Something given does not fit.
    """
    if choice.model not in MODELS and not timm.is_model(choice.model):
        raise UserError(f"model {choice.model!r}: expected one of {', '.join(MODELS)}, or a name of timm's")
    if choice.cell is not None and choice.model not in MODELS:
        raise UserError(f"model {choice.model!r}: has no cell; expected one of {', '.join(MODELS)} with --cell")
    settings = engine.load_config(choice.config)
    own = settings.get("pretraining")
    if own is None or bool(own.get("supervised")) != bool(choice.supervised):
        kind = "pretrain_supervised.py" if choice.supervised else "pretrain.py"
        raise UserError(f"config {choice.config}: expected one that inherits gemnet::{kind}")
    if not choice.supervised:
        given = {name: own[name] for name in ("teacher", "views", "teacher_size", "features") if getattr(choice, name) is None}
        choice = replace(choice, **given)
        choice = replace(choice, features=choice.features or None)
        if choice.views is None or choice.views < 1:
            raise UserError(f"views={choice.views}: expected 1 or more")
    processes = choice.processes or max(1, torch.cuda.device_count())
    engine.merge(settings, {"model.backbone": _student(choice.model, choice.cell)})
    if choice.model not in MODELS:
        settings.model.neck = None  # timm's model pools by itself
    engine.merge(settings, dict(choice.options))
    settings.randomness.seed = choice.seed
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for loader in (settings.train_dataloader, settings.val_dataloader, settings.test_dataloader):
        loader.pin_memory = device == "cuda"
        if device == "cpu" and cores() < 2:
            loader.num_workers = 0
    use_fastest(settings, choice.options)
    if RATE not in choice.options:
        batch, base = processes * settings.train_dataloader.batch_size, settings.auto_scale_lr.base_batch_size
        settings.optim_wrapper.optimizer.lr *= (batch / base) ** own.batch_power
    settings.train_cfg.seconds = None if choice.minutes is None else 60 * choice.minutes
    return replace(choice, processes=processes), settings


def _student(model: str, cell: str | None) -> dict[str, Any]:
    """The backbone that learns."""
    if model not in MODELS:
        return {"_delete_": True, "type": "gemnet.TimmStudent", "model": model}
    backbone: dict[str, Any] = {"_delete_": True, "type": "gemnet.GEMNet", "out_indices": (5,), "norm_cfg": {"type": "BN"}}
    if cell is None:
        return {**backbone, "arch": model.removeprefix("gemnet_")}
    entry = MODELS[model]
    return {**backbone, "cell": cell, "target_macs": entry.macs, "target_params": entry.params, "residual": True}


def set_classes(settings: Config, classes: int) -> None:
    """Give the head, and what counts by it, a number of classes."""
    settings.model.head.num_classes = settings.data_preprocessor.num_classes = classes
    settings.val_evaluator.topk = settings.test_evaluator.topk = settings.model.head.topk = (1, min(5, classes))


def set_lists(settings: Config, place: Path) -> None:
    """Have the config read the lists of images in the work directory."""
    for split, file in (("train", TRAIN), ("val", VAL), ("test", VAL)):
        settings[f"{split}_dataloader"].dataset.ann_file = str((place / file).absolute())


def set_targets(settings: Config, targets: Targets, whole: Targets, views: int, seed: int) -> None:
    """Have the config learn a teacher's answers: to numbered views, and to whole images that are held out."""
    for split, found, numbers in (("train", targets, range(views)), ("val", whole, [WHOLE]), ("test", whole, [WHOLE])):
        dataset = settings[f"{split}_dataloader"].dataset
        answers = {"targets": str(found.folder.absolute()), "images": found.images, "kept": found.kept}
        dataset.update(**answers, features=found.features, views=list(numbers))
        for step in dataset.pipeline:
            if step["type"] == "gemnet.CutView":
                step["seed"] = seed
    settings.model.head.features = targets.features
