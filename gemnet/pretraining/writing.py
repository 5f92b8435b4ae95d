"""The weights of a pretraining: measured, and written for timm in half precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor

from gemnet.checkpoints.reading import WeightsError, find, plain_tensors, read_checkpoint
from gemnet.core.files import replacing
from gemnet.model_table import MODELS
from gemnet.openmmlab import engine
from gemnet.openmmlab.launching import to_log
from gemnet.pretraining.settings import CONFIG
from gemnet.weights import convert

WEIGHTS, LOG = "weights.safetensors", "train.log"


def accuracy(place: Path, checkpoint: Path, options: Mapping[str, Any] | None = None) -> float:
    """The share of the test images whose class a checkpoint names first. options: of the config in the work directory."""
    with to_log(place / LOG), TemporaryDirectory(dir=place, prefix="evaluation_") as runner:  # which writes its config there
        found = engine.evaluate(str(place / CONFIG), str(checkpoint), runner, options=options)
    return float(found["accuracy/top1"]) / 100


def write_weights(place: Path, checkpoint: Path, model: str, told: Mapping[str, Any]) -> None:
    """Write the weights of a checkpoint for timm, in half precision but for vectors, with what is told of them."""
    state = _of_ours(checkpoint, place) if model in MODELS else _of_timms(checkpoint, model)
    slim = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}  # variances may be very small
    with replacing(place / WEIGHTS) as temporary:
        safetensors.torch.save_file(slim, temporary, {"gemnet": json.dumps(told)})


def _of_ours(checkpoint: Path, place: Path) -> dict[str, Tensor]:
    with TemporaryDirectory(dir=place, prefix="weights_") as folder:
        whole = Path(folder) / WEIGHTS
        convert(checkpoint, whole, "timm")
        return safetensors.torch.load_file(whole)


def _of_timms(checkpoint: Path, model: str) -> dict[str, Tensor]:
    """The weights of a `TimmStudent` and its head, by the names of timm's model. Raises WeightsError where some are missing."""
    network = timm.create_model(model, pretrained=False, num_classes=0)
    classifier = str(vars(network)["pretrained_cfg"]["classifier"])
    held = find(checkpoint, read_checkpoint(checkpoint), network.state_dict().keys()).held
    start = held.prefix.removesuffix("backbone.body.") + "head.fc."
    head = {f"{classifier}.{key.removeprefix(start)}": held.container[key] for key in held.container if key.startswith(start)}
    state = plain_tensors(checkpoint, {**held.tensors, **head})
    missing = [key for key in network.state_dict() if key not in state]
    if missing or not head:
        raise WeightsError(f"{checkpoint}: {len(missing)} weights of {model} are missing, first {(missing or [classifier])[0]}")
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
