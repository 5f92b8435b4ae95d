"""What is compared: data sets, methods and seeds, in the order in which they are trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemnet.core.errors import DataError
from gemnet.detection.data import Prepared, prepare
from search.spaces.benchmark_files import ENVIRONMENT

METHODS = {
    "gemnet_a": "GEMNet-A with RTMDet's head, from scratch (`gemnet detect --no-amp --from-scratch`)",
    "gemnet_a_pretrained": "GEMNet-A with RTMDet's head, from the weights that ship (`gemnet detect --no-amp`)",
    "gemnet_a_bfloat16": "the same in bfloat16 (`gemnet detect`)",
    "gemnet_small": "GEMNet-A small, from scratch (`--config gemnet::own_detector_small.py --no-amp --from-scratch`)",
    "gemnet_small_pretrained": "GEMNet-A small, from the weights that ship (`--config gemnet::own_detector_small.py --no-amp`)",
    "gemnet_small_bfloat16": "the same in bfloat16 (`--config gemnet::own_detector_small.py`)",
    "ssdlite320": "torchvision's SSDLite320 with MobileNetV3-Large",
    "rtmdet_tiny": "mmdet's RTMDet-tiny",
    "yolo11n": "YOLO11n of the package ultralytics",
}
"""In the order of the table: the name, and what it is."""
FORMATS = {"raccoon": "csv"}
"""Of data sets that have their labels in several forms: the one that has the splits."""
IMAGE_SIZE = 320
"""The longer side of the images, in pixels."""
BUDGET = 1800.0
"""CPU seconds of a training, validation included."""


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        data: The name of the data set.
        folder: Where it lies.
        method: One of METHODS.
        seed: Of the weights, and of the order and the changes of images. The splits are the same for all seeds.
        budget: CPU seconds.
        work_dir: Where everything of this training goes.
        yolo_python: The interpreter of an environment that has ultralytics; only the YOLO needs it.
    """

    data: str
    folder: Path
    method: str
    seed: int
    budget: float
    work_dir: Path
    yolo_python: Path | None = None

    @property
    def key(self) -> tuple[str, str, int, float]:
        """By which the record knows it."""
        return self.data, self.method, self.seed, self.budget

    @property
    def name(self) -> str:
        return f"{self.method} on {self.data}, seed {self.seed}"


def data_folder(given: str) -> Path:
    """The folder of a data set: `given` itself, or that of this name in the folder GEMNET_DATA, else in `data`.

    Raises:
        DataError: There is none.
    """
    place = Path(given).expanduser()
    if place.is_dir():
        return place
    named = Path(os.environ.get(ENVIRONMENT) or "data") / given
    if named.is_dir():
        return named
    raise DataError(
        f"--data {given}: no such folder, and no {named}; name the folder, or set {ENVIRONMENT} to the one above it"
    )


def prepared_data(name: str, folder: Path, work_dir: Path) -> Prepared:
    """The three splits as COCO files below `work_dir`; those of seed 0 where the data set has none of its own."""
    return prepare(folder, work_dir, format=FORMATS.get(name), seed=0)


def tasks(
    data: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    budget: float,
    work_dir: Path,
    yolo_python: Path | None = None,
) -> list[Task]:
    """All trainings, seed by seed, then data set by data set: what is stopped early is a comparison all the same.

    Args:
        data: Folders, or names that `data_folder` finds; a data set is called as its folder.
        methods: Of METHODS.
        seeds: One training each.
        budget: CPU seconds of a training.
        work_dir: Has a folder a training.
        yolo_python: See Task.
    """
    folders = {folder.resolve().name: folder for folder in map(data_folder, data)}
    return [
        Task(name, folder, method, seed, budget, work_dir / f"{name}-{method}-{seed}", yolo_python)
        for seed in seeds
        for name, folder in folders.items()
        for method in methods
    ]
