"""Schedules of the learning rate stated in epochs, stretched to another length, and fitted to the iterations of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from gemnet.core.errors import UserError
from gemnet.openmmlab.registry import HOOKS

TIMES = ("begin", "end", "T_max", "milestones", "step_size", "total_steps", "periods")
"""What mmengine's schedulers state in epochs, or in iterations with by_epoch=False."""
WARM_UP = 0.1
"""The longest share of a run for a warm-up, unless the config states a longer one."""
WARMING = ("LinearLR", "ConstantLR", "QuadraticWarmupLR")
EPSILON = 1e-9


def interval(epochs: int, new: int, old: int) -> int:
    """Every how many of `new` epochs to validate, where it was every `epochs` of `old`: as often in a shorter run."""
    return max(1, min(epochs, round(epochs * new / old)))


def span(schedulers: Any) -> float | None:
    """The last epoch that a schedule states, or None where it states none."""
    ends = []
    for one in _listed(schedulers):
        if one.get("by_epoch", True):
            ends += [one["end"]] if "end" in one else []
            ends += [one.get("begin", 0) + one["T_max"]] if one.get("T_max") else []
    ends = [end for end in ends if isinstance(end, (int, float))]
    return max(ends) if ends else None


def stretched(schedulers: Any, new: int, old: int) -> Any:
    """A schedule for `old` epochs as one for `new`: the same shares of the run.

    A warm-up keeps its epochs, but takes no larger share than before, or a tenth; one in iterations stays, `fit` bounds it.
    Times are whole epochs where that keeps them apart and inside the run, else fractions, which mmengine rounds to iterations.
    """
    warm = next((one["end"] for one in _listed(schedulers) if _warms_up(one) and one.get("by_epoch", True)), 0)
    if warm >= old:
        warm = 0
    shorter = min(warm, max(warm / old, WARM_UP) * new)

    def moved(time: float) -> float:
        return time * shorter / warm if time < warm else shorter + (time - warm) * (new - shorter) / (old - warm)

    found = [_stretch(deepcopy(one), moved, new / old, new) for one in _listed(schedulers)]
    return found if isinstance(schedulers, list) else found[0]


def _stretch(one: Any, moved: Callable[[float], float], ratio: float, length: int) -> Any:
    if not one.get("by_epoch", True):
        return one
    begin = one.get("begin", 0)
    if one.get("T_max"):
        one["T_max"] = _whole(moved(begin + one["T_max"]) - moved(begin))
    for key in ("begin", "end"):
        if key in one:
            one[key] = _whole(moved(one[key]))
    if "milestones" in one:
        times = [moved(time) for time in one["milestones"]]
        rounded = [round(time) for time in times]
        apart = len({0, *rounded, length}) == len(rounded) + 2
        one["milestones"] = rounded if apart else [_whole(time) for time in times]
    for key in ("step_size", "total_steps"):
        if key in one:
            one[key] = _whole(one[key] * ratio)
    if "periods" in one:
        one["periods"] = [_whole(time * ratio) for time in one["periods"]]
    if _fractions(one):
        one["convert_to_iter_based"] = True
    return one


def fit(runner: Runner, by_hand: bool = False) -> None:
    """Fit the schedule to the run's iterations, which its data tell, before mmengine builds it; tell it in the log.

    In a run by epochs, fractions of epochs become iterations; a warm-up in iterations takes at most a tenth of the run, and one
    that is as long as the run likewise, unless the schedule was set `by_hand`. One that ends before or after the run is told.
    """
    loop, schedulers = runner.train_loop, _listed(runner.param_schedulers)
    if not schedulers or not all(isinstance(one, dict) and "type" in one for one in schedulers):
        return
    length, total = len(loop.dataloader), loop.max_iters
    if total != loop.max_epochs * length:  # a run by iterations, which its config states
        return
    found = schedulers if by_hand else _bounded(schedulers, length, total)
    found = [{k: v for k, v in one.items() if k != "T_max" or v is None or v > 0} for one in found]  # mmengine: up to the end
    found = [_in_iterations(one, length) if _fractions(one) else deepcopy(one) for one in found]
    found = [one for one in found if not _warms_up(one) or _steps(one, length) > 1]  # of one step it would never end
    runner.param_schedulers = found
    runner.logger.info(f"schedule: {total} iterations, {loop.max_epochs} epochs of {length}{_told(found, length)}")
    in_epochs = [one for one in found if one.get("by_epoch", True)]
    late = [time for one in in_epochs for time in one.get("milestones", ()) if time >= loop.max_epochs]
    last = max([*late, span(found) or 0])
    if last and last != loop.max_epochs:
        runner.logger.warning(
            f"param_scheduler is made for {last} epochs, but the run has {loop.max_epochs}; it was set by hand and stays. "
            "epochs=... alone changes both"
        )


def tell_batch(runner: Runner) -> None:
    """Tell in the log where the learning rate was chosen for another batch than the run has, and where that is all the data."""
    scaling, images = runner.auto_scale_lr or {}, len(runner.train_loop.dataloader.dataset)
    batch = get_world_size() * runner.cfg.train_dataloader.get("batch_size", 0)
    base = scaling.get("base_batch_size")
    if batch > images:
        runner.logger.warning(f"a batch of {batch} is more than the {images} images to train on: a step has all of them")
    if batch and base and batch != base and not scaling.get("enable", False):
        runner.logger.warning(
            f"the learning rate is for batches of {base} images, and stays with this run's {batch}; --auto-scale-lr would "
            f"multiply it by {batch / base:g}"
        )


def _bounded(schedulers: list[Any], length: int, total: int) -> list[Any]:
    """With a warm-up that leaves most of the run to what follows."""
    first, *others = schedulers
    if not others or not _warms_up(first):
        return schedulers
    shorter = int(total * WARM_UP)
    if not first.get("by_epoch", True):
        return [{**first, "end": min(first["end"], shorter)}, *others]
    warm = round(first["end"] * length)
    if warm < total:
        return schedulers
    found = [_in_iterations(one, length) for one in schedulers]
    found[0]["end"] = shorter
    for one in found[1:]:
        if one.get("begin", 0) >= warm:
            one["begin"] = shorter
            if "T_max" in one:
                one["T_max"] = max(1, total - shorter)
    return found


def _in_iterations(one: Any, length: int) -> Any:
    """A scheduler in epochs as one in whole iterations."""
    if not one.get("by_epoch", True):
        return one
    one = deepcopy(one)
    begin = round(one.get("begin", 0) * length)
    if one.get("T_max"):
        one["T_max"] = max(1, round((one.get("begin", 0) + one["T_max"]) * length) - begin)
    for key in TIMES:
        if key in one and key != "T_max":
            value = one[key]
            one[key] = [round(t * length) for t in value] if isinstance(value, Sequence) else round(value * length)
    one.pop("convert_to_iter_based", None)
    one["by_epoch"] = False
    return one


def _fractions(one: Mapping[str, Any]) -> bool:
    values = [one[key] for key in TIMES if key in one]
    return any(isinstance(t, float) for value in values for t in (value if isinstance(value, Sequence) else [value]))


def _steps(one: Mapping[str, Any], length: int) -> float:
    """How often a warm-up changes the learning rate."""
    return one["end"] * (length if one.get("by_epoch", True) and one.get("convert_to_iter_based") else 1)


def _warms_up(one: Mapping[str, Any]) -> bool:
    return (
        str(one.get("type")).rpartition(".")[2] in WARMING
        and one.get("begin", 0) == 0
        and math.isfinite(one.get("end", math.inf))
    )


def _whole(time: float) -> float | int:
    return round(time) if abs(time - round(time)) < EPSILON else round(time, 6)


def _listed(schedulers: Any) -> list[Any]:
    return schedulers if isinstance(schedulers, list) else [schedulers] if isinstance(schedulers, dict) else []


def _told(schedulers: list[Any], length: int) -> str:
    warm = next((one for one in schedulers if _warms_up(one)), None)
    if warm is None:
        return ""
    return f"; warm-up in the first {round(warm['end'] * (length if warm.get('by_epoch', True) else 1))} iterations"


@HOOKS.register_module()
class SameScheduleHook(Hook):
    """Refuses to resume with another schedule than the checkpoint's, with which mmengine would go on in silence."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        stored = checkpoint.get("param_schedulers")
        if not runner._resume or not isinstance(stored, list) or not isinstance(runner.param_schedulers, list):
            return
        now = [_times(vars(one)) for one in runner.param_schedulers]
        before = [_times(one) for one in stored if isinstance(one, Mapping)]
        if now != before:
            pairs: list[tuple[Any, Any]] = [pair for pair in zip(before, now) if pair[0] != pair[1]]
            there, here = (pairs or [(len(before), len(now))])[0]
            raise UserError(
                f"--resume: the schedule is not the checkpoint's: {there} there, {here} here; epochs, batch, "
                "images or processes are others. Resume with the former ones, or start anew from the checkpoint's weights in "
                "another work directory: --cfg-options load_from=CHECKPOINT"
            )


def _times(state: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: state[key] for key in TIMES if key in state}
    return {key: sorted(value.elements()) if hasattr(value, "elements") else value for key, value in found.items()}
