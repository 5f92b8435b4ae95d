"""What a classifier's file is worth on labelled images: top-1, beside the float file's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gemnet.checkpoints.class_names import difference
from gemnet.deploy.int8.images import labelled_files, read_batches
from gemnet.deploy.int8.layers import QuantizationError
from gemnet.deploy.int8.opened import Opened, opened
from gemnet.openmmlab.images import DataError

if TYPE_CHECKING:
    from gemnet.deploy.int8.opened import Network


@dataclass(frozen=True)
class Top1:
    """Shares (0 to 1) of a folder's images: right answers of the model, of the reference, and equal answers of the two."""

    images: int
    accuracy: float
    reference: float | None = None
    agreement: float | None = None

    def __str__(self) -> str:
        if self.reference is None or self.agreement is None:
            return f"top-1    {self.accuracy:.2%} of {self.images:,} images"
        return (
            f"top-1    float {self.reference:.2%}, int8 {self.accuracy:.2%}: {self.lost:.2f} points lost\n"
            f"answers  the same on {self.agreement:.2%} of {self.images:,} images"
        )

    @property
    def lost(self) -> float:
        """Points that the model has fewer than the reference; 0 without one."""
        return 0.0 if self.reference is None else 100 * (self.reference - self.accuracy)


class Top1Measure:
    """Measures classifiers [B, 3, H, W] -> [B, classes] on the images `folder`/class/*.jpg, beside a reference.

    The reference answers once, however many files are measured beside it.

    Args:
        folder: A folder a class, in the order of the labels.
        reference: The float file, if any.
        edge, batch_size: As `gemnet.deploy.int8.images.read_batches` takes them.

    Raises:
        DataError: The folder is missing, has fewer than two classes or a class without images.
    """

    def __init__(
        self, folder: str | Path, reference: Network | None = None, edge: int | None = None, batch_size: int = 64
    ) -> None:
        self.folder, self.edge, self.batch_size = folder, edge, batch_size
        self.files, self.labels, self.classes = labelled_files(folder)
        self._reference = None if reference is None else opened(reference)
        self._answers: np.ndarray | None = None  # the reference's

    def __call__(self, model: Network) -> Top1:
        """Raises DataError for images and classes, QuantizationError where the numbers of classes or the sizes do not fit."""
        network = opened(model)
        both = [one for one in (network, self._reference) if one is not None]
        sizes = {one.size for one in both if one.size is not None}
        if len(sizes) != 1:
            raise QuantizationError(f"the model and its reference take images of {sorted(sizes)} pixels; expected one size")
        for one in both:
            check_names(self.folder, self.classes, one.classes)
        asked = both if self._answers is None else [network]
        answers: list[list[np.ndarray]] = [[] for _ in asked]  # of each, [images] a batch
        for images in read_batches(self.files, *sizes.pop(), self.edge, self.batch_size):
            for one, given in zip(asked, answers):
                given.append(self._answer(one, images))
        found = [np.concatenate(given) for given in answers]
        if len(found) > 1:
            self._answers = found[1]
        accuracy, count = float((found[0] == self.labels).mean()), len(self.files)
        if self._answers is None:
            return Top1(count, accuracy)
        return Top1(count, accuracy, float((self._answers == self.labels).mean()), float((found[0] == self._answers).mean()))

    def _answer(self, network: Opened, images: np.ndarray) -> np.ndarray:
        logits, count = network.run(images)[0], len(self.classes)
        if logits.shape != (len(images), count):
            raise QuantizationError(
                f"the model's outputs are {logits.shape}; expected logits [B, {count}], as {self.folder} has classes"
            )
        return logits.argmax(1)


def top1(
    model: Network, folder: str | Path, reference: Network | None = None, edge: int | None = None, batch_size: int = 64
) -> Top1:
    """How often an ONNX classifier is right on the images of a folder; as `Top1Measure`, for one file."""
    return Top1Measure(folder, reference, edge, batch_size)(model)


def check_names(where: str | Path, classes: Sequence[str], names: Sequence[str] | None) -> None:
    """Raises DataError where the classes of a set are not those that a model has the names of."""
    if names and list(names) != list(classes):
        raise DataError(f"{where} {difference(classes, names)}: expected the model's, in its order")
