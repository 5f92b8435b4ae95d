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
from search.encoders.common import Batch, Epochs, LearningRate

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
    far fewer steps (docs/svge).

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

    def optimizers(self, net: nn.Module) -> list[torch.optim.Optimizer]:
        """For all parameters of `net`."""
        if self.optimizer == "adam":
            return [torch.optim.Adam(net.parameters(), self.lr)]
        return with_muon(net, partial(Muon, lr=self.lr), partial(torch.optim.Adam, lr=self.lr))

    def of(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule, for epochs of so many steps."""
        if self.schedule == "plateau":
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
    """Train `net` in place; returns the figures of `loss`, means over the last epoch.

    loss: rows int64 [b] and a generator for noise -> figures by name; "loss" is minimised. count: rows there are; each epoch
    takes them in a new order. directory: where a checkpoint is kept after each epoch and, where there is one, gone on from; on
    a CPU with the same number of threads the end is that of an undisturbed run bit for bit; `history` tells the epochs behind
    it. identity: what must be the same to go on. Raises SearchError where the loss is not a number, or for a checkpoint that is
    damaged or of another training.
    """
    device = next(net.parameters()).device
    optimizers = plan.optimizers(net)
    first, figures, steps = 1, {}, -(-count // plan.batch)
    schedules, each_step = [plan.of(optimizer, steps) for optimizer in optimizers], plan.schedule != "plateau"
    generator = torch.Generator().manual_seed(seed)
    told = {"seed": seed, "rows": count, "batch": plan.batch, "lr": plan.lr, "patience": plan.patience, "factor": plan.factor}
    told |= {"schedule": plan.schedule, "epochs": plan.epochs} if each_step else {}
    told |= {"optimizer": plan.optimizer} if plan.optimizer != "adam" else {}
    told |= dict(identity or {})
    path = None if directory is None else Path(directory) / CHECKPOINT
    epochs: list[dict[str, float]] = []
    if path is not None and path.exists():
        state = _read(path, told)
        if state["epoch"] > plan.epochs:
            raise SearchError(f"{path}: has {state['epoch']} epochs behind it, more than the {plan.epochs} wanted")
        try:
            net.load_state_dict(state["net"])
            for name, parts in {"optimizers": optimizers, "schedules": schedules}.items():
                for part, kept in zip(parts, state[name], strict=True):
                    part.load_state_dict(kept)
            generator.set_state(state["generator"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise SearchError(f"{path}: not a checkpoint of this training: {str(error).splitlines()[0]}") from None
        first, figures, epochs = state["epoch"] + 1, state["figures"], state["history"]
    for epoch in range(first, plan.epochs + 1):
        started = time.monotonic()
        order = torch.randperm(count, generator=generator).to(device)
        sums: dict[str, Tensor] = {}
        for step, rows in enumerate(order.split(plan.batch), 1):
            values = loss(rows, generator)
            net.zero_grad(set_to_none=True)
            values["loss"].backward()
            for optimizer in optimizers:
                optimizer.step()
            for schedule in schedules if each_step else ():
                schedule.step()
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value.detach().double() * (len(rows) / count)
            if progress and (step % 20 == 0 or step == steps):
                progress((epoch - 1) * steps + step, plan.epochs * steps, f"epoch {epoch}, loss {values['loss'].item():.4f}")
        figures = {name: float(value) for name, value in sums.items()}
        if not math.isfinite(figures["loss"]):
            raise SearchError(f"the loss is not a number in epoch {epoch}: lower the learning rate (lr {plan.lr:g})")
        for schedule in () if each_step else schedules:
            schedule.step(figures["loss"])
        epochs.append({"epoch": epoch, "seconds": time.monotonic() - started, **figures})
        if path is not None:
            _write(path, told, epoch, net, optimizers, schedules, generator, figures, epochs)
    return figures


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


def _write(path, told, epoch, net, optimizers, schedules, generator, figures, epochs) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "identity": json.dumps(told, sort_keys=True),
        "epoch": epoch,
        "net": net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "schedules": [schedule.state_dict() for schedule in schedules],
        "generator": generator.get_state(),
        "figures": figures,
        "history": epochs,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


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
