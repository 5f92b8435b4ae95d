"""How fast a training is on this machine, from a few of its steps, and how long the whole of it would take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from gemnet.core.errors import UserError
from gemnet.openmmlab.engine import build_runner, training_config
from gemnet.openmmlab.launching import to_log

STEPS, SECONDS = 50, 20.0
"""At most so many steps are timed, and for about so long, but at least one."""
UNTIMED = 2
"""Steps before: memory is allocated in them, and algorithms are chosen."""
MANY = 8
"""GPUs of the machine that an estimate tells of beside one device."""


class Pace(NamedTuple):
    """rate: images that one process trains in a second, with their loading. images: of an epoch."""

    rate: float
    images: int


def measured(config: Config, steps: int = STEPS, seconds: float = SECONDS) -> Pace:
    """The pace of a training; nothing is left of it. Raises UserError where there is not a batch of images."""
    config = Config(config.to_dict(), filename=config.filename)
    with TemporaryDirectory(prefix="pace_") as folder, to_log(Path(folder) / "pace.log"):
        config.work_dir = folder
        return _timed(build_runner(config), steps, seconds)


def _timed(runner: Runner, steps: int, seconds: float) -> Pace:
    loader = runner.build_dataloader(runner._train_dataloader, seed=runner.seed)
    model, optimizer = runner.model.train(), runner.build_optim_wrapper(runner.optim_wrapper)
    done, images, began = 0, 0, 0.0
    while len(loader):
        for batch in loader:
            if done == UNTIMED:
                began, images = _now(), 0
            model.train_step(batch, optimizer)
            done, images = done + 1, images + len(batch["inputs"])
            if done > UNTIMED and (done == UNTIMED + steps or time.monotonic() - began > seconds):
                return Pace(images / (_now() - began), len(loader.dataset))
    raise UserError("there is not one batch of images to train on: give a smaller batch_size")


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def estimate(
    config: str,
    amp: bool = False,
    pretrained: str | None = None,
    options: Mapping[str, Any] | None = None,
    images: int | None = None,
) -> str:
    """What a training by a config would cost on this machine, for people; see `gemnet.openmmlab.engine.train`.

    images: of the whole data set, where the folder has a part of it.
    """
    settings = training_config(config, None, amp, pretrained, options)
    epochs = settings.train_cfg.get("max_epochs")
    if epochs is None:
        raise UserError(f"{config}: its length is not in epochs, of which alone the cost can be told")
    pace = measured(settings)
    whole = images or pace.images
    return f"training: {pace_told(pace.rate)}; {epochs} epochs of {whole:,} images, {times_told(epochs * whole, pace.rate)}"


def pace_told(rate: float) -> str:
    """Images a second of one device, for people."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "this CPU"
    return f"{rate:.3g} images/s on {device}"


def times_told(images: float, rate: float, processes: int = 1) -> str:
    """How long some images take devices of that rate each, for people: one, as many as there are, and `MANY`."""
    counts = sorted({1, max(1, torch.cuda.device_count()), processes, MANY})
    return "; ".join(f"{duration(images / rate / count)} on {count}" for count in counts) + " such, if all keep pace"


def duration(seconds: float) -> str:
    """For people."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
