"""In what arithmetic a training computes: float32, or mixed precision in bfloat16 or float16."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config

from gemnet.core.machine import has_bfloat16

OPTION, FLOAT32 = "optim_wrapper.type", "OptimWrapper"
"""The option (dotted key) that chooses the arithmetic, and what it is for float32."""
FLOAT16, BFLOAT16 = "AmpOptimWrapper", "gemnet.BFloat16OptimWrapper"
"""The same for mixed precision: with loss scaling, on GPUs; and on CPUs, which need none."""


def use_amp(config: Config) -> None:
    """Mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU."""
    gpu = torch.cuda.is_available()
    if not gpu and has_bfloat16() is False and int(os.environ.get("RANK", "0")) == 0:
        print("--amp: this CPU only emulates bfloat16: about 20 times slower than without --amp", file=sys.stderr)
    _use(config, FLOAT16 if gpu else BFLOAT16)


def use_fastest(config: Config, options: Mapping[str, Any]) -> None:
    """Mixed precision where the machine is faster with it, unless the config or one of the options (dotted keys) chose."""
    plain = config.optim_wrapper.type == FLOAT32 and OPTION not in options
    if plain and (torch.cuda.is_available() or has_bfloat16()):
        use_amp(config)


def use_as_begun(config: Config, begun: Config) -> None:
    """The arithmetic of the config that a run began with, on another machine too; float16 on GPUs alone."""
    if begun.optim_wrapper.type != FLOAT16 or torch.cuda.is_available():
        _use(config, begun.optim_wrapper.type)


def _use(config: Config, wrapper: str) -> None:
    config.optim_wrapper.type = wrapper
    if wrapper == FLOAT16:
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    else:
        config.optim_wrapper.pop("loss_scale", None)


def precision(config: Config) -> str:
    """What a training by this config computes in: float32, bfloat16 or float16."""
    return {FLOAT16: "float16", BFLOAT16: "bfloat16"}.get(config.optim_wrapper.get("type"), "float32")
