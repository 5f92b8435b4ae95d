"""Averaged weights (EMA) that suit the run's length, and are validated beside the raw ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import EMAHook as _EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from torch import Tensor

from gemnet.core.errors import UserError
from gemnet.openmmlab.registry import HOOKS, MODELS

RAW = "raw/"
"""Before the name of a figure of the raw weights, in the log."""
BEHIND = 0.1
"""By what share of the raw weights' figure the averaged ones' may be lower in the second half of a run without a warning."""


@MODELS.register_module()
class WarmedUpEMA(ExponentialMovingAverage):
    """A moving average whose decay starts low: min(1 - momentum, (1 + t) / (10 + t)) in step t, as TensorFlow and timm have it.

    So the random start is forgotten as soon as there is something better. The number of steps is stored with the weights.
    """

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: Tensor | int) -> None:
        averaged_param.lerp_(source_param, max(self.momentum, 9 / (10 + int(steps))))


@HOOKS.register_module()
class EMAHook(_EMAHook):
    """mmengine's EMAHook, whose average reaches back no further than a share of the run, and which tells both accuracies.

    momentum: one over the number of iterations that the average reaches back, as mmengine has it. share: of all iterations, the
    most that it reaches back; 1/20 leaves 1e-4 as it is in runs of 200,000 iterations and more, as ImageNet's of 300 epochs.
    At each validation the log tells the raw weights' figures too, as `raw/...`, and warns where the averaged ones are far
    behind; compare=False saves this second validation. The averaged weights are what `save_best` judges, and are saved as
    `state_dict`; the raw ones as `ema_state_dict`.
    """

    def __init__(
        self,
        momentum: float = 1e-4,
        share: float = 0.05,
        ema_type: str = "gemnet.WarmedUpEMA",
        compare: bool = True,
        **kwargs: Any,
    ) -> None:
        for name, value in (("momentum", momentum), ("share", share)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
                raise UserError(f"EMAHook: {name}={value!r}: expected a number above 0 and below 1")
        super().__init__(ema_type=ema_type, momentum=momentum, **kwargs)
        self.momentum, self.share, self.compare = momentum, share, compare
        self.raw: dict[str, float] = {}

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        if _trains(runner):
            self._set_reach(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        self._set_reach(runner)  # a loop that keeps a time learns its length as it goes

    def _set_reach(self, runner: Runner) -> None:
        self.ema_model.momentum = min(1.0, max(self.momentum, 1 / (self.share * runner.max_iters)))

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        reach = round(1 / self.ema_model.momentum)
        runner.logger.info(
            f"averaged weights (EMA): over about {reach} of {runner.max_iters} iterations, fewer in the beginning. They are "
            "validated, judged by save_best and saved as state_dict"
            + (f"; the raw weights' figures are told as {RAW}..." if self.compare else "")
        )

    def before_val_epoch(self, runner: Runner) -> None:
        self.raw = _evaluated(runner) if self.compare and _trains(runner) else {}
        super().before_val_epoch(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        super().after_val_epoch(runner, metrics)
        if not self.raw or not metrics:
            return
        for name, value in self.raw.items():
            runner.message_hub.update_scalar(f"val/{RAW}{name}", value)
        judged = next((name for name in metrics if name in self.raw), None)
        if judged is None:
            return
        name, averaged, raw = judged, float(metrics[judged]), self.raw[judged]
        runner.logger.info(f"{name}: {averaged:.4f} averaged weights (EMA), which save_best judges; {raw:.4f} raw weights")
        if "loss" not in name and averaged < raw - BEHIND * abs(raw) and 2 * runner.iter >= runner.max_iters:
            runner.logger.warning(
                f"{name}: the averaged weights are far behind the raw ones, and are what is kept. The average reaches back too "
                f"far for this run: set a larger momentum of EMAHook in custom_hooks (now {self.ema_model.momentum:g}), or "
                "train longer (epochs=...)"
            )


def tell_reach(runner: Runner) -> None:
    """Warn in the log of an EMAHook of mmengine's whose average reaches back over most of the run, to its random start."""
    for hook in runner.hooks:
        if isinstance(hook, _EMAHook) and not isinstance(hook, EMAHook):
            reach = 1 / hook.ema_cfg.get("momentum", 2e-4)
            if hook.ema_cfg["type"] == "ExponentialMovingAverage" and reach > runner.max_iters / 2:
                runner.logger.warning(
                    f"EMAHook averages over {reach:.0f} iterations, and the run has {runner.max_iters}: what is validated and "
                    "kept stays near the random start. type='gemnet.EMAHook' in custom_hooks suits the run's length"
                )


def _trains(runner: Runner) -> bool:
    """Whether the runner has begun to train, rather than to test."""
    return runner._train_loop is not None and not isinstance(runner._train_loop, Mapping)


@torch.no_grad()
def _evaluated(runner: Runner) -> dict[str, float]:
    """The figures of the runner's model as it is on the validation set."""
    loop = runner.val_loop
    runner.model.eval()
    for batch in loop.dataloader:
        with autocast(enabled=loop.fp16):
            outputs = runner.model.val_step(batch)
        loop.evaluator.process(data_samples=outputs, data_batch=batch)
    found = loop.evaluator.evaluate(len(loop.dataloader.dataset))
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}
