"""What a training would cost, by a few of its steps."""

import re

import numpy as np
import pytest
from PIL import Image

from gemnet.cli.calling import Call
from gemnet.cli.train import main
from gemnet.core.errors import UserError
from gemnet.openmmlab.engine import load_config
from gemnet.openmmlab.pace import duration, measured, times_told

CONFIG = "gemnet::gemnet_a_image_folder.py"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for part in ("train", "val"):
        for label in ("a", "b"):
            (folder / part / label).mkdir(parents=True)
            for number in range(3):
                pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.png")
    return folder


@pytest.mark.long
def test_the_command_tells_the_time_of_a_whole_training_and_trains_nothing(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [f"data_root={photos}", "batch_size=2", "image_size=32", "epochs=7", "train_dataloader.num_workers=0"]
    arguments = [CONFIG, "--estimate", "1281167", "--cfg-options", *options]
    assert main(Call(arguments, "gemnet", "gemnet train", tmp_path)) == 0
    told = capsys.readouterr().out
    assert re.fullmatch(r"training: \S+ images/s on this CPU; 7 epochs of 1,281,167 images, .* on 1; .* on 8 such, .*\n", told)
    assert not list(tmp_path.iterdir())


def test_the_pace_is_of_the_images_that_are_there(photos):
    options = {"data_root": str(photos), "batch_size": 3, "image_size": 32, "train_dataloader.num_workers": 0}
    found = measured(load_config(CONFIG, options), steps=2)
    assert found.images == 6
    assert found.rate > 0


def test_times_are_divided_by_the_devices():
    assert times_told(288_000, 10, processes=2) == "8.0 hours on 1; 4.0 hours on 2; 60 minutes on 8 such, if all keep pace"
    assert [duration(seconds) for seconds in (1, 86400 * 3)] == ["1 minutes", "3.0 days"]


def test_a_run_without_a_batch_is_told(photos):
    options = {"data_root": str(photos), "batch_size": 64, "image_size": 32, "train_dataloader.drop_last": True}
    with pytest.raises(UserError, match="there is not one batch of images to train on"):
        measured(load_config(CONFIG, {**options, "train_dataloader.num_workers": 0}))
