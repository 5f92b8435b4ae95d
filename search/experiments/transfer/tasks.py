"""What is measured: networks, each with weights or without, in all ways to learn a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import timm
import torch
import torchvision
from torch import nn

from gemnet.checkpoints.reading import read_state_dict
from gemnet.core.errors import UserError
from gemnet.library import create_library_model, set_bn_momentum
from gemnet.model_table import MODELS, shipped_weights, weights_file
from gemnet.weights import WeightsError

if TYPE_CHECKING:
    from gemnet.pretraining.settings import Choice

SCRATCH = "scratch"
FROZEN = ("nearest", "linear")
"""Ways without training the network: the nearest neighbours in its features, and a linear classifier of them."""
TUNED, TRIED = "tuned", "tried"
"""Ways of training it: on all images, tested on the test images; on nine tenths of them, tested on the others."""
BN_MOMENTUM = 0.1
"""Of the normalisation in torchvision's networks, timm's and ours having it by default; see `set_bn_momentum`."""


@dataclass(frozen=True)
class Start:
    """A network, and the weights that it starts from.

    Attributes:
        model: One of timm's names, ours among them, or `torchvision/NAME`, which is trained without dropout as they are.
        weights: A file; None for none.
    """

    model: str
    weights: Path | None = None

    @cached_property
    def name(self) -> str:
        """`scratch`, or the digest of the weights: by which the record knows them, wherever the file lies."""
        if self.weights is None:
            return SCRATCH
        return hashlib.sha256(self.weights.read_bytes()).hexdigest()[:12]

    def build(self, classes: int, seed: int) -> nn.Module:
        """The network with a new classifier; what is drawn at random follows from the seed.

        Raises:
            WeightsError: The file is that of another network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = self._network(classes)
        if self.weights is not None:
            state, own = read_state_dict(self.weights), network.state_dict()
            head = str(vars(network)["pretrained_cfg"]["classifier"])
            taken = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
            wanted = {key for key in own if not key.startswith(f"{head}.") and not key.endswith("num_batches_tracked")}
            wrong = sorted(key for key in wanted if key not in taken or taken[key].shape != own[key].shape)
            if wrong:
                raise WeightsError(
                    f"{self.weights}: {len(wrong)} of {len(wanted)} weights of {self.model} do not fit, as {wrong[0]}"
                )
            network.load_state_dict({key: taken[key] for key in own if key in taken}, strict=False)
        return network.to(memory_format=torch.channels_last)

    def _network(self, classes: int) -> nn.Module:
        if "/" not in self.model:
            return timm.create_model(self.model, pretrained=False, num_classes=classes)
        network = set_bn_momentum(create_library_model(self.model, num_classes=classes), BN_MOMENTUM)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return network


@dataclass(frozen=True)
class Peer:
    """A model that is pretrained as the weights of ours were, on the same images, to be compared with them.

    Attributes:
        model: One of timm's names.
        images: The folders.
        place: Where its weights go.
        cache: Of the teacher's answers; None for `answers` in `place`.
        like: The model of ours whose weights tell the teacher, views, seed and minutes.
    """

    model: str
    images: tuple[str, ...]
    place: Path
    cache: str | None = None
    like: str = "gemnet_a"

    def choice(self) -> Choice:
        """What is trained, as the weights of ours tell of themselves. Raises UserError where they do not."""
        from gemnet.pretraining.settings import Choice

        file = weights_file(self.like)
        with safetensors.safe_open(file, "pt") as held:
            told = json.loads((held.metadata() or {}).get("gemnet", "{}"))
        names = ("teacher", "config", "options", "views", "teacher_size", "seed", "minutes")
        if lacking := [name for name in names if name not in told]:
            raise UserError(f"{file}: does not tell how it was made, as {lacking[0]}")
        features = bool(told.get("features"))
        return Choice(self.images, model=self.model, features=features, processes=1, **{name: told[name] for name in names})

    def start(self) -> Start:
        """With its weights, which are made where they are missing; what was stopped goes on."""
        from gemnet.pretraining.run import pretrain
        from gemnet.pretraining.writing import WEIGHTS

        pretrain(self.choice(), str(self.place), self.cache)
        return Start(self.model, self.place / WEIGHTS)


@dataclass(frozen=True)
class Task:
    """A measurement.

    Attributes:
        start: What it begins with.
        way: `nearest` or `linear` on frozen features, or `tuned` or `tried`: all weights are trained.
        epochs: Of the training; 0 on frozen features.
        labels: The share of each class's training images that has labels.
        seed: Of weights, order and crops, and of the choice of the images.
        learning_rate: Of the training, at its highest; 0 on frozen features.
        precision: Of the training, as `learning.Recipe` has it.
    """

    start: Start
    way: str
    epochs: int
    labels: float
    seed: int
    learning_rate: float = 0.0
    precision: str = "float32"

    @property
    def key(self) -> tuple[str, str, str, int, float, int, float, str]:
        """By which the record knows it, beside the data."""
        how = self.way, self.epochs, self.labels, self.seed, self.learning_rate, self.precision
        return self.start.model, self.start.name, *how

    @property
    def file(self) -> str:
        """A name for its files."""
        return "_".join(map(str, self.key)).replace("/", "-")

    @property
    def title(self) -> str:
        """For people."""
        begin = SCRATCH if self.start.weights is None else "pretrained"
        how = self.way if self.way in FROZEN else f"{self.epochs} epochs, learning rate {self.learning_rate:g}"
        return f"{self.start.model} {begin}, {how}, {self.labels:.0%} of the labels, seed {self.seed}"


def parse_start(given: str) -> Start:
    """A start by its name: `gemnet_a` with the weights that ship, `gemnet_a@scratch`, or `MODEL@FILE`.

    Raises:
        UserError: No such model or file, or no weights ship for it.
    """
    model, _, source = given.partition("@")
    if model.startswith("torchvision/") and model.removeprefix("torchvision/") in torchvision.models.list_models():
        if source == SCRATCH:
            return Start(model)
        raise UserError(f"{given}: torchvision's models are compared from scratch; expected {model}@{SCRATCH}")
    if model not in MODELS and not timm.is_model(model):
        raise UserError(f"{given}: timm has no model {model!r}; expected MODEL, MODEL@{SCRATCH} or MODEL@FILE")
    if source == SCRATCH:
        return Start(model)
    if not source:
        if model not in shipped_weights():
            raise UserError(f"{given}: no weights ship for {model}; expected {model}@{SCRATCH} or {model}@FILE")
        return Start(model, weights_file(model))
    if not Path(source).is_file():
        raise UserError(f"{given}: {source}: no such file")
    return Start(model, Path(source))


def tasks(
    starts: Sequence[Start],
    ways: Sequence[str],
    epochs: Sequence[int],
    labels: Sequence[float],
    seeds: Sequence[int],
    rates: Mapping[str, float],
    precision: str,
) -> list[Task]:
    """All measurements, seed by seed, the cheap ones first: what is stopped early is a comparison all the same.

    rates: The learning rate of each model's trainings; needed where they are among the ways. precision: Theirs.

    Raises UserError for frozen features of a network that does not tell them as timm's do.
    """
    for start in starts:
        if "/" in start.model and (given := [way for way in ways if way in FROZEN]):
            raise UserError(f"{start.model}: {given[0]} needs a model of timm's; expected --ways {TUNED}")
    frozen = [
        Task(start, way, 0, share, seed)
        for seed in seeds
        for share in labels
        for start in starts
        for way in ways
        if way in FROZEN
    ]
    trainings = sorted(((length, share) for length in epochs for share in labels), key=lambda pair: (pair[0] * pair[1], pair))
    tuned = [
        Task(start, TUNED, length, share, seed, rates[start.model], precision)
        for seed in seeds
        for length, share in trainings
        for start in starts
        if TUNED in ways
    ]
    return frozen + tuned


def tried(models: Iterable[str], rates: Sequence[float], epochs: int, precision: str) -> list[Task]:
    """The trainings by which the learning rate of each model is chosen, from scratch."""
    return [Task(Start(model), TRIED, epochs, 1.0, 0, rate, precision) for model in dict.fromkeys(models) for rate in rates]
