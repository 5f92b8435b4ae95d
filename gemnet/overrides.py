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

from gemnet.errors import UserError
from gemnet.recipe import LENGTH, NUMBERS
from gemnet.settings import Setting, shown

ALIKE = 0.85
"""How alike, of 1, a new name and one that is there must be to be held for a slip."""
TOLD = 3
READ = {*inspect.signature(Runner.__init__).parameters, *NUMBERS, "channels_last", "pretrained_schedule", "custom_imports"} - {
    "self",
    "cfg",
}
"""What is read from the top level of a config, here and by mmengine's runner."""

COUNT = Setting("", int, at_least=1, at_most=2**31 - 1)
SOME = Setting("", int, at_least=0, at_most=2**31 - 1)
LOADER = {
    "batch_size": NUMBERS["batch_size"],
    "num_workers": Setting("Processes that load images; 0: the training process.", int, at_least=0, at_most=4096),
}
SETTINGS: dict[str, Setting] = {
    **{f"{loader}_dataloader.{name}": setting for loader in ("train", "val", "test") for name, setting in LOADER.items()},
    LENGTH: NUMBERS["epochs"],
    "train_cfg.max_iters": COUNT,
    "train_cfg.val_interval": COUNT,
    "train_cfg.val_begin": COUNT,
    "optim_wrapper.optimizer.lr": Setting("", float, above=0, at_most=1e4),
    "optim_wrapper.optimizer.weight_decay": Setting("", float, at_least=0),
    "optim_wrapper.optimizer.momentum": Setting("", float, at_least=0, below=1),
    "optim_wrapper.accumulative_counts": COUNT,
    "optim_wrapper.clip_grad.max_norm": Setting("", float, above=0, optional=True),
    "auto_scale_lr.base_batch_size": COUNT,
    "auto_scale_lr.enable": Setting("", bool),
    "default_hooks.logger.interval": COUNT,
    "default_hooks.checkpoint.interval": Setting("", int, at_least=-1),
    "default_hooks.checkpoint.max_keep_ckpts": Setting("", int, at_least=-1),
    "model.head.num_classes": Setting("", int, at_least=1, optional=True),
    "model.bbox_head.num_classes": COUNT,
    "model.roi_head.bbox_head.num_classes": COUNT,
    "randomness.seed": Setting("", int, at_least=0, at_most=2**32 - 1, optional=True),
    "randomness.deterministic": Setting("", bool),
    "channels_last": Setting("", bool),
    "load_from": Setting("", str, optional=True),
    "work_dir": Setting("", str),
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
