"""Train a detector of one's own objects within a time: settings, the run or its continuation, the best checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from gemnet.checkpoints.reading import read_checkpoint
from gemnet.core.errors import UserError
from gemnet.core.files import replacing, save_text
from gemnet.core.plans import earlier_plan
from gemnet.detection.complexity import detector_cost, total
from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.choices import chosen, facts
from gemnet.detection.own_detector.pace import Pace, measure_pace
from gemnet.openmmlab import engine
from gemnet.openmmlab.launching import to_log, train_to_log
from gemnet.openmmlab.precision import precision, use_fastest
from gemnet.openmmlab.timed import AP, AP50, ELAPSED

CONFIG, BEST, LOG, PLAN, RESULT = "detector.py", "best.pth", "train.log", "plan.json", "result.json"
"""In the work directory: the config, the weights of the best validation, what libraries print, what was chosen, measured."""
CELL_PARAMS = 4.5e6
"""Of the model that a cell is fitted to, as the shipped ones at 463 M MACs; its classifier is not part of the detector."""
WEIGHTS = "model.backbone.init_cfg"
"""The option that says what the backbone starts from; without it a shipped one starts from its weights."""
STARTING = 6.0
"""Seconds that it takes to build the runner."""
SAVED = 20.0
"""At least so many seconds lie between checkpoints."""


def planned(
    prepared: Prepared,
    work_dir: Path,
    config: str,
    seconds: float | None,
    epochs: int | None,
    seed: int,
    cell: str | None,
    options: Mapping[str, Any],
    processes: int,
) -> dict[str, Any]:
    """Write the config of a training to the work directory, or find that of an earlier call of the same command.

    Returns:
        What was chosen: command (what the call was), device, processes, image_size, batch_size, learning_rate, epochs (an
        estimate where there is a time), precision, seconds (of training with validation, or None), params, macs, weights (the
        address of those that ship, or None), pace.

    Raises:
        UserError: The work directory has a training of another command.
    """
    command = {
        "data": str(prepared.root), "config": config, "seconds": seconds, "epochs": epochs, "seed": seed, "cell": cell,
        "options": json.loads(json.dumps(dict(options), default=str)), "processes": processes,
    }  # fmt: skip
    plan = earlier_plan(work_dir / PLAN, command)
    if plan is not None and (work_dir / CONFIG).is_file():
        return plan
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = engine.load_config(config, None, str(work_dir))
    engine.merge(settings, _of_data(prepared))
    if cell is not None:
        engine.merge(settings, {"model.backbone": _of_cell(cell), "model.neck.in_channels": None})
    engine.merge(settings, chosen(facts(prepared.files["train"]), device, processes, options))
    own = None if WEIGHTS in options else engine.own_weights(settings.model.backbone)
    if own is not None and not settings.model.backbone.get("init_cfg"):
        settings.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": own}
    settings.randomness.seed = seed
    if find_spec("tensorboard"):
        settings.vis_backends = [*settings.vis_backends, {"type": "TensorboardVisBackend"}]
        settings.visualizer.vis_backends = settings.vis_backends
    use_fastest(settings, options)
    engine.complete(settings)
    width, height = settings.image_size
    with logged(work_dir):
        cost = total(detector_cost(settings, (height, width)))
        pace = _fastest(settings, device, alone=seconds is not None and processes == 1)
    training = prepared.images["train"] * pace.training / processes
    length = epochs or max(1, round((seconds or 0) / (training + prepared.images["val"] * pace.prediction / 10)))
    interval = max(1, round(SAVED / max(training, 1e-3)))
    engine.merge(settings, {"epochs": length})
    if "default_hooks.checkpoint.interval" not in options:
        settings.default_hooks.checkpoint.interval = min(interval, length)
    settings.train_cfg.seconds = seconds
    settings.dump(work_dir / CONFIG)
    plan = {
        "command": command, "device": device, "processes": processes, "image_size": list(settings.image_size),
        "batch_size": settings.batch_size, "learning_rate": settings.optim_wrapper.optimizer.lr, "epochs": length,
        "precision": precision(settings), "seconds": seconds, "params": cost.params, "macs": cost.macs, "weights": own,
        "pace": {"training": pace.training, "prediction": pace.prediction}, "threads": torch.get_num_threads(),
    }  # fmt: skip
    save_text(work_dir / PLAN, json.dumps(plan, indent=1) + "\n")
    return plan


def _fastest(settings: Config, device: str, alone: bool) -> Pace:
    """The pace with all threads, or with one where that is faster: threads that wait for busy cores slow each other down.

    alone: Whether the number of threads is free: one process, and a time, so that the same weights are not asked for.
    """
    pace, threads = measure_pace(settings, device), torch.get_num_threads()
    if device != "cpu" or not alone or threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return pace
    torch.set_num_threads(1)
    one = measure_pace(settings, device)
    if one.training < pace.training:
        return one
    torch.set_num_threads(threads)
    return pace


def _of_data(prepared: Prepared) -> dict[str, Any]:
    options: dict[str, Any] = {"data_root": str(prepared.root)}
    for split in ("train", "val", "test"):
        options[f"{split}_dataloader.dataset.ann_file"] = str(Path(prepared.files[split]).absolute())
        options[f"{split}_dataloader.dataset.metainfo"] = {"classes": tuple(prepared.classes)}
    return options


def _of_cell(cell: str) -> dict[str, Any]:
    """A backbone of a searched cell, with residual connections as the shipped models have."""
    return {
        "_delete_": True, "type": "gemnet.GEMNet", "cell": cell, "target_macs": 463e6, "target_params": CELL_PARAMS,
        "residual": True, "out_indices": (2, 3, 4), "norm_cfg": {"type": "gemnet.SyncBN"},
    }  # fmt: skip


def pace_of(plan: Mapping[str, Any]) -> Pace:
    """The measured pace that a plan holds."""
    return Pace(**plan["pace"])


def train(work_dir: Path, processes: int = 1, seconds: float | None = None) -> None:
    """Train by the config of the work directory, from its last checkpoint on if there is one, and write its best weights.

    seconds: what is left of the time; None leaves the config's. What the libraries print goes to the work directory's log.
    Raises UserError where several processes end with an error, which the log tells.
    """
    options = {} if seconds is None else {"train_cfg.seconds": seconds}
    train_to_log(work_dir / CONFIG, work_dir / LOG, processes, options)
    write_best(work_dir)


def logged(work_dir: Path) -> contextlib.AbstractContextManager[None]:
    """What the libraries print to standard output and warn of goes to the work directory's log."""
    return to_log(work_dir / LOG)


def write_best(work_dir: Path) -> Path:
    """Write the averaged weights of the best validation as `best.pth`, with the config and the names of the classes alone."""
    found = sorted(work_dir.glob("best_coco_bbox_mAP_epoch_*.pth"), key=lambda path: path.stat().st_mtime)
    source = found[-1] if found else engine.latest_checkpoint(work_dir)
    if source is None:
        raise UserError(f"{work_dir}: the training left no checkpoint; {work_dir / LOG} tells why")
    checkpoint = read_checkpoint(source)
    slim = {"state_dict": checkpoint["state_dict"], "meta": checkpoint["meta"]}
    with replacing(work_dir / BEST) as temporary:
        torch.save(slim, temporary)
    return work_dir / BEST


def curves(work_dir: Path) -> tuple[list[tuple[int, float]], list[dict[str, float]]]:
    """Of all parts of a run: (iteration, loss), and of each validation iteration, AP, AP50 and seconds of training before it.

    From mmengine's log of scalars.
    """
    losses: dict[int, float] = {}
    validations: dict[int, dict[str, float]] = {}
    last = 0
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut off
                row = json.loads(line)
                if "loss" in row and "iter" in row:
                    last = int(row["iter"])
                    losses[last] = float(row["loss"])
                elif ELAPSED in row:
                    step = int(row["step"])
                    ap, half = (float(row.get(name, 0.0)) for name in (AP, AP50))
                    validations[step] = {"iteration": step, "AP": ap, "AP50": half, "seconds": float(row[ELAPSED])}
    return sorted(losses.items()), [validations[step] for step in sorted(validations)]
