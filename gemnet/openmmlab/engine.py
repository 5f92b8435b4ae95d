"""Train and test with mmengine's runner: what the command lines of tools/ call.

A run is one config and a few switches; everything else is mmengine's. What goes wrong for a reason that the user can mend
is told in one message, without a traceback.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from gemnet.annotations.findings import plain_name
from gemnet.checkpoints.class_names import classes_of, difference
from gemnet.checkpoints.meta import checkpoint_meta, recipe_of
from gemnet.core.configs import config_path, read_config
from gemnet.core.errors import UserError
from gemnet.core.own_modules import search_working_directory
from gemnet.model_table import shipped_weights, short_names, weights_address
from gemnet.openmmlab import averaging, recipe, schedule
from gemnet.openmmlab.backbone import Backbone
from gemnet.openmmlab.classes import settle_classes
from gemnet.openmmlab.distributed import init_processes
from gemnet.openmmlab.images import folder_classes
from gemnet.openmmlab.overrides import check_options, check_values
from gemnet.openmmlab.precision import use_amp
from gemnet.quick_layers import quicken
from gemnet.weights import WeightsError, load_weights, read_checkpoint

RESUME = "gemnet-run:"
"""Prefix by which mmengine is told to read a checkpoint with `load_from_run`."""
START = "gemnet-start:"
"""Prefix by which mmengine is told to read a checkpoint with `load_start`."""


class ConfigError(UserError):
    """A config that cannot be read or does not fit together."""


def load_config(path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None) -> Config:
    """The config at `path` with `options` (dotted keys) over it; its work_dir is `work_dirs/<name>` unless given.

    path: a file, or a config of the package, as `gemnet::retinanet_gemnet_a.py`.

    A number for the whole run, as `epochs`, changes all that follows from it (`gemnet.openmmlab.recipe`). Raises ConfigError
    that names the file, and UserError for an option. A config is a Python program: read only those that you trust.
    """
    path = config_path(path)
    if not Path(path).is_file():
        folder = Path(path).parent
        near = sorted(str(file) for file in folder.glob("*.py")) if folder.is_dir() else []
        raise ConfigError(f"{path}: no such config" + (f"; there are {', '.join(near)}" if near else ""))
    search_working_directory()  # for custom_imports
    try:
        config = read_config(path)
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # the config's own code may raise anything
        raise ConfigError(f"{path}: not a config that can be read ({type(error).__name__}: {error})") from error
    if not isinstance(config.get("model"), dict) or "type" not in config.model:
        raise ConfigError(f"{path}: has no model; expected a config for training, as configs/retinanet_gemnet_a.py")
    recipe.settle(config)
    check_values(config)
    merge(config, options)
    config.work_dir = work_dir or config.get("work_dir") or str(Path("work_dirs") / Path(path).stem)
    return config


def merge(config: Config, options: Mapping[str, Any] | None) -> None:
    """Put `options` (dotted keys, or nested dictionaries) over the config, and what follows from them.

    Raises ConfigError where they do not fit into it, and UserError for a slip in a name or value.
    """
    if not options:
        return
    check_options(config, options)
    left = recipe.override(config, options)
    try:
        config.merge_from_dict(left)
    except (KeyError, TypeError, AssertionError, ValueError, IndexError) as error:
        raise ConfigError(f"--cfg-options: {', '.join(options)}: does not fit {config.filename} ({error})") from error
    if not isinstance(config.model, dict):
        raise ConfigError(f"--cfg-options: model={config.model!r}: expected a model's settings, as model.backbone.arch=b")


def use_pretrained(config: Config, checkpoint: str | None) -> None:
    """Start the backbone from `checkpoint`, or from its own weights if None, with the config's shorter schedule.

    Its own weights are those that ship, or the library's. The schedule is never longer than the config's `epochs`. Raises
    ConfigError where the backbone has no weights of its own.
    """
    backbone = config.model.backbone
    if checkpoint is not None:
        backbone.init_cfg = dict(type="Pretrained", checkpoint=checkpoint)
    elif backbone.type == "gemnet.FeatureBackbone":
        backbone.pretrained = True
    elif (own := own_weights(backbone)) is not None:
        backbone.init_cfg = dict(type="Pretrained", checkpoint=own)
    else:
        raise ConfigError(f"--pretrained: no weights of this {backbone.type} ship; give a checkpoint, --pretrained FILE")
    if "pretrained_schedule" in config:
        longest = recipe.reference(config, "epochs")
        config.merge_from_dict(config.pretrained_schedule)
        recipe.shorten(config, longest)


def own_weights(backbone: Mapping[str, Any]) -> str | None:
    """The address of the weights that ship for a backbone's settings; None where there are none, as for another cell."""
    if backbone.get("type") not in ("gemnet.GEMNet", "GEMNet") or backbone.get("cell") is not None:
        return None
    name = short_names().get(arch := str(backbone.get("arch")), arch)
    return weights_address(name) if name in shipped_weights() else None


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The last complete `epoch_*.pth` or `iter_*.pth` in a work directory; one that a kill cut off does not count."""
    numbered = []
    for path in Path(work_dir).glob("*.pth"):
        match = re.fullmatch(r"(?:epoch|iter)_(\d+)", path.stem)
        if match and zipfile.is_zipfile(path):  # a zip archive's directory is written last
            numbered.append((int(match[1]), path))
    return max(numbered)[1] if numbered else None


def complete(config: Config) -> None:
    """Fill in what a config leaves open as None: the head's or neck's in_channels, from the backbone, and the head's
    num_classes, from the folders of the training images, or from the annotations (`settle_classes`)."""
    settle_classes(config)
    model = config.model
    open_parts = [
        model[part] for part in ("neck", "head") if isinstance(model.get(part), dict) and "in_channels" in model[part]
    ]
    open_parts = [part for part in open_parts if part.in_channels is None]
    if open_parts:
        channels = list(MODELS.build(model.backbone).out_channels)
        for part in open_parts:
            part.in_channels = channels[-1] if part is model.get("head") else channels
    if "head" in model and model.head.get("num_classes", 0) is None:
        dataset = config.train_dataloader.dataset
        model.head.num_classes = len(folder_classes(Path(dataset.data_root) / dataset.split))
        if "data_preprocessor" in config:
            config.data_preprocessor.num_classes = model.head.num_classes


def check_parts(model: nn.Module) -> None:
    """Raise ConfigError, with the right channels, where the neck, or a classifier's head, was not made for the backbone."""
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, Backbone):
        return
    expected = list(backbone.out_channels)
    neck, head = (getattr(getattr(model, part, None), "in_channels", None) for part in ("neck", "head"))
    if isinstance(neck, (list, tuple)) and list(neck) != expected:
        raise ConfigError(f"neck.in_channels={list(neck)} do not fit the backbone; expected in_channels={expected}")
    if neck is None and isinstance(head, int) and head != expected[-1]:
        raise ConfigError(f"head.in_channels={head} does not fit the backbone; expected in_channels={expected[-1]}")


def check_classes(
    model: nn.Module, classes: Sequence[str], owner: str = "the data set", trained: Sequence[str] | None = None
) -> None:
    """Raise ConfigError where a head was made for another number of classes than their `owner` has, and where the classes that
    the model was `trained` on, if known, have other names or another order."""
    for path, part in model.named_modules():
        found = getattr(part, "num_classes", None)
        if not re.search(r"^(roi_)?(bbox_|mask_)?head(\.(bbox_|mask_)head)?(\.\d+)?$", path) or not isinstance(found, int):
            continue
        if found != len(classes):
            raise ConfigError(f"model.{path}.num_classes={found}, but {owner} has {len(classes)} classes; expected that")
    if trained is not None and [*map(plain_name, trained)] != [*map(plain_name, classes)]:
        raise ConfigError(f"{owner} {difference(classes, trained)}: the model was trained on others")


def build_runner(config: Config, launcher: str = "none") -> Runner:
    """mmengine's runner for the config, with its model's parts checked against each other and laid out (`lay_out`)."""
    config.launcher = launcher
    complete(config)
    check_values(config)
    _wait_for_a_name()
    if "visualizer" in config:
        config.visualizer.pop("name", None)  # by which the next runner of this process would write to this one's folder
    runner = Runner.from_cfg(config)
    check_parts(bare_model(runner))
    lay_out(bare_model(runner), config)
    return runner


def lay_out(model: nn.Module, config: Config) -> None:
    """Give a model, in place, the layout and the forms of layers that it trains fastest in, if the config has them.

    `channels_last = True` in the config lays the model's weights out so, and with them what its convolutions write: on CPUs and
    with mixed precision on GPUs they are faster then, by half for MobileNetV2 on 64x64 images. On CPUs its layers also take the
    forms of `gemnet.quick_layers`.
    """
    if config.get("channels_last", False):
        model.to(memory_format=torch.channels_last)
        if not torch.cuda.is_available():
            quicken(model)


def _wait_for_a_name() -> None:
    """Wait, a second at most, until no runner of this process has the present second in its name.

    mmengine names a runner and its log by the second; two of one name would write to the log of the first.
    """
    while any(name.endswith(time.strftime("%Y%m%d_%H%M%S")) for name in MMLogger._instance_dict):
        time.sleep(0.02)


def bare_model(runner: Runner) -> nn.Module:
    """The runner's model without the wrapper of several processes."""
    return getattr(runner.model, "module", runner.model)


@CheckpointLoader.register_scheme(prefixes=RESUME)
def load_from_run(filename: str, map_location: Any = None) -> Any:
    """A checkpoint of a run to go on with, read without running what is in it; the smoothing of the log starts anew."""
    checkpoint = read_checkpoint(filename.removeprefix(RESUME), map_location or "cpu")
    if not isinstance(checkpoint, dict) or not {"state_dict", "optimizer", "meta"} <= set(checkpoint):
        raise WeightsError(
            f"{filename.removeprefix(RESUME)}: not a checkpoint of a run that can go on; expected mmengine's own"
        )
    if "message_hub" in checkpoint:
        checkpoint["message_hub"]["log_scalars"] = {}
    return checkpoint


@CheckpointLoader.register_scheme(prefixes=START)
def load_start(filename: str, map_location: Any = None) -> Any:
    """A checkpoint whose weights a run starts from, read without running what is in it."""
    return read_checkpoint(filename.removeprefix(START), map_location or "cpu")


def use_start(config: Config) -> None:
    """Have `load_from` of the config read by `load_start`; raises ConfigError where it is a file that is not there.

    Addresses of a library's own weights, as torchvision://resnet50, are left to mmengine.
    """
    start = config.get("load_from")
    if start and not re.match(r"\w[\w.-]*://", start):
        if not Path(start).is_file():
            raise ConfigError(f"load_from={start}: no such checkpoint")
        config.load_from = f"{START}{start}"


def use_checkpoint(config: Config, resume: str) -> None:
    """Go on from `resume`, a file, or with 'auto' from the last checkpoint in the work directory; where there is none, start.

    The first process chooses for all. Raises ConfigError where the file is missing, in any process.
    """
    found = [latest_checkpoint(config.work_dir) if resume == "auto" else Path(resume)]
    broadcast_object_list(found)
    if found[0] is None:
        return
    if not found[0].is_file():
        raise ConfigError(f"--resume: {found[0]}: no such checkpoint")
    config.resume, config.load_from = True, f"{RESUME}{found[0]}"


def training_config(
    config: str, work_dir: str | None, amp: bool, pretrained: str | None, options: Mapping[str, Any] | None
) -> Config:
    """The config of a training; see `train`."""
    settings = load_config(config, None, work_dir)
    if pretrained is not None:
        use_pretrained(settings, None if pretrained == "library" else pretrained)
    merge(settings, options)
    if amp:
        use_amp(settings)
    return settings


def train(
    config: str,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    pretrained: str | None = None,
    launcher: str = "none",
    options: Mapping[str, Any] | None = None,
) -> None:
    """Train by a config.

    resume: a checkpoint to go on from, or 'auto', the last complete one in the work directory, if any. pretrained: a
    checkpoint of the backbone, or 'library' for its own. launcher: none, pytorch, slurm.
    """
    settings = training_config(config, work_dir, amp, pretrained, options)
    if auto_scale_lr:
        if "base_batch_size" not in settings.get("auto_scale_lr", {}):
            raise ConfigError(f"{config}: --auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config")
        settings.auto_scale_lr.enable = True
    init_processes(launcher)
    if resume is None and settings.get("resume"):
        resume = settings.get("load_from") or "auto"
    if resume is not None:
        use_checkpoint(settings, resume)
    else:
        use_start(settings)
    runner = build_runner(settings, launcher)
    check_classes(bare_model(runner), runner.train_loop.dataloader.dataset.metainfo["classes"])
    schedule.fit(runner, recipe.sets_schedule(options or {}))
    schedule.tell_batch(runner)
    averaging.tell_reach(runner)
    runner.register_hook(schedule.SameScheduleHook())
    runner.train()


def evaluate(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    launcher: str = "none",
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint on the config's test set; returns the metrics.

    Images are made as large as in the checkpoint's training, unless `options` set another size. Raises WeightsError for a
    checkpoint, ConfigError for a test set that does not fit the config's model, as by its classes.
    out: prefix of the files with the predictions in COCO's form. show_dir: pictures with the boxes go there.
    """
    settings = load_config(config, options, work_dir)
    settings.load_from, settings.resume = None, False
    meta = checkpoint_meta(checkpoint)
    line = recipe.adopt_image_size(settings, recipe_of(meta), options)
    if line and int(os.environ.get("RANK", "0")) == 0:
        print(f"test: {line}", file=sys.stderr)
    names = classes_of(meta).classes
    settle_classes(settings, names, checkpoint)
    if out is not None:
        evaluator = settings.test_evaluator
        if not isinstance(evaluator, dict):
            raise ConfigError(f"--out: {config} has several test evaluators; set outfile_prefix of one of them in the config")
        evaluator["outfile_prefix"] = out
    if show_dir is not None:
        settings.default_hooks.visualization.update(draw=True, test_out_dir=str(Path(show_dir).absolute()))
    init_processes(launcher)
    runner = build_runner(settings, launcher)
    load_weights(bare_model(runner), checkpoint)
    check_classes(bare_model(runner), runner.test_loop.dataloader.dataset.metainfo["classes"], trained=names)
    return runner.test()


def mistaken_part(error: Exception) -> str | None:
    """What mmengine tells of a part that it cannot build, of unknown type or with an unknown setting; else None."""
    text = str(error.args[0]) if error.args else ""
    if isinstance(error, KeyError):
        return f"the config: {text.splitlines()[0]}" if " registry" in text else None
    if not isinstance(error, TypeError):
        return None
    raised = traceback.extract_tb(error.__traceback__)[-1].filename  # by the call itself, not by what is in it
    taken = re.search(r"(\w+)(?:\.__init__)?\(\) (got an unexpected keyword argument .*|missing \d+ required .*)", text)
    return f"the config: {taken[1]} {taken[2]}" if taken and "registry" in Path(raised).parts else None
