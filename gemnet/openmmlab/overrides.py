"""Overrides of a config, checked before they are merged: a name that nobody reads, and values that no training can have."""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from gemnet.core.errors import UserError
from gemnet.core.settings import Setting, shown
from gemnet.openmmlab.recipe import LENGTH, NUMBERS, VALIDATION

ALIKE = 0.85
"""How alike, of 1, a new name and one that is there must be to be held for a slip."""
TOLD = 3
READ = {*inspect.signature(Runner.__init__).parameters, *NUMBERS, "channels_last", "pretrained_schedule", "custom_imports"} - {
    "self",
    "cfg",
}
"""What is read from the top level of a config, here and by mmengine's runner."""

HIGHEST = 2**31 - 1
LOADER = {
    "batch_size": NUMBERS["batch_size"],
    "num_workers": Setting("Processes that load images; 0: the training process.", int, at_least=0, at_most=4096),
}
CLASSES = Setting("Classes of the data; None: as many as it has.", int, at_least=1, at_most=HIGHEST, optional=True)


def _every(what: str, at_least: int = 1) -> Setting:
    return Setting(what, int, at_least=at_least, at_most=HIGHEST)


SETTINGS: dict[str, Setting] = {
    **{f"{loader}_dataloader.{name}": setting for loader in ("train", "val", "test") for name, setting in LOADER.items()},
    LENGTH: NUMBERS["epochs"],
    "train_cfg.max_iters": _every("Length of a run that is measured in iterations."),
    VALIDATION: _every("Epochs, or iterations, from one validation to the next."),
    "train_cfg.val_begin": _every("The first epoch, or iteration, that is validated."),
    "optim_wrapper.optimizer.lr": Setting("The highest learning rate.", float, above=0, at_most=1e4),
    "optim_wrapper.optimizer.weight_decay": Setting("Weight decay.", float, at_least=0),
    "optim_wrapper.optimizer.momentum": Setting("Momentum of SGD.", float, at_least=0, below=1),
    "optim_wrapper.accumulative_counts": _every("Batches whose gradients make a step."),
    "optim_wrapper.clip_grad.max_norm": Setting("The largest norm of a gradient.", float, above=0, optional=True),
    "auto_scale_lr.base_batch_size": _every("Images in a step of all processes that the learning rate is for."),
    "auto_scale_lr.enable": Setting("Whether the learning rate follows the batch.", bool),
    "default_hooks.logger.interval": _every("Iterations from one line of the log to the next."),
    "default_hooks.checkpoint.interval": _every("Epochs, or iterations, from one checkpoint to the next; -1: none.", -1),
    "default_hooks.checkpoint.max_keep_ckpts": _every("Checkpoints that are kept; -1: all.", -1),
    "model.head.num_classes": CLASSES,
    "model.bbox_head.num_classes": CLASSES,
    "model.roi_head.bbox_head.num_classes": CLASSES,
    "randomness.seed": Setting("All random numbers follow from it.", int, at_least=0, at_most=2**32 - 1, optional=True),
    "randomness.deterministic": Setting("Whether to use deterministic algorithms alone.", bool),
    "channels_last": Setting("Whether weights and maps are laid out with channels last.", bool),
    "load_from": Setting("A checkpoint whose weights a run starts from.", str, optional=True),
    "work_dir": Setting("The folder of log and checkpoints.", str),
}
"""Settings of training that are checked in every config, by their dotted names."""


def check_values(config: Config) -> None:
    """Raise UserError, naming file, setting, value and range, for a setting of training that it may not be."""
    for name, setting in SETTINGS.items():
        found = _value(config, name.split("."))
        if found is not MISSING:
            setting.check(f"{config.filename}: {name}", found)


def check_options(config: Config, options: Mapping[str, Any]) -> None:
    """Raise UserError for an option that is a slip.

    At the top level nobody reads a name that is not there. Further down the parts take names that a config does not state, so
    that only one that resembles a name which is there is refused. Numbers are finite, and a text is no list, number or switch.
    """
    for key, value in options.items():
        _check_name(config, key, options)
        for number in _numbers(value):
            if not math.isfinite(number):
                raise UserError(f"{key}={shown(value)}: expected finite numbers")
        if key in SETTINGS:
            SETTINGS[key].check(key, os.fspath(value) if isinstance(value, os.PathLike) else value)
        elif key not in NUMBERS:
            _check_kind(key, value, _value(config, key.split(".")))


MISSING = object()


def _value(config: Any, path: list[str]) -> Any:
    """The value at a path of names and places in lists, or MISSING."""
    for part in path:
        if isinstance(config, (list, tuple)) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        elif isinstance(config, (Config, Mapping)) and part in config:
            config = config[part]
        else:
            return MISSING
    return config


def _check_name(config: Config, key: str, options: Mapping[str, Any]) -> None:
    path = key.split(".")
    for depth, name in enumerate(path):
        parent = _value(config, path[:depth]) if depth else config
        if not isinstance(parent, (Config, Mapping)) or name in parent:
            if not isinstance(parent, (Config, Mapping, list, tuple)):
                return
            continue
        typed = ".".join(path[: depth + 1])
        changed = f"{'.'.join(path[:depth])}.type" in options  # the names are those of another class then
        known = [str(other) for other in parent] + ([*READ] if depth == 0 else [])
        if depth == 0 and name in READ:
            return
        near = difflib.get_close_matches(name, known, 1, ALIKE)
        if (near and not changed) or depth == 0:
            places = [".".join([*path[:depth], *near, *path[depth + 1 :]])] if near else [*_places(config, path)][:TOLD]
            remedy = f"did you mean {' or '.join(places)}?" if places else f"expected one of {', '.join(sorted(known))}"
            raise UserError(f"--cfg-options: {key}: {config.filename} has no {typed}; {remedy}")
        return


def _places(config: Config, path: list[str]) -> Iterator[str]:
    """Where else in the config the last name of a path stands, the outermost first."""
    found = [(place, name) for place, name in _names(config.to_dict(), ()) if name == path[-1] and place]
    for place, name in sorted(found, key=lambda one: (len(one[0]), one)):
        yield ".".join([*place, name])


def _names(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield place, str(name)
            yield from _names(part, (*place, str(name)))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _numbers(part)


def _check_kind(key: str, value: Any, now: Any) -> None:
    """Raise UserError for a value of a kind that cannot stand where `now` stands."""
    if now is MISSING or now is None or value is None:
        return
    text = isinstance(value, str)
    if isinstance(now, bool) and not isinstance(value, bool):
        expected = "True or False"
    elif isinstance(now, (int, float)) and not isinstance(now, bool) and (text or isinstance(value, bool)):
        expected = "a number"
    elif isinstance(now, (list, tuple)) and (text or isinstance(value, bool)):
        expected = "a list"
    elif isinstance(now, Mapping) and not isinstance(value, (Mapping, list, tuple)) and key != "model":
        expected = f"settings by name, as {key}.{next(iter(now), 'name')}=..."
    else:
        return
    raise UserError(f"{key}={shown(value)}: expected {expected}, as {shown(now)} is in the config")
