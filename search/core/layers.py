"""Layers that encoders and predictors are made of, and the learning rates that they are trained at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers between these widths, with ReLU between each other."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def one_cycle(optimizer: torch.optim.Optimizer, lr: float, steps: int, **settings: Any) -> torch.optim.lr_scheduler.OneCycleLR:
    """The one-cycle schedule over `steps`, one or more, a tenth of them to warm up. settings: of torch's."""
    share = 0.1 if steps != 10 else 0.2  # torch divides by the steps of the warm-up less one
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=share, **settings)
