"""Training for a given time: a loop that ends with its budget, and its learning rate, which follows the time that is left."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from gemnet.core.errors import UserError
from gemnet.openmmlab.registry import HOOKS, LOOPS

WARM_UP = (0.05, 500)
"""The share of the run in which the learning rate rises, or so many iterations if they are fewer, unless a config says else."""
FLOOR = 0.01
"""The share of the learning rate that is left at the end."""
FIRST = 0.02
"""After this share of the run the first validation is due."""
AP, AP50, ELAPSED = "coco/bbox_mAP", "coco/bbox_mAP_50", "trained_seconds"
"""A validation's figures in the log of scalars, and the seconds of training before."""
LAST = 0.15
"""The share of the run in which one that is ended early lets its learning rate fall."""
TRAINED, VALIDATED = "trained_seconds", "validation_seconds"
"""What a checkpoint keeps (`message_hub`): seconds of training before it, with validation, and those of the last validation."""
DUE, BEST, SINCE, SKIPPED = "next_validation", "best_ap", "without_better_ap", "skipped_share"
"""Also kept: when the next validation is due, the best AP so far, how many validations ago, the share of the run left out."""


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
        patience: After so many validations in a row without a better figure the run comes to its end: what lies before its last
            `LAST` share is left out. 0 never.
        metric: The validation's figure that patience looks at.
        warm_up: The share of the run in which the learning rate rises, or so many iterations if they are fewer.

    Raises:
        UserError: There is neither a number of epochs nor of seconds above 0, or patience is below 0.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        max_epochs: int,
        seconds: float | None = None,
        validations: int = 10,
        patience: int = 0,
        metric: str = AP,
        warm_up: tuple[float, int] = WARM_UP,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs)
        if seconds is not None and not 0 < seconds < math.inf:
            raise UserError(f"train_cfg.seconds={seconds!r}: expected a number above 0, or None")
        if type(patience) is not int or patience < 0:
            raise UserError(f"train_cfg.patience={patience!r}: expected a number of validations, 0 for never")
        self.seconds, self.validations, self.patience, self.metric = seconds, validations, patience, metric
        self.warm_up = warm_up
        self.share = 0.0
        self.began = time.monotonic()

    @property
    def max_iters(self) -> int:
        """Iterations of the whole run; with a budget of time an estimate by the pace so far."""
        if self.seconds is None or self.share < FIRST / 2:
            return self._max_iters
        return max(self._iter + (self.share < 1), round(self._iter / (self.share - self._skipped) * (1 - self._skipped)))

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

    @property
    def whole(self) -> float:
        """Seconds of the whole run, by its budget or by the pace so far; infinite at its start."""
        done = self.share - self._skipped
        seconds = self.seconds or (self.elapsed / done if done > 0 else math.inf)
        return seconds * (1 - self._skipped)

    @property
    def _skipped(self) -> float:
        return self._kept(SKIPPED, 0.0)

    def _kept(self, name: str, otherwise: float) -> float:
        """What the run, or the checkpoint from which it goes on, has kept under that name."""
        return float(self.runner.message_hub.get_info(name, otherwise))

    def run(self) -> torch.nn.Module:
        """Train, and validate now and then; returns the model."""
        self.began = time.monotonic() - self._kept(TRAINED, 0.0)
        self.runner.call_hook("before_train")
        self._advance()
        self._validate_if_due()  # a checkpoint is written before the validation that follows it
        while self.share < 1:
            self.run_epoch()
            self._advance()
            self._validate_if_due()
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
            self.share = min(1.0, self._iter / self._max_iters + self._skipped)
            return
        reserved = self._kept(VALIDATED, 0.0)
        share = torch.tensor([self.elapsed / max(self.seconds - reserved, 1e-3)], dtype=torch.float64)
        broadcast(share)
        self.share = min(1.0, float(share) + self._skipped)

    def _set_rate(self) -> None:
        warm = min(1.0, max((self.share + 1e-4) / self.warm_up[0], (self._iter + 1) / self.warm_up[1]))
        factor = warm * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * self.share)) / 2)
        for group in self.runner.optim_wrapper.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    def _next_due(self) -> float:
        """The share of the run at which the next validation is due."""
        if self.share < FIRST:
            return FIRST
        return (math.floor(self.share * self.validations + 1e-9) + 1) / self.validations

    def _validate_if_due(self) -> None:
        if self._iter == 0 or self.share < min(1.0, self._kept(DUE, FIRST)):
            return
        start = time.monotonic()
        metrics = self.runner.val_loop.run() if self.runner.val_loop is not None else None
        self.runner.message_hub.update_info(VALIDATED, time.monotonic() - start)
        self._note(float((metrics or {}).get(self.metric, 0.0)))
        self._advance()
        self.runner.message_hub.update_info(DUE, self._next_due())

    def _note(self, found: float) -> None:
        """Keep the best figure, and leave out most of what is left of a run that waits in vain for a better one."""
        hub = self.runner.message_hub
        better = found > self._kept(BEST, -1.0)
        since = 0 if better else int(self._kept(SINCE, 0)) + 1
        hub.update_info(SINCE, since)
        if better:
            hub.update_info(BEST, found)
        left_out = 1 - LAST - self.share
        if self.patience and since >= self.patience and left_out > 0:
            hub.update_info(SKIPPED, self._skipped + left_out)
            _tell(self.runner, self.runner.epoch, f"no better figure in {since} validations: the training comes to its end")


@HOOKS.register_module()
class ProgressHook(Hook):
    """Tells the progress of a TimedTrainLoop on standard error, and puts each validation with its time into the log of scalars.

    Args:
        every: Seconds between lines.
        metrics: Figures of a validation by the names that people are told; None for a detector's AP and AP50.
    """

    priority = "VERY_LOW"

    def __init__(self, every: float = 30.0, metrics: Mapping[str, str] | None = None) -> None:
        self.every = every
        self.metrics = dict(metrics or {"AP": AP, "AP50": AP50})
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
        found = {
            key: float((metrics or {}).get(key, 0.0)) for key in self.metrics.values()
        }  # mmdet: none where nothing is found
        runner.visualizer.add_scalars({**found, ELAPSED: round(loop.elapsed, 1)}, step=runner.iter)
        told = ", ".join(f"{name} {found[key]:.3f}" for name, key in self.metrics.items())
        _tell(runner, runner.epoch, f"validation {told}")
        self.told = time.monotonic()


def _tell(runner: Runner, epoch: int, what: str) -> None:
    loop = runner.train_loop
    if not is_main_process() or not isinstance(loop, TimedTrainLoop):
        return
    of = f" of {_clock(loop.whole)}" if math.isfinite(loop.whole) else ""
    print(f"{_clock(loop.elapsed)}{of}, epoch {epoch}: {what}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
