"""Hooks of training."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from gemnet.core.errors import UserError
from gemnet.openmmlab.registry import HOOKS


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what the transforms of mmcv and mmdet draw from
    torch.manual_seed(seed)


def _seed_worker(worker: int, base: int) -> None:
    _seed((base + 1 + worker) % 2**32)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Every random number of an epoch follows from the run's seed, the epoch and the process.

    So a run that was stopped and resumed at an epoch's end draws what it would have drawn. It needs
    `persistent_workers=False`: a worker that lives on keeps its own random state, which no checkpoint holds.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        if getattr(runner.train_dataloader, "persistent_workers", False):
            raise UserError("train_dataloader.persistent_workers=True: EpochSeedHook needs False, or remove the hook")

    def before_train_epoch(self, runner: Runner) -> None:
        words = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()]).generate_state(1)
        base = int(words[0])
        _seed(base)
        runner.train_dataloader.worker_init_fn = partial(_seed_worker, base=base)
