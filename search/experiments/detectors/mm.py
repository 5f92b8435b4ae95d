"""The methods that mmengine trains: `gemnet detect`, and mmdet's RTMDet-tiny by its authors' config."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import mmdet
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

import gemnet.openmmlab.registry  # noqa: F401 - operators of mmcv that need no compiler
from gemnet.core.errors import UserError
from gemnet.core.machine import has_bfloat16
from gemnet.detection.data import Prepared
from gemnet.detection.own_detector import training
from gemnet.detection.own_detector.run import predictions_of
from gemnet.openmmlab import engine
from gemnet.openmmlab.addresses import resolve
from gemnet.openmmlab.precision import FLOAT32, OPTION
from gemnet.openmmlab.timed import AP
from gemnet.weights import load_weights
from search.core.processes import in_processes
from search.experiments.detectors.budget import VALIDATIONS, Pace, at_tenths, cpu_seconds, epochs_within
from search.experiments.detectors.outcome import Trained
from search.experiments.detectors.tasks import IMAGE_SIZE, Task

SKIPPED = 2
"""Iterations of a warm-up that are not timed: memory is asked for in them, and caches of images filled."""
GEMNET, SMALL = "gemnet::own_detector.py", "gemnet::own_detector_small.py"
FROM_SCRATCH = ("gemnet_a", "gemnet_small")
"""The methods of ours that start at random; the others start from the weights that ship."""
BFLOAT16 = "_bfloat16"
"""Ends the names of methods of ours that compute in it; the others compute in float32."""
RTMDET = "rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
AUTHORS = {"epochs": 300, "batch": 256, "rate": 0.004, "last": 20, "size": 640}
"""Of RTMDet's recipe for COCO: epochs, batch and learning rate, the last epochs without mixtures, the images' side."""
BATCH = 8


class PaceHook(Hook):
    """Measures a training of one epoch and one validation, in CPU seconds."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.validation = self.last = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        self.last = cpu_seconds()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        now = cpu_seconds()
        self.seconds.append(now - self.last)
        self.last = now

    def before_val(self, runner: Runner) -> None:
        self.last = cpu_seconds()

    def after_val(self, runner: Runner) -> None:
        self.validation = cpu_seconds() - self.last

    @property
    def pace(self) -> Pace:
        timed = self.seconds[SKIPPED:] or self.seconds
        return Pace(sum(timed) / len(timed) * len(self.seconds), self.validation)


class CountHook(Hook):
    """Counts images that a step was made with, and keeps the AP of the validations."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.images = 0
        self.curve: list[tuple[float, float]] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.images += len(data_batch["inputs"])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.curve.append((float(runner.epoch), float((metrics or {}).get(AP, 0.0))))


def train_gemnet(task: Task, prepared: Prepared) -> Trained:
    """Train as `gemnet detect --image-size 320 --epochs N` does, on one thread and without loading processes.

    By the method's name, the default or the small one, from the weights that ship or from scratch, in float32 or bfloat16.
    Raises UserError for bfloat16 on a CPU that only emulates it.
    """
    config = _config_of(task.method)
    options: dict[str, Any] = {"image_size": IMAGE_SIZE, "train_cfg.patience": 0}  # the whole budget
    options |= {f"{loader}_dataloader.num_workers": 0 for loader in ("train", "val", "test")}
    if task.method in FROM_SCRATCH:
        options[training.WEIGHTS] = None
    if not task.method.endswith(BFLOAT16):
        options[OPTION] = FLOAT32
    elif not has_bfloat16():
        raise UserError(f"{task.method}: this CPU has no instructions for bfloat16; leave this method out")

    def plan(place: Path, epochs: int) -> dict[str, Any]:
        place.mkdir(parents=True, exist_ok=True)
        return training.planned(prepared, place, config, None, epochs, task.seed, None, options, 1)

    warm_up, start = task.work_dir / "warm_up", cpu_seconds()
    plan(warm_up, 1)
    planning = cpu_seconds() - start
    pace = replace(apart(gemnet_pace, warm_up), start=planning)
    epochs = epochs_within(task.budget, pace, lambda epochs: min(epochs, VALIDATIONS + 1))
    wall, start = time.monotonic(), cpu_seconds()
    planned = plan(task.work_dir, epochs)
    training.train(task.work_dir)
    cpu, wall = cpu_seconds() - start, time.monotonic() - wall
    steps = math.ceil(prepared.images["train"] / planned["batch_size"])
    curve = [(one["iteration"] / steps, one["AP"]) for one in training.curves(task.work_dir)[1]]
    done = round(curve[-1][0])  # the last validation ends the run, which may stop early
    keys = ("batch_size", "learning_rate", "image_size", "precision")
    settings = {"optimizer": "AdamW", **{key: planned[key] for key in keys}}
    if planned["weights"] is not None:
        file = Path(resolve(planned["weights"]))
        settings["weights"] = f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    weights = task.work_dir / training.BEST
    return Trained(done, done * prepared.images["train"], cpu, wall, pace, curve, settings, weights)


def _config_of(method: str) -> str:
    """The config of a detector of ours."""
    return SMALL if method.startswith("gemnet_small") else GEMNET


def predict_gemnet(task: Task, prepared: Prepared, trained: Trained) -> list[dict[str, Any]]:
    """Predictions on the test images, in COCO's form."""
    return predictions_of(task.work_dir, prepared.files["test"], "test")[1]


def apart(measure: Callable[..., Pace], *arguments: Any) -> Pace:
    """What `measure` finds in a process of its own: mmengine keeps logs and counters of a run for the next one of a process.

    The process has ended when this returns, so that its CPU seconds are not counted for what follows.
    """
    with closing(in_processes(measure, [arguments], 1, "warm-up")) as ended:
        pace = next(ended)
    for process in multiprocessing.active_children():
        process.join()
    return pace


def gemnet_pace(work_dir: Path) -> Pace:
    """The pace of the config of one epoch that lies in a work directory of `gemnet detect`."""
    return _pace(engine.load_config(str(work_dir / training.CONFIG), None, str(work_dir)))


def rtmdet_pace(prepared: Prepared, work_dir: Path, seed: int) -> Pace:
    """The pace of RTMDet-tiny on these data."""
    work_dir.mkdir(parents=True, exist_ok=True)
    return _pace(rtmdet_config(prepared, work_dir, 1, seed))


def _pace(config: Config) -> Pace:
    """Train for one epoch by a config of one epoch, with the validation that ends it, and measure both."""
    hook = PaceHook()
    torch.set_num_threads(1)
    with training.logged(Path(config.work_dir)):
        runner = engine.build_runner(config)
        runner.register_hook(hook)
        runner.train()
    return hook.pace


def train_rtmdet(task: Task, prepared: Prepared) -> Trained:
    """Train by mmdet's own config, from scratch, with its schedule as the same shares of a run of fewer epochs."""
    pace = apart(rtmdet_pace, prepared, task.work_dir / "warm_up", task.seed)
    epochs = epochs_within(task.budget, pace, lambda epochs: math.ceil(epochs / at_tenths(epochs)))
    with training.logged(task.work_dir):
        wall, start, hook = time.monotonic(), cpu_seconds(), CountHook()
        config = rtmdet_config(prepared, task.work_dir, epochs, task.seed)
        runner = engine.build_runner(config)
        runner.register_hook(hook)
        runner.train()
        cpu, wall = cpu_seconds() - start, time.monotonic() - wall
    weights = training.write_best(task.work_dir)
    settings = {"optimizer": "AdamW", "batch_size": BATCH, "learning_rate": config.optim_wrapper.optimizer.lr}
    return Trained(epochs, hook.images, cpu, wall, pace, hook.curve, {**settings, "image_size": [IMAGE_SIZE] * 2}, weights)


def predict_rtmdet(task: Task, prepared: Prepared, trained: Trained) -> list[dict[str, Any]]:
    """Predictions on the test images, in COCO's form."""
    config = rtmdet_config(prepared, task.work_dir, trained.epochs, task.seed)
    out = task.work_dir / "test"
    config.test_evaluator.outfile_prefix = str(out)
    config.custom_hooks = []  # the checkpoint has the averaged weights
    with training.logged(task.work_dir):
        runner = engine.build_runner(config)
        load_weights(engine.bare_model(runner), trained.weights)
        runner.test()
    file = out.with_name("test.bbox.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def rtmdet_config(prepared: Prepared, work_dir: Path, epochs: int, seed: int) -> Config:
    """mmdet's config of RTMDet-tiny for these data and so many epochs.

    Its lengths in epochs become the same shares of the run, its warm-up a twentieth if that is shorter, and its sizes of images
    half of what they are. The learning rate goes with the square root of the batch, as AdamW's does. Weights start at random.
    """
    config = _authors_config()
    share, steps = epochs / AUTHORS["epochs"], math.ceil(prepared.images["train"] / BATCH)
    last = max(1, round(AUTHORS["last"] * share)) if epochs > 1 else 0
    rate = float(f"{AUTHORS['rate'] * math.sqrt(BATCH / AUTHORS['batch']):.2g}")
    config.work_dir = str(work_dir)
    config.randomness = {"seed": seed}
    config.model.bbox_head.num_classes = len(prepared.classes)
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False, batch_size=BATCH)
        loader.dataset.update(
            data_root=str(prepared.root), ann_file=str(prepared.files[split].absolute()), data_prefix={"img": ""},
            metainfo={"classes": tuple(prepared.classes)},
        )  # fmt: skip
        if split != "train":
            config[f"{split}_evaluator"].ann_file = str(prepared.files[split].absolute())
    config.train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_interval": at_tenths(epochs)}
    config.optim_wrapper.optimizer.lr = rate
    config.param_scheduler = [
        {
            "type": "LinearLR", "start_factor": 1e-5, "by_epoch": False, "begin": 0,
            "end": min(1000, max(1, epochs * steps // 20)),
        },
        {
            "type": "CosineAnnealingLR", "eta_min": rate * 0.05, "begin": epochs // 2, "end": epochs,
            "T_max": max(1, epochs - epochs // 2), "by_epoch": True, "convert_to_iter_based": True,
        },
    ]  # fmt: skip
    config.default_hooks.checkpoint = {
        "type": "CheckpointHook", "interval": at_tenths(epochs), "max_keep_ckpts": 1, "save_best": AP,
    }  # fmt: skip
    config.default_hooks.visualization = {"type": "DetVisualizationHook", "draw": False}
    config.custom_hooks = [
        {**hook, "switch_epoch": epochs - last} if hook["type"] == "PipelineSwitchHook" else hook
        for hook in config.custom_hooks
    ]
    return config


def _authors_config() -> Config:
    """mmdet's config at the side that is compared, from scratch, with a normalisation that needs no GPU."""
    file = Path(mmdet.__file__).parent / ".mim" / "configs" / RTMDET
    config = Config(_resized(Config.fromfile(file).to_dict()), filename=str(file))
    config.model.backbone.init_cfg = None
    config.model.use_syncbn = False
    for part in (config.model.backbone, config.model.neck, config.model.bbox_head):
        part.norm_cfg = {"type": "BN"}
    return config


def untrained(method: str, classes: int) -> nn.Module:
    """The detector of a method with random weights, for so many classes."""
    if method == "rtmdet_tiny":
        config = _authors_config()
        config.model.bbox_head.num_classes = classes
        config.model.data_preprocessor.pop("batch_augments", None)
    else:
        config = engine.load_config(_config_of(method))
        engine.merge(config, {"model.bbox_head.num_classes": classes})
    init_default_scope("mmdet")
    return MODELS.build(config.model)


def _resized(value: Any) -> Any:
    """Sizes of images in a config, in pixels, at the side that is compared."""
    if isinstance(value, Mapping):
        return {key: _resized(one) for key, one in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and all(one in (AUTHORS["size"], 2 * AUTHORS["size"]) for one in value):
        return tuple(one * IMAGE_SIZE // AUTHORS["size"] for one in value)
    if isinstance(value, (list, tuple)):
        return type(value)(_resized(one) for one in value)
    return value
