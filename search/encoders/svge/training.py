"""Training by epochs that can be stopped at any moment and goes on to the same result."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from gemnet.core.files import check_regular, replacing
from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.muon import Muon, with_muon
from search.core.types import Progress, SearchError
from search.encoders.settings import Batch, Epochs, LearningRate

CHECKPOINT = "checkpoint.pt"
SCHEDULES, OPTIMIZERS = ("plateau", "cosine"), ("adam", "muon")
WARM_UP = 0.03

Patience = Annotated[int, Setting("of the schedule plateau: epochs without a lower loss before the rate falls", at_least=1)]
Schedule = Annotated[str, Setting("of the learning rate: falls where the loss does not, or along a cosine", choices=SCHEDULES)]
Optimizer = Annotated[str, Setting("of the training", choices=OPTIMIZERS)]


@takes_settings("encoder")
@dataclass(frozen=True)
class Plan:
    """One of two optimisers with one of two schedules of its learning rate.

    "adam", SVGe's. "muon": steps along orthogonal matrices (`Muon`) for the weights of hidden layers, Adam for the rest; needs
    far fewer steps (docs/results/svge).

    "plateau", SVGe's: multiplied by `factor` once the mean loss of an epoch has not fallen for `patience` epochs. "cosine": a
    linear rise over the first WARM_UP of all steps, then down along a cosine to 0, so that far fewer epochs do; a training
    with other epochs is another training then.

    patience 10 and factor .1 are SVGe's.
    """

    epochs: Epochs = 300
    batch: Batch = 32
    lr: LearningRate = 1e-4
    patience: Patience = 10
    factor: Annotated[float, Setting("of the learning rate where it falls", above=0, below=1)] = 0.1
    schedule: Schedule = "plateau"
    optimizer: Optimizer = "adam"

    @property
    def each_step(self) -> bool:
        """Whether the learning rate changes with each step, not with each epoch."""
        return self.schedule != "plateau"

    def identity(self, seed: int, count: int) -> dict[str, Any]:
        """What must be the same of a training on `count` rows to go on with it: what has a default that older checkpoints do
        not know, where it is another."""
        told: dict[str, Any] = {"seed": seed, "rows": count, "batch": self.batch, "lr": self.lr, "patience": self.patience}
        told |= {"factor": self.factor}
        told |= {"schedule": self.schedule, "epochs": self.epochs} if self.each_step else {}
        return told | ({"optimizer": self.optimizer} if self.optimizer != "adam" else {})

    def optimizers(self, net: nn.Module) -> list[torch.optim.Optimizer]:
        """For all parameters of `net`."""
        if self.optimizer == "adam":
            return [torch.optim.Adam(net.parameters(), self.lr)]
        return with_muon(net, partial(Muon, lr=self.lr), partial(torch.optim.Adam, lr=self.lr))

    def of(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule, for epochs of so many steps."""
        if not self.each_step:
            return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=self.factor, patience=self.patience)
        total = self.epochs * steps
        warm = max(1, round(WARM_UP * total))
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1, step / total)))
        )


def train(
    net: nn.Module,
    loss: Callable[[Tensor, torch.Generator], Mapping[str, Tensor]],
    count: int,
    plan: Plan,
    seed: int,
    progress: Progress | None = None,
    directory: str | os.PathLike[str] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Train `net` in place; on a CPU with the same number of threads a training that was stopped ends as an undisturbed one.

    Args:
        net: the network.
        loss: rows int64 [b] and a generator for noise -> figures by name; "loss" is minimised.
        count: how many rows there are; each epoch takes them in a new order.
        plan: epochs, batches, optimiser and learning rate.
        seed: of orders and noise.
        progress: told of steps.
        directory: where a checkpoint is kept after each epoch and, where there is one, gone on from; `history` tells of it.
        identity: what must be the same to go on, JSON values by name.

    Returns:
        The figures of `loss`, means over the last epoch.

    Raises:
        SearchError: where the loss is not a number, or for a checkpoint that is damaged or of another training.
    """
    steps = -(-count // plan.batch)
    training = _Training(net, plan, steps, seed)
    path = None if directory is None else Path(directory) / CHECKPOINT
    told = plan.identity(seed, count) | dict(identity or {})
    if path is not None and path.exists():
        training.restore(path, told)
    device = next(net.parameters()).device
    while training.epoch < plan.epochs:
        started = time.monotonic()
        number, sums = training.epoch + 1, dict[str, Tensor]()
        order = torch.randperm(count, generator=training.generator).to(device)
        for step, rows in enumerate(order.split(plan.batch), 1):
            values = loss(rows, training.generator)
            training.step(values["loss"])
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value.detach().double() * (len(rows) / count)
            if progress and (step % 20 == 0 or step == steps):
                done, total = (number - 1) * steps + step, plan.epochs * steps
                progress(done, total, f"epoch {number}, loss {values['loss'].item():.4f}")
        figures = {name: float(value) for name, value in sums.items()}
        if not math.isfinite(figures["loss"]):
            raise SearchError(f"the loss is not a number in epoch {number}: lower the learning rate (lr {plan.lr:g})")
        training.end_epoch(figures, time.monotonic() - started)
        if path is not None:
            training.save(path, told)
    return training.figures


class _Training:
    """What changes in a training, and its checkpoint. epoch: how many are over; figures: of the last one."""

    def __init__(self, net: nn.Module, plan: Plan, steps: int, seed: int) -> None:
        """steps: of an epoch."""
        self.net, self.plan, self.optimizers = net, plan, plan.optimizers(net)
        self.schedules = [plan.of(optimizer, steps) for optimizer in self.optimizers]
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch, self.figures, self.history = 0, dict[str, float](), list[dict[str, float]]()

    def step(self, loss: Tensor) -> None:
        self.net.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        for schedule in self.schedules if self.plan.each_step else ():
            schedule.step()

    def end_epoch(self, figures: dict[str, float], seconds: float) -> None:
        for schedule in self.schedules:
            if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
                schedule.step(figures["loss"])
        self.epoch, self.figures = self.epoch + 1, figures
        self.history.append({"epoch": self.epoch, "seconds": seconds, **figures})

    def save(self, path: Path, told: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "identity": json.dumps(told, sort_keys=True),
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "generator": self.generator.get_state(),
            "figures": self.figures,
            "history": self.history,
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path, told: Mapping[str, Any]) -> None:
        """Raises SearchError for a checkpoint that is damaged, or of another training than `told`."""
        state = _read(path, told)
        if state["epoch"] > self.plan.epochs:
            raise SearchError(f"{path}: has {state['epoch']} epochs behind it, more than the {self.plan.epochs} wanted")
        try:
            self.net.load_state_dict(state["net"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            for schedule, kept in zip(self.schedules, state["schedules"], strict=True):
                schedule.load_state_dict(kept)
            self.generator.set_state(state["generator"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise SearchError(f"{path}: not a checkpoint of this training: {str(error).splitlines()[0]}") from None
        self.epoch, self.figures, self.history = state["epoch"], state["figures"], state["history"]


def history(directory: str | os.PathLike[str]) -> list[dict[str, float]]:
    """The epochs behind the checkpoint in `directory`: number, seconds, and figures of each. Raises SearchError for none, or a
    damaged one."""
    return _state(Path(directory) / CHECKPOINT)["history"]


def digest(*arrays: Any) -> str:
    """Of the content of numpy arrays, to tell one set of data from another."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def _state(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["identity"] = json.loads(state["identity"])
        if (
            not isinstance(state["identity"], dict)
            or type(state["epoch"]) is not int
            or not isinstance(state["figures"], dict)
            or not isinstance(state.setdefault("history", []), list)
        ):
            raise TypeError("the wrong kind of values")
        state["net"], state["optimizers"], state["schedules"], state["generator"]
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SearchError(f"{path}: cannot be read as a checkpoint: {reason}; remove it to train anew") from None
    return state


def _read(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    state = _state(path)
    known = state["identity"]
    different = [name for name in {**known, **told} if known.get(name) != json.loads(json.dumps(told)).get(name)]
    if different:
        name = different[0]
        raise SearchError(
            f"{path}: of another training: {name} was {known.get(name)!r}, now {told.get(name)!r}; use another directory"
        )
    return state
