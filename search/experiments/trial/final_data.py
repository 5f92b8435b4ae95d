"""The images of the last measure: more of them to train on than a search has, and test images that no search has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    given = dict(settings)
    kind, rng = given.pop("type"), np.random.default_rng(given.get("seed", 0))

    def draw(labels: Any, train: bool) -> np.ndarray:
        """Rows of the training or the test images that are taken."""
        labels, most = np.asarray(labels), train_per_class if train else test_per_class
        of_class = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        return np.concatenate([rows[:most] for rows in of_class])

    def of_cifar10(root: str = "data", download: bool = False, **_: Any) -> ProxyData:
        images, labels, classes = load_cifar10(root, True, download)
        test_images, test_labels = load_cifar10(root, False, download)[:2]
        rows, test = draw(labels, True), draw(test_labels, False)
        parts = images[rows], torch.tensor(labels)[rows], test_images[test], torch.tensor(test_labels)[test]
        return ProxyData("cifar10", tuple(classes), *parts)

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
        targets, seen_rows, others = torch.tensor(labels), np.flatnonzero(is_seen), np.flatnonzero(~is_seen)
        rows, test = seen_rows[draw(targets[seen_rows], True)], others[draw(targets[others], False)]
        return ProxyData("digits", tuple(classes), images[rows], targets[rows], images[test], targets[test])

    kinds: dict[str, Callable[..., ProxyData]] = {"cifar10": of_cifar10, "image_folder": of_image_folder, "digits": of_digits}
    return named_part("data", kinds, kind)(**given)
