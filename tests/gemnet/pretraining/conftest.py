"""A few made photos, with labels and without, and a small teacher."""

import numpy as np
import pytest
import timm
import torch
from made_folders import write_colours
from made_photos import CLASSES
from PIL import Image

from gemnet.pretraining.teachers import load_teacher


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(9):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        place = folder / ("a" if number % 2 else "b")
        place.mkdir(exist_ok=True)
        Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(place / f"{number}.png")
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xffbroken")
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A small classifier of timm's with weights of its own: MODEL@FILE."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("teacher") / "small.pth"
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=CLASSES).state_dict(), file)
    return f"mobilenetv3_small_050@{file}"


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Photos of two classes that differ in their colour, 12 to train on and 4 to test with."""
    return write_colours(tmp_path_factory.mktemp("labels"), {"train": 6, "val": 2}, 48)


@pytest.fixture(scope="module")
def teacher(own):
    return load_teacher(own)
