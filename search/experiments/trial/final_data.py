"""The images of the last measure: more of them to train on than a search has, and test images that no search has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from gemnet.core.settings import Setting
from search.core.checks import takes_settings
from search.core.registry import named_part
from search.core.types import SearchError
from search.evaluation.data import ImageFolder, ProxyData, digits, load_cifar10, load_digits

PerClass = Annotated[int | None, Setting("images a class at most; None for all", at_least=1, unit="images")]


@takes_settings("")
def build_final_data(
    settings: Mapping[str, Any],
    train_per_class: PerClass = None,
    test_per_class: PerClass = None,
    test_root: str | None = None,
) -> ProxyData:
    """The task of a search's `data` settings, with test images in the place of the validation images.

    train_per_class, test_per_class: at most so many images a class, drawn by the settings' seed; None for all. CIFAR-10 has
    test images of its own; an image folder's are in `test_root` (by default the folder `test` beside data.root), with the same
    classes; of the digits, they are those that the search neither trains on nor validates with. Raises SearchError.
    """
    options = dict(settings)
    kind, rng = options.pop("type"), np.random.default_rng(options.get("seed", 0))

    def draw(labels: Any, train: bool) -> np.ndarray:
        """Rows of the training or the test images that are taken."""
        labels, most = np.asarray(labels), train_per_class if train else test_per_class
        of_class = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        return np.concatenate([rows[:most] for rows in of_class])

    def of_cifar10(root: str = "data", download: bool = False, **other: Any) -> ProxyData:
        def drawn(train: bool) -> tuple[torch.Tensor, torch.Tensor, Sequence[str]]:
            images, labels, classes = load_cifar10(root, train, download)
            rows = draw(labels, train)
            return images[rows], torch.tensor(labels)[rows], classes

        train_images, train_labels, _ = drawn(True)
        test_images, test_labels, classes = drawn(False)
        return ProxyData("cifar10", tuple(classes), train_images, train_labels, test_images, test_labels)

    def of_image_folder(root: str, size: int = 32, skip_unreadable: bool = False, **_: Any) -> ProxyData:
        roots = (root, test_root or Path(root).parent / "test")
        train, test = (ImageFolder(path, size, skip_unreadable) for path in roots)
        if train.classes != test.classes:
            differing = ", ".join(sorted(set(train.classes) ^ set(test.classes)))
            raise SearchError(f"image_folder: {roots[0]} and {roots[1]} differ in the classes {differing}")
        parts = (*train.read(draw(train.labels, True)), *test.read(draw(test.labels, False)))
        return ProxyData("image_folder", train.classes, *parts)

    def of_digits(**more: Any) -> ProxyData:
        images, labels, classes = load_digits()
        known = digits(**more)
        seen = {image.numpy().tobytes() for image in torch.cat([known.train_images, known.val_images])}
        is_seen = np.array([image.numpy().tobytes() in seen for image in images])
        if is_seen.all():
            raise SearchError("digits: the search uses all images, none is left to test on; lower data.train_per_class")

        def drawn(train: bool) -> tuple[torch.Tensor, torch.Tensor]:
            candidates = np.flatnonzero(is_seen == train)
            rows = candidates[draw(labels[candidates], train)]
            return images[rows], torch.tensor(labels[rows])

        return ProxyData("digits", tuple(classes), *drawn(True), *drawn(False))

    known: dict[str, Callable[..., ProxyData]] = {"cifar10": of_cifar10, "image_folder": of_image_folder, "digits": of_digits}
    return named_part("data", known, kind)(**options)
