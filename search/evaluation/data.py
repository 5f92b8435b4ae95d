"""Image classification data sets held in memory, for the proxy training of candidates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gemnet.core.errors import DataError
from gemnet.core.settings import Setting
from gemnet.images.folders import class_images
from gemnet.images.formats import SUFFIXES
from gemnet.images.pixels import ImageError, read_image
from search.core.checks import check_whole, takes_settings
from search.core.parts import DATA_SETS
from search.core.types import SearchError

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"

TrainPerClass = Annotated[
    int | None,
    Setting("training images a class at most; None for all that are not validated with", at_least=1, unit="images"),
]
ValPerClass = Annotated[int, Setting("validation images a class", at_least=1, unit="images")]
Seed = Annotated[int, Setting("that draws the images; validation images depend on it alone", at_least=0)]
Root = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class ProxyData:
    """Training and validation images of one classification task; no image is in both, and all have one size.

    train_images, val_images: uint8 [N, C, H, W]. train_labels, val_labels: int64 [N], index into `classes`.
    skipped: image files left out because they could not be read.
    """

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    skipped: int = 0

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, in grey levels (0 to 255)."""
        return tuple(float(shares @ _LEVELS) for shares in self._level_shares)

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training images, in grey levels; at least 1."""
        pairs = zip(self._level_shares, self.mean)
        return tuple(max(1.0, float(shares @ (_LEVELS - mean) ** 2) ** 0.5) for shares, mean in pairs)

    @cached_property
    def _level_shares(self) -> list[Tensor]:
        """For each channel the share of each grey level, float64 [256]: exact, and without a float copy of the images."""
        counts = [torch.bincount(channel.flatten(), minlength=256).double() for channel in self.train_images.unbind(1)]
        return [count / count.sum() for count in counts]


_LEVELS = torch.arange(256, dtype=torch.float64)


@takes_settings("data")
def digits(train_per_class: TrainPerClass = 64, val_per_class: ValPerClass = 50, seed: Seed = 0) -> ProxyData:
    """scikit-learn's digits, a part of that package: 1,797 grey images of 8x8 pixels, 10 classes, 174 to 183 images each."""
    return from_arrays("digits", *load_digits(), train_per_class, val_per_class, seed)


def load_digits() -> tuple[Tensor, np.ndarray, Sequence[str]]:
    """All images uint8 [N, 1, 8, 8], labels [N] and class names."""
    import sklearn.datasets  # takes a second to import

    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    return images, bunch.target, "0123456789"


@takes_settings("data")
def cifar10(
    root: Annotated[Root, Setting("folder that holds CIFAR-10 as torchvision has it, or gets it")] = "data",
    fraction: Annotated[float, Setting("share of the 50,000 training images to train on", above=0, below=1)] = 0.1,
    val_per_class: ValPerClass = 500,
    seed: Seed = 0,
    download: Annotated[bool, Setting("whether it is downloaded (170 MB) where it is not there")] = False,
) -> ProxyData:
    """CIFAR-10 through torchvision: colour images of 32x32 pixels, 10 classes. Its test images are never used; validation
    images are drawn from the training images. A tenth of these, that is 500 a class, is the paper's proxy (section 4).
    """
    images, labels, classes = load_cifar10(root, True, download)
    train_per_class = max(1, round(fraction * len(images) / len(classes)))
    return from_arrays("cifar10", images, labels, classes, train_per_class, val_per_class, seed)


def load_cifar10(root: str | os.PathLike[str], train: bool, download: bool) -> tuple[Tensor, Sequence[int], Sequence[str]]:
    """Images uint8 [N, 3, 32, 32], labels and class names of CIFAR-10's training or test images. Raises SearchError."""
    from torchvision.datasets import CIFAR10

    try:
        data = CIFAR10(os.fspath(root), train=train, download=download)
    except (OSError, RuntimeError) as error:  # no network is an OSError; torchvision raises RuntimeError for missing files
        unpacked = f"unpack {CIFAR10_URL} in {os.fspath(root)!r}"
        remedy = f"without a network, {unpacked} and set download=False" if download else f"set download=True, or {unpacked}"
        raise SearchError(f"cifar10: no data in {os.fspath(root)!r} ({_reason(error)}); {remedy}") from error
    return torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), data.targets, data.classes


@takes_settings("data")
def image_folder(
    root: Annotated[Root, Setting("folder with one folder of images a class")],
    size: Annotated[int, Setting("height and width that images are cut and resized to", at_least=1, unit="pixels")] = 32,
    train_per_class: TrainPerClass = None,
    val_per_class: ValPerClass = 20,
    seed: Seed = 0,
    skip_unreadable: Annotated[bool, Setting("whether images that cannot be read are left out and counted")] = False,
) -> ProxyData:
    """Any folder root/<class>/**/<image>, as colour images of size x size pixels: the largest centred square, resized.

    Images are read by `read_image`; only those that are drawn are decoded. Hidden files and images that lie in no
    class folder are ignored; files of other kinds are told. Raises SearchError for an image that cannot be read, unless these
    are skipped.
    """
    folder = ImageFolder(root, size, skip_unreadable)
    train, val = _draw(f"image_folder: {root}", folder.labels, folder.classes, train_per_class, val_per_class, seed)
    (train_images, train_labels), (val_images, val_labels) = folder.read(train), folder.read(val)
    skipped = len(train) + len(val) - len(train_labels) - len(val_labels)
    return ProxyData("image_folder", folder.classes, train_images, train_labels, val_images, val_labels, skipped)


class ImageFolder:
    """The files of `image_folder`, read as they are asked for. labels: int64 [N], index into `classes`."""

    def __init__(self, root: str | os.PathLike[str], size: int, skip_unreadable: bool = False) -> None:
        check_whole("image_folder", 1, size=size)
        self.root, self.size, self.skip_unreadable = Path(root), size, skip_unreadable
        self.files, self.labels, self.classes = _list_images(self.root)

    def read(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images uint8 [n, 3, size, size] and labels of those of the files `chosen` that can be read.

        Raises SearchError for a file that cannot, unless these are skipped, and for a class of which none can.
        """
        images, readable = _decode([self.files[i] for i in chosen], self.size, self.skip_unreadable)
        kept = torch.from_numpy(self.labels[chosen])[readable]
        missing = set(range(len(self.classes))) - set(kept.tolist())
        if missing:
            raise SearchError(f"image_folder: no image drawn from {str(self.root / self.classes[min(missing)])!r} can be read")
        return images[readable], kept


def build_data(type: str, **settings: Any) -> ProxyData:
    """The data set `type` of DATA_SETS, read with `settings`. Raises SearchError for unknown names and whatever is amiss."""
    return DATA_SETS.build(type, {}, settings)


def from_arrays(
    name: str,
    images: Tensor,
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    train_per_class: int | None,
    val_per_class: int,
    seed: int,
) -> ProxyData:
    """Draw training and validation images of each class. images: uint8 [N, C, H, W], all that there are; labels: [N]."""
    known = np.asarray(labels, np.int64)
    train, val = _draw(name, known, classes, train_per_class, val_per_class, seed)
    targets = torch.from_numpy(known)
    return ProxyData(name, tuple(classes), images[train], targets[train], images[val], targets[val])


def _draw(
    name: str,
    labels: np.ndarray,
    classes: Sequence[str],
    train_per_class: int | None,
    val_per_class: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices into `labels` [N] of the training images and of the validation images, apart from each other.

    The validation images are drawn first: with the same seed they are the same for every `train_per_class`.
    """
    rng = np.random.default_rng(seed)
    train, val = [], []
    for label, title in enumerate(classes):
        shuffled = rng.permutation(np.flatnonzero(labels == label))
        if len(shuffled) <= val_per_class:
            raise SearchError(
                f"{name}: class {title!r} has {len(shuffled)} images; expected more than val_per_class={val_per_class}, "
                "so that some are left to train on: add images, remove the class, or lower val_per_class"
            )
        val.append(shuffled[:val_per_class])
        train.append(shuffled[val_per_class:][:train_per_class])
    return np.concatenate(train), np.concatenate(val)


def _list_images(root: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Image files below the class folders of `root`, sorted, with their labels int64 [N] and the class names."""
    try:
        entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        folders = [path for path in entries if path.is_dir()]
    except OSError as error:
        reason = f"{str(root)!r} cannot be read: {error.strerror}"
        raise SearchError(f"image_folder: {reason}; expected root/<class>/<image>") from error
    if not folders:
        loose = sum(path.name.lower().endswith(SUFFIXES) for path in entries)
        found = f"{loose} images but no class folder" if loose else "nothing to train on"
        raise SearchError(f"image_folder: {str(root)!r} holds {found}; expected root/<class>/<image>, a folder for each class")
    if len(folders) == 1:
        raise SearchError(f"image_folder: {str(root)!r} has one class only, {folders[0].name!r}; expected at least two")
    try:
        files = class_images(root, [folder.name for folder in folders], needed=False)
    except DataError as error:
        raise SearchError(f"image_folder: {error}") from error
    labels = np.repeat(np.arange(len(folders)), [len(found) for found in files])
    return [path for found in files for path in found], labels, tuple(folder.name for folder in folders)


def _decode(files: Sequence[Path], size: int, skip_unreadable: bool) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 3, size, size], and bool [N]: which of them could be read. Raises SearchError, or skips."""
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    readable = torch.ones(len(files), dtype=torch.bool)

    def decode(i: int) -> None:
        try:
            images[i] = torch.from_numpy(_read_image(files[i], size)).permute(2, 0, 1)
        except ImageError as error:
            if not skip_unreadable:
                raise SearchError(f"image_folder: {error}, or set skip_unreadable=True") from error
            readable[i] = False

    with ThreadPoolExecutor() as pool:  # PIL decodes outside Python's lock
        for _ in pool.map(decode, range(len(files))):
            pass
    return images, readable


def _read_image(path: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: the largest centred square of an image, resized. Raises ImageError."""
    image = Image.fromarray(read_image(path, at_least=(size, size)))  # a large JPEG is decoded at a fraction of its size
    return np.array(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def _reason(error: Exception) -> str:
    """The first line of an error's message, short."""
    text = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
