"""Proxy evaluation: train a candidate's small network on the proxy data, return its validation accuracy (NASGEM, step 2)."""

from __future__ import annotations

import bisect
import functools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import BudgetError, CellStatistics, fit, network_cost
from gemnet.core.machine import has_bfloat16
from gemnet.core.settings import Setting, settings_of
from gemnet.cost import Cost
from gemnet.network import GEMNet
from gemnet.quick_layers import quicken
from search.core.checks import check, takes_settings
from search.core.memory import gpu_is_full
from search.core.types import Evaluation, EvaluationError, Evaluator, Job, SearchError
from search.evaluation.data import ProxyData

WIDEST = 512
"""A proxy network is at most twice as wide as the model, in steps of 1/256."""
AMP = ("auto", "native", "on", "off")


@takes_settings("proxy")
@dataclass(frozen=True)
class ProxySettings:
    """How every candidate is built and trained: by SGD with Nesterov momentum, whose learning rate rises linearly, then falls
    along a cosine. The defaults are for the digits."""

    # network
    width: Annotated[
        int, Setting("of each node in the first stage; 2 and 4 times as many in the next ones", at_least=1, unit="channels")
    ] = 8
    macs: Annotated[
        float | None, Setting("instead of width: of each proxy network, the model scaled down to them", above=0, unit="MACs")
    ] = None
    stem_width: Annotated[int, Setting("of the stem", at_least=1, unit="channels")] = 16
    stem_stride: Annotated[int, Setting("of the stem", choices=(1, 2))] = 1
    # training
    epochs: Annotated[int, Setting("passes over the training images", at_least=1)] = 4
    batch_size: Annotated[int, Setting("of a step", at_least=2, unit="images")] = 64
    learning_rate: Annotated[float, Setting("at its highest", above=0)] = 0.3
    warmup: Annotated[float, Setting("share of all steps over which the learning rate rises", at_least=0, below=1)] = 0.15
    momentum: Annotated[float, Setting("of SGD", at_least=0, below=1)] = 0.9
    weight_decay: Annotated[float, Setting("of the weights of convolutions and classifier", at_least=0)] = 5e-4
    label_smoothing: Annotated[float, Setting("share of the target spread over all classes", at_least=0, below=1)] = 0.0
    # augmentation of training images
    shift: Annotated[
        int, Setting("in each direction at most, what comes in is black; less than an image", at_least=0, unit="pixels")
    ] = 1
    flip: Annotated[bool, Setting("whether images are mirrored left to right, each with probability 1/2")] = False
    cutout: Annotated[
        int, Setting("side of the square set to the mean colour; less than an image", at_least=0, unit="pixels")
    ] = 0
    # arithmetic
    amp: Annotated[
        str, Setting("bfloat16 on GPUs that have it, also on CPUs that have it, everywhere, or nowhere", choices=AMP)
    ] = "auto"


class ProxyEvaluator(Evaluator):
    """Trains a cell in a network of three stages on `data` and measures its validation accuracy.

    On one device with one number of threads a job always gives the same accuracy, in any process; torch's global random
    state is neither used nor changed. On CUDA cuDNN is held to its deterministic kernels.
    """

    every_epoch = True
    """Whether the accuracy is measured after every epoch, or after the last alone."""

    def __init__(self, data: ProxyData, settings: ProxySettings | None = None, model: Mapping[str, Any] | None = None) -> None:
        """model: the budget of the models to come, as `gemnet.fit` takes it; needed where settings.macs is given."""
        self.data = data
        self.model = dict(model or {})
        self.settings = ProxySettings() if settings is None else settings
        self._placed: dict[torch.device, _PlacedData] = {}
        size = min(data.train_images.shape[2:])
        for name in ("shift", "cutout"):
            if getattr(self.settings, name) >= size:
                raise SearchError(f"proxy: {name}={getattr(self.settings, name)}: expected less than the images' {size} pixels")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.settings, self.model)  # without the copies on devices

    def architecture(self, cell: Cell) -> Architecture:
        """The proxy network of `cell`: stem, three stages, no head convolution.

        Three cells with widths w, 2w, 4w; or, where `settings.macs` is given, the last three stages of the model that is made
        of the cell, half as deep as there, and so narrow that the MACs come out: then all candidates cost about the same, and
        what is compared is which cell makes the most of it. Raises BudgetError for a cell of which no model can be made.
        """
        s = self.settings
        if s.macs is not None:
            return _scaled(cell, s, tuple(self.data.train_images.shape[1:]), self.num_classes, tuple(self.model.items()))
        widths = (s.width, 2 * s.width, 4 * s.width)
        return Architecture(cell, widths, (1, 1, 1), s.stem_width, head_width=0, stem_stride=s.stem_stride)

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @property
    def num_classes(self) -> int:
        return len(self.data.classes)

    @property
    def no_max_macs(self) -> str:
        if self.settings.macs is None:
            return ""
        return "search: max_macs and proxy.macs exclude each other: with proxy.macs all proxy networks cost the same"

    def cost(self, cell: Cell, statistics: CellStatistics | None = None) -> Cost:
        """Analytic cost of the proxy network of `cell` on one proxy image; of B cells at once if given their statistics."""
        _, channels, height, width = self.data.train_images.shape
        return network_cost(self.architecture(cell), (height, width), self.num_classes, channels, statistics)

    def evaluate(self, job: Job, device: str = "cpu") -> Evaluation:
        """Train job.cell from weights drawn by job.seed; where a GPU's memory is short, once more with half the batch.

        Raises EvaluationError for a loss that is not finite, or where that memory is short as well.
        """
        started = time.perf_counter()
        place, s = torch.device(device), self.settings
        halved = replace(s, batch_size=max(2, s.batch_size // 2), learning_rate=s.learning_rate / 2)
        for settings in (s, halved):
            try:
                with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
                    curve, stopped = self._train(job, place, settings)
                return Evaluation(curve[-1], tuple(curve), stopped, time.perf_counter() - started)
            except RuntimeError as error:
                if not gpu_is_full(error):
                    raise
                reason = str(error).splitlines()[0]
            torch.cuda.empty_cache()  # the exception, which held the tensors, is gone
        remedy = "narrower networks (proxy.width, proxy.macs) or a smaller batch_size"
        raise EvaluationError(f"out of memory on {device}, also with batch_size={halved.batch_size} ({reason}); take {remedy}")

    def _train(self, job: Job, device: torch.device, s: ProxySettings) -> tuple[list[float], bool]:
        """Validation accuracy after each epoch, and whether a threshold of the job ended the training early."""
        data = self._on(device)
        network = self._network(job, device)
        optimizer = _optimizer(network, s)
        generator = torch.Generator().manual_seed(job.seed)
        rates = iter(_learning_rates(s, s.epochs * data.steps(s.batch_size)))
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=_computes_in_bfloat16(s.amp, device))
        curve: list[float] = []
        for epoch in range(1, s.epochs + 1):
            network.train()
            total = torch.zeros((), device=device)
            for images, labels in data.batches(s, generator):
                rate = next(rates)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with autocast:
                    loss = F.cross_entropy(network(images), labels, label_smoothing=s.label_smoothing)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            if not math.isfinite(total.item()):  # once an epoch: reading a number from a GPU waits for it
                raise EvaluationError(
                    f"the loss became {total.item()} in epoch {epoch} of {s.epochs}; "
                    f"lower learning_rate (now {s.learning_rate:g}) or lengthen warmup (now {s.warmup:g})"
                )
            if epoch < s.epochs and not self.every_epoch:
                continue
            with autocast:
                data.calibrate(network, 4 * s.batch_size)
                curve.append(data.accuracy(network, 4 * s.batch_size))
            if epoch < s.epochs and any(epoch == at and curve[-1] < least for at, least in job.early_stop_thresholds):
                return curve, True
        return curve, False

    def build(self, job: Job) -> nn.Module:
        """The network of a job, its weights drawn from torch's random state."""
        return GEMNet(self.architecture(job.cell), self.num_classes, self.data.train_images.shape[1])

    def _network(self, job: Job, device: torch.device) -> nn.Module:
        """The network with weights that depend on job.seed alone, channels last in memory (twice as fast on a CPU)."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(job.seed)  # torch.manual_seed would also reach the GPUs' generators
            network = self.build(job)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # see `calibrate`
        if device.type == "cpu":
            quicken(network, products=True)
        return network.to(device).to(memory_format=torch.channels_last)

    def _on(self, device: torch.device) -> _PlacedData:
        if device not in self._placed:
            self._placed[device] = _PlacedData(self.data, self.settings.shift, device)
        return self._placed[device]


@functools.lru_cache(4096)
def fitted_model(cell: Cell, model: tuple[tuple[str, Any], ...]) -> Architecture:
    """The model that is made of the cell within the budget `model`, the items of `gemnet.fit`'s arguments."""
    return fit(cell, **dict(model)).architecture


@functools.lru_cache(4096)
def _scaled(
    cell: Cell, s: ProxySettings, shape: tuple[int, int, int], num_classes: int, model: tuple[tuple[str, Any], ...]
) -> Architecture:
    """The widest copy of the model's last three stages within s.macs on images of `shape` (channels, height, width)."""
    fitted = fitted_model(cell, model)
    widths, depths = fitted.widths[-3:], tuple((depth + 1) // 2 for depth in fitted.depths[-3:])

    def scaled(share: float) -> Architecture:
        narrow = tuple(4 * max(1, round(share * width / 4)) for width in widths)  # odd numbers of channels are slow
        return Architecture(cell, narrow, depths, s.stem_width, 0, s.stem_stride, fitted.residual)

    def macs(step: int) -> int:
        return network_cost(scaled(step / 256), shape[1:], num_classes, shape[0]).macs

    assert s.macs is not None  # else the widths are given
    step = bisect.bisect_right(range(1, WIDEST), s.macs, key=macs)
    if step == 0:
        raise BudgetError(f"proxy: macs={s.macs:g} is too little: the narrowest proxy network of this cell has {macs(1)}")
    if step == WIDEST - 1 and macs(WIDEST) < s.macs:
        raise BudgetError(f"proxy: macs={s.macs:g} is too much: the widest proxy network of this cell has {macs(WIDEST)}")
    return scaled(step / 256)


class _PlacedData:
    """The data on a device, channels last, training images with a black border as wide as the largest shift."""

    def __init__(self, data: ProxyData, border: int, device: torch.device) -> None:
        def place(images: Tensor) -> Tensor:
            return images.to(device).permute(0, 2, 3, 1).contiguous()

        self.border = border
        self.train_images = place(F.pad(data.train_images, [border] * 4))  # [N, H + 2 border, W + 2 border, C]
        self.val_images = place(data.val_images)  # [N, H, W, C]
        self.train_labels, self.val_labels = data.train_labels.to(device), data.val_labels.to(device)
        self.mean, self.std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
        self.rows = torch.arange(data.train_images.shape[2], device=device)
        self.columns = torch.arange(data.train_images.shape[3], device=device)

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch. All are full (the remainder waits for another epoch), but for a data set smaller than one."""
        return max(1, len(self.train_labels) // batch_size)

    def batches(self, s: ProxySettings, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of augmented images [B, C, H, W] and labels [B], drawn on the CPU: the same on every device."""
        count = self.steps(s.batch_size) * s.batch_size

        def draw(high: int) -> Tensor:
            return torch.randint(high, (len(self.train_labels),), generator=generator)

        draws = [torch.randperm(len(self.train_labels), generator=generator)]
        draws += [draw(2 * s.shift + 1), draw(2 * s.shift + 1), draw(2), draw(len(self.rows)), draw(len(self.columns))]
        for batch in torch.stack(draws)[:, :count].to(self.rows.device).split(s.batch_size, dim=1):
            chosen, down, right, flipped, cut_row, cut_column = batch
            columns = torch.where(flipped[:, None] == 1, self.columns.flip(0), self.columns) if s.flip else self.columns
            rows, columns = self.rows + down[:, None], columns + right[:, None]  # [B, H], [B, W]
            images = self._normalised(self.train_images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]])
            if s.cutout:
                # The square lies anywhere with its centre in the image; what sticks out is lost, as usual.
                low, high = s.cutout // 2, (s.cutout + 1) // 2
                in_rows = self._between(self.rows, cut_row - low, cut_row + high)[:, :, None]
                in_columns = self._between(self.columns, cut_column - low, cut_column + high)[:, None, :]
                images = images.masked_fill((in_rows & in_columns)[:, None], 0.0)
            yield images, self.train_labels[chosen]

    @staticmethod
    def _between(places: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return (places >= low[:, None]) & (places < high[:, None])

    def _normalised(self, images: Tensor) -> Tensor:
        """uint8 [B, H, W, C] -> float32 [B, C, H, W] with mean 0 and standard deviation 1, still channels last in memory."""
        return ((images - self.mean) / self.std).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def calibrate(self, network: nn.Module, batch_size: int) -> None:
        """Take the statistics of batch normalisation, whose momentum must be 1, from one large batch of training images.

        The running averages of a short training lag behind the weights: on the digits they cost 13 points of accuracy, and
        more than triple the noise between seeds (precise BatchNorm: Wu and Johnson, arXiv:2105.07576, section 3).
        """
        chosen = torch.linspace(0, len(self.train_labels) - 1, min(batch_size, len(self.train_labels))).long()  # of all classes
        border = slice(self.border, -self.border or None)
        network.train()
        network(self._normalised(self.train_images[chosen.to(self.rows.device), border, border]))

    @torch.inference_mode()
    def accuracy(self, network: nn.Module, batch_size: int) -> float:
        """Share of the validation images whose class has the highest logit."""
        network.eval()
        correct = torch.zeros((), dtype=torch.int64, device=self.rows.device)
        for images, labels in zip(self.val_images.split(batch_size), self.val_labels.split(batch_size)):
            correct += (network(self._normalised(images)).argmax(1) == labels).sum()
        return correct.item() / len(self.val_labels)


def _optimizer(network: nn.Module, s: ProxySettings) -> torch.optim.Optimizer:
    """No weight decay on batch normalisation and biases, which have one dimension."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": s.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=s.learning_rate, momentum=s.momentum, nesterov=s.momentum > 0, fused=True)


def _learning_rates(s: ProxySettings, steps: int) -> list[float]:
    """For each step: up linearly over the warm-up, then down to about 0 along half a cosine."""
    warmup = s.warmup * steps
    rates = []
    for step in range(steps):
        at = step + 0.5
        rise, fall = at / max(warmup, 1e-9), (at - warmup) / (steps - warmup)
        rates.append(s.learning_rate * (rise if at < warmup else 0.5 + 0.5 * math.cos(math.pi * fall)))
    return rates


def _computes_in_bfloat16(amp: str, device: torch.device) -> bool:
    if device.type == "cuda" and amp in ("auto", "native"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return amp == "on" or (amp == "native" and has_bfloat16() is True)


def build_evaluator(data: ProxyData, model: Mapping[str, Any] | None = None, **settings: Any) -> ProxyEvaluator:
    """The evaluator with these ProxySettings. Raises SearchError for an unknown name or a value out of range."""
    settings = check(settings_of(ProxySettings), settings, "proxy")
    return ProxyEvaluator(data, ProxySettings(**settings), model)
