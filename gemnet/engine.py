"""Train and test with mmengine's runner: what the command lines of tools/ call.

A run is one config and a few switches; everything else is mmengine's. What goes wrong for a reason that the user can mend
is told in one message, without a traceback.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.runner import Runner
from torch import nn

from gemnet.backbone import Backbone
from gemnet.cell import CellError
from gemnet.complexity import BudgetError
from gemnet.distributed import LaunchError, init_processes
from gemnet.weights import WeightsError, load_weights


class ConfigError(ValueError):
    """A config that cannot be read or does not fit together."""


def load_config(path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None) -> Config:
    """The config at `path` with `options` (dotted keys) over it; its work_dir is `work_dirs/<name>` unless given.

    Raises ConfigError that names the file. A config is a Python program: read only those that you trust.
    """
    if not Path(path).is_file():
        folder = Path(path).parent
        near = sorted(str(file) for file in folder.glob("*.py")) if folder.is_dir() else []
        raise ConfigError(f"{path}: no such config" + (f"; there are {', '.join(near)}" if near else ""))
    try:
        config = Config.fromfile(path)
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # the config's own code may raise anything
        raise ConfigError(f"{path}: not a config that can be read ({type(error).__name__}: {error})") from error
    try:
        config.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError, AssertionError, ValueError) as error:
        raise ConfigError(f"--cfg-options: {error} does not fit {path}") from error
    if not isinstance(config.get("model"), dict) or "type" not in config.model:
        raise ConfigError(
            f"{path}: model={config.get('model')!r} is no model; expected a config for training, "
            "as configs/retinanet_gemnet_a.py"
        )
    config.work_dir = work_dir or config.get("work_dir") or str(Path("work_dirs") / Path(path).stem)
    return config


def use_amp(config: Config) -> None:
    """Mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU."""
    if torch.cuda.is_available():
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    else:
        config.optim_wrapper.type = "gemnet.BFloat16OptimWrapper"
        config.optim_wrapper.pop("loss_scale", None)


def use_pretrained(config: Config, checkpoint: str | None) -> None:
    """Start the backbone from `checkpoint`, or from the library's own weights if None, with the config's shorter schedule."""
    backbone = config.model.backbone
    if checkpoint is not None:
        backbone.init_cfg = dict(type="Pretrained", checkpoint=checkpoint)
    elif backbone.type == "gemnet.FeatureBackbone":
        backbone.pretrained = True
    else:
        raise ConfigError(f"--pretrained: no weights of {backbone.type} are published; give a checkpoint, --pretrained FILE")
    if "pretrained_schedule" in config:
        config.merge_from_dict(config.pretrained_schedule)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The last complete `epoch_*.pth` or `iter_*.pth` in a work directory; one that a kill cut off does not count."""
    numbered = []
    for path in Path(work_dir).glob("*.pth"):
        match = re.fullmatch(r"(?:epoch|iter)_(\d+)", path.stem)
        if match and zipfile.is_zipfile(path):  # a zip archive's directory is written last
            numbered.append((int(match[1]), path))
    return max(numbered)[1] if numbered else None


def check_neck(model: nn.Module) -> None:
    """Raise ConfigError, with the right channels, where the neck was not made for the backbone."""
    backbone, neck = getattr(model, "backbone", None), getattr(model, "neck", None)
    found = getattr(neck, "in_channels", None)
    if isinstance(backbone, Backbone) and found is not None:
        found, expected = list(found) if isinstance(found, (list, tuple)) else [found], list(backbone.out_channels)
        if found != expected:
            raise ConfigError(f"neck.in_channels={found} do not fit the backbone; expected in_channels={expected}")


def build_runner(config: Config, launcher: str = "none") -> Runner:
    """mmengine's runner for the config, with its process group joined and its model's parts checked against each other."""
    if launcher != "none":
        init_processes(launcher)
    config.launcher = launcher
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no current default scope.*")
        runner = Runner.from_cfg(config)
    check_neck(getattr(runner.model, "module", runner.model))
    return runner


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

    resume: 'auto' goes on from the last complete checkpoint in the work directory, or starts where there is none; a file is
    gone on from. It must be your own: optimiser and log are read with mmengine's reader. pretrained: a checkpoint of the
    backbone, or 'library'. launcher: none, pytorch, slurm.
    """
    settings = load_config(config, None, work_dir)
    if pretrained is not None:
        use_pretrained(settings, None if pretrained == "library" else pretrained)
    settings.merge_from_dict(dict(options or {}))
    if amp:
        use_amp(settings)
    if auto_scale_lr:
        if "base_batch_size" not in settings.get("auto_scale_lr", {}):
            raise ConfigError(f"{config}: --auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config")
        settings.auto_scale_lr.enable = True
    if resume is not None:
        found = latest_checkpoint(settings.work_dir) if resume == "auto" else Path(resume)
        if resume != "auto" and not found.is_file():
            raise ConfigError(f"--resume {resume}: no such checkpoint")
        settings.resume = found is not None
        settings.load_from = None if found is None else str(found)
    build_runner(settings, launcher).train()


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

    out: prefix of the files with the predictions in COCO's form. show_dir: pictures with the boxes go there.
    """
    settings = load_config(config, options, work_dir)
    settings.load_from, settings.resume = None, False
    if out is not None:
        settings.test_evaluator.outfile_prefix = out
    if show_dir is not None:
        settings.default_hooks.visualization.update(draw=True, test_out_dir=show_dir)
    runner = build_runner(settings, launcher)
    load_weights(getattr(runner.model, "module", runner.model), checkpoint)
    return runner.test()


def command(name: str, task: Callable[[], Any]) -> int:
    """Run `task` for a command line: its exit code, with one message on standard error for what the user can mend."""
    known = (ConfigError, LaunchError, WeightsError, CellError, BudgetError)
    try:
        task()
        return 0
    except known as error:
        message = str(error)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        remedy = "; free some space, then go on with --resume" if error.errno == errno.ENOSPC else ""
        message = f"{error.filename or 'writing'}: {error.strerror or error}{remedy}"
    except KeyboardInterrupt:
        message = f"stopped. Go on with: {shlex.join(['python', *sys.argv])}" + (
            " --resume" if name == "train" and "--resume" not in sys.argv else ""
        )
    except Exception as error:
        message = _data_error(error)
        if message is None:
            raise
    process = f" (process {get_rank()})" if os.environ.get("WORLD_SIZE", "1") != "1" else ""
    print(f"{name}{process}: {message}", file=sys.stderr)
    return 1


def _data_error(error: Exception) -> str | None:
    """The message of a DataError, also of one that a loader's worker process raised; None for any other error."""
    if type(error).__name__ != "DataError":
        return None
    return re.split(r"gemnet\.detection\.data\.DataError: ", str(error))[-1].strip()
