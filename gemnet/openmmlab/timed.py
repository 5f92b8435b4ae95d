"""Training for a given time: a loop that ends with its budget, and its learning rate, which follows the time that is left."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from gemnet.core.errors import UserError
from gemnet.openmmlab.registry import HOOKS, LOOPS

WARM_UP = (0.05, 500)
"""The learning rate rises for this share of the run, or for so many iterations if they are fewer."""
FLOOR = 0.01
"""The share of the learning rate that is left at the end."""
FIRST = 0.02
"""After this share of the run the first validation is due."""
AP, AP50, ELAPSED = "coco/bbox_mAP", "coco/bbox_mAP_50", "trained_seconds"
"""A validation's figures in the log of scalars, and the seconds of training before."""
TRAINED, VALIDATED = "trained_seconds", "validation_seconds"
"""What a checkpoint keeps (`message_hub`): seconds of training before it, with validation, and those of the last validation."""


@LOOPS.register_module()
class TimedTrainLoop(EpochBasedTrainLoop):
    """Trains for `seconds` of wall time, or for `max_epochs` where there are none, and sets the learning rate itself.

    The learning rate rises at first and then falls as a cosine of the share of the run that is done. With a budget this is the
    share of the seconds, so that the rate is low at the end whatever else the machine does meanwhile; without, that of the
    iterations, so that the same seed gives the same weights. Seconds before a resumed checkpoint count. The last validation
    lies within the budget: its length is known from those before.

    Args:
        runner: mmengine's.
        dataloader: Of the training images.
        max_epochs: The length of the run, or with `seconds` what it is thought to become.
        seconds: Of training with validation, or None.
        validations: How often to validate, at equal shares of the run, and once more near its start.

    Raises:
        UserError: There is neither a number of epochs nor of seconds above 0.
    """

    def __init__(
        self, runner: Runner, dataloader: Any, max_epochs: int, seconds: float | None = None, validations: int = 10
    ) -> None:
        super().__init__(runner, dataloader, max_epochs)
        if seconds is not None and not 0 < seconds < math.inf:
            raise UserError(f"train_cfg.seconds={seconds!r}: expected a number above 0, or None")
        self.seconds, self.validations = seconds, validations
        self.share = 0.0
        self.began = time.monotonic()

    @property
    def max_iters(self) -> int:
        """Iterations of the whole run; with a budget of time an estimate by the pace so far."""
        if self.seconds is None or self.share < FIRST / 2:
            return self._max_iters
        return max(self._iter + (self.share < 1), round(self._iter / self.share))

    @property
    def max_epochs(self) -> int:
        """Epochs of the whole run; with a budget of time an estimate by the pace so far."""
        if self.seconds is None:
            return self._max_epochs
        return max(self._epoch + (self.share < 1), math.ceil(self.max_iters / len(self.dataloader)))

    @property
    def elapsed(self) -> float:
        """Seconds of training and validation, those before a resumed checkpoint as well."""
        return time.monotonic() - self.began

    def run(self) -> torch.nn.Module:
        """Train, and validate now and then; returns the model."""
        hub = self.runner.message_hub
        self.began = time.monotonic() - float(hub.get_info(TRAINED, 0.0) or 0.0)
        self.runner.call_hook("before_train")
        self._advance()
        due = self._next_due()
        while self.share < 1:
            self.run_epoch()
            self._advance()
            if self.share >= min(due, 1):
                self._validate()
                due = self._next_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for an epoch, or until the time is over."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in enumerate(self.dataloader):
            self._set_rate()
            self.run_iter(index, batch)
            self._advance()
            if self.seconds is not None and self.share >= 1:
                break
        self.runner.message_hub.update_info(TRAINED, self.elapsed)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _advance(self) -> None:
        """Renew the share of the run that is done; all processes take the first one's."""
        if self.seconds is None:
            self.share = self._iter / self._max_iters
            return
        reserved = float(self.runner.message_hub.get_info(VALIDATED, 0.0) or 0.0)
        share = torch.tensor([self.elapsed / max(self.seconds - reserved, 1e-3)], dtype=torch.float64)
        broadcast(share)
        self.share = min(1.0, float(share))

    def _set_rate(self) -> None:
        warm = min(1.0, max((self.share + 1e-4) / WARM_UP[0], (self._iter + 1) / WARM_UP[1]))
        factor = warm * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * self.share)) / 2)
        for group in self.runner.optim_wrapper.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    def _next_due(self) -> float:
        """The share of the run at which the next validation is due."""
        if self.share < FIRST:
            return FIRST
        return (math.floor(self.share * self.validations + 1e-9) + 1) / self.validations

    def _validate(self) -> None:
        start = time.monotonic()
        if self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self.runner.message_hub.update_info(VALIDATED, time.monotonic() - start)
        self._advance()


@HOOKS.register_module()
class ProgressHook(Hook):
    """Tells the progress of a TimedTrainLoop on standard error, and puts each validation with its time into the log of scalars.

    Args:
        every: Seconds between lines.
    """

    priority = "VERY_LOW"

    def __init__(self, every: float = 30.0) -> None:
        self.every = every
        self.told = self.start = time.monotonic()
        self.images = 0

    def before_train(self, runner: Runner) -> None:
        self.told = self.start = time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        self.images += len(data_batch["inputs"]) if data_batch else 0
        if time.monotonic() - self.told >= self.every:
            loss = f", loss {float(torch.as_tensor(outputs['loss']).detach()):.3f}" if outputs and "loss" in outputs else ""
            _tell(runner, runner.epoch + 1, f"{self.images / (time.monotonic() - self.start):.1f} images/s a process{loss}")
            self.told = time.monotonic()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        loop = runner._train_loop
        if not isinstance(loop, TimedTrainLoop):
            return
        found = {name: float((metrics or {}).get(name, 0.0)) for name in (AP, AP50)}  # mmdet: none where nothing is found
        runner.visualizer.add_scalars({**found, ELAPSED: round(loop.elapsed, 1)}, step=runner.iter)
        _tell(runner, runner.epoch, f"validation AP {found[AP]:.3f}, AP50 {found[AP50]:.3f}")
        self.told = time.monotonic()


def _tell(runner: Runner, epoch: int, what: str) -> None:
    loop = runner.train_loop
    if not is_main_process() or not isinstance(loop, TimedTrainLoop):
        return
    whole = loop.seconds or (loop.elapsed / loop.share if loop.share else math.inf)
    of = f" of {_clock(whole)}" if math.isfinite(whole) else ""
    print(f"{_clock(loop.elapsed)}{of}, epoch {epoch}: {what}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
