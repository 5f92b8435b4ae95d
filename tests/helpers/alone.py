"""The script beside an exported detector, run where this package and its libraries cannot be imported."""

import os
import subprocess
import sys

import numpy as np
from made_detectors import CLASSES
from PIL import Image

BLOCKED = {"torch", "torchvision", "gemnet", "mmdet", "mmcv", "mmengine", "cv2", "timm", "onnx"}
CODE = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
del sys.argv[0]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])  # where Python looks for the modules beside a script
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def assert_finds_alone(runner, place, folder, predictor, score, needed=()):
    """The script prints, and draws into `folder`, the boxes with that score or more that the detector finds on a photo.

    needed: Of BLOCKED, what the runtime itself imports.
    """
    drawn = folder / "drawn"
    command = [sys.executable, "-c", CODE.replace("{blocked!r}", repr(BLOCKED - set(needed)))]
    command += [str(runner), str(place), "--draw", str(drawn)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONUTF8": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr
    lines = [line.split("\t") for line in ended.stdout.splitlines()]
    own = predictor(place)
    expected = [
        [str(place), CLASSES[label], f"{one:.3f}", *(f"{value:.1f}" for value in box)]
        for box, one, label in zip(own.boxes, own.scores, own.labels)
        if one >= score
    ]
    assert len(expected) > 2
    assert [line[:2] for line in lines] == [line[:2] for line in expected]
    numbers = [[list(map(float, line[2:])) for line in rows] for rows in (lines, expected)]
    np.testing.assert_allclose(*numbers, atol=0.11)
    with Image.open(drawn / f"{place.stem}.png") as image:
        assert image.size == (own.size[1], own.size[0])
