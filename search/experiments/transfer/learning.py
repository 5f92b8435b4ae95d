"""Learn a data set: from a network's frozen features, or by training all its weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from gemnet.core.errors import UserError
from gemnet.core.files import replacing
from gemnet.pretraining.views import cut, random_view
from gemnet.quick_layers import quicken

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the channels, in grey levels: what GEMNet's configs normalise with."""
NEIGHBOURS, SHARPNESS = 20, 0.07
"""Of the nearest neighbours' vote: how many, and the temperature of their cosines (Wu et al., CVPR 2018)."""
BATCH = 64


@dataclass(frozen=True)
class Recipe:
    """Of a training, the same for every network: AdamW, a learning rate that rises linearly, then falls along a cosine.

    Attributes:
        learning_rate: At its highest, for batches of 64.
        weight_decay: Of all weights with more than one dimension.
        warmup: The share of the steps in which the learning rate rises.
        smoothing: Of the labels.
        precision: `float32`, or `bfloat16` for mixed precision.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    smoothing: float = 0.1
    precision: str = "float32"


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size with their classes.

    Attributes:
        pixels: uint8 [N, 3, S, S].
        labels: int64 [N].
        classes: Their names.
        rows: int64 [N], of a part: which of the whole its images are.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    rows: Tensor | None = None

    def part(self, share: float, seed: int) -> Images:
        """A share of each class's images, at least one; all of them for 1."""
        if share >= 1:
            return self
        generator = np.random.default_rng(seed)
        chosen: list[int] = []
        for label in range(len(self.classes)):
            own = np.flatnonzero(self.labels.numpy() == label)
            chosen += generator.permutation(own)[: max(1, round(share * len(own)))].tolist()
        return self._of(torch.tensor(sorted(chosen)))

    def without(self, part: Images) -> Images:
        """The images that are not in a part of these."""
        left = torch.ones(len(self.labels), dtype=torch.bool)
        left[part.rows] = False
        return self._of(left.nonzero().flatten())

    def _of(self, rows: Tensor) -> Images:
        return Images(self.pixels[rows], self.labels[rows], self.classes, rows)


def normalised(pixels: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] as a network takes it, channels last."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def features(network: Any, pixels: Tensor) -> Tensor:
    """What the classifier of a model of timm's would be given, float32 [N, D], of images uint8 [N, 3, S, S]."""
    network.eval()
    maps = (network.forward_features(normalised(batch)) for batch in pixels.split(BATCH))
    return torch.cat([network.forward_head(one, pre_logits=True) for one in maps])


def nearest(train: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
    """Classes int64 [M] of features [M, D], by the vote of their nearest neighbours among [N, D]."""
    cosines = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    near, rows = cosines.topk(min(NEIGHBOURS, len(train)), dim=1)
    votes = torch.zeros(len(test), classes).scatter_add_(1, labels[rows], (near / SHARPNESS).exp())
    return votes.argmax(1)


def linear(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """Classes int64 [M] of features [M, D], by logistic regression on [N, D], each feature with deviation 1."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    model = LogisticRegression(C=0.01, max_iter=300).fit(((train - mean) / std).numpy(), labels.numpy())
    return torch.from_numpy(model.predict(((test - mean) / std).numpy()))


def tune(
    network: nn.Module,
    train: Images,
    test: Images,
    epochs: int,
    seed: int,
    recipe: Recipe | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Path | None = None,
) -> tuple[float, float]:
    """Train all weights on random crops, mirrored or not.

    checkpoint: a file, written after each epoch, from which the same call goes on; it is removed at the end.

    Returns:
        The accuracy on the test images after the last epoch, and the CPU seconds of calls before that were stopped.

    Raises:
        UserError: The loss is not finite.
    """
    recipe = recipe or Recipe()
    flat = [weight for weight in network.parameters() if weight.ndim < 2]
    deep = [weight for weight in network.parameters() if weight.ndim >= 2]
    groups = [{"params": deep, "weight_decay": recipe.weight_decay}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    batch = min(BATCH, len(train.labels))
    steps, total = len(train.labels) // batch, epochs * (len(train.labels) // batch)
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16")
    quicken(network.train())
    began, before, first = time.process_time(), 0.0, 0
    if checkpoint is not None and checkpoint.is_file():
        held = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(held["network"])
        optimizer.load_state_dict(held["optimizer"])
        generator.set_state(held["generator"])
        first, before = held["epoch"], held["cpu_seconds"]
    for epoch in range(first, epochs):
        order = torch.randperm(len(train.labels), generator=generator)
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            crops = np.stack([_crop(train.pixels[row], seed, int(row), epoch) for row in rows])
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _rate((epoch * steps + step + 0.5) / total, recipe.warmup)
            with mixed:
                answers = network(normalised(torch.from_numpy(crops).permute(0, 3, 1, 2)))
            loss = F.cross_entropy(answers.float(), train.labels[rows], label_smoothing=recipe.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step % 10 == 9:
                progress(epoch * steps + step + 1, total)
        if not math.isfinite(loss.item()):
            raise UserError(f"the loss became {loss.item()} in epoch {epoch + 1} of {epochs}")
        if checkpoint is not None and epoch + 1 < epochs:
            spent = before + time.process_time() - began
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "generator": generator.get_state()}
            with replacing(checkpoint) as temporary:
                torch.save({**state, "epoch": epoch + 1, "cpu_seconds": spent}, temporary)
    found = accuracy(network, test)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return found, before


@torch.inference_mode()
def accuracy(network: nn.Module, images: Images) -> float:
    """The share of images whose class the network names first."""
    network.eval()
    answers = torch.cat([network(normalised(batch)).argmax(1) for batch in images.pixels.split(BATCH)])
    return share_right(answers, images.labels)


def share_right(answers: Tensor, labels: Tensor) -> float:
    """The share of answers int64 [N] that are the labels."""
    return float((answers == labels).double().mean())


def _crop(image: Tensor, seed: int, row: int, epoch: int) -> np.ndarray:
    pixels = image.permute(1, 2, 0).numpy()
    return cut(pixels, random_view(pixels.shape[:2], seed, row, epoch), pixels.shape[0])


def _rate(done: float, warmup: float) -> float:
    """The learning rate's share of its highest value after a share of the steps."""
    return done / warmup if done < warmup else 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
