"""Pretraining by two processes (gloo): as one, and after one of them was killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from made_photos import SIZE, small

from gemnet.checkpoints.reading import read_checkpoint
from gemnet.core.errors import UserError
from gemnet.core.locks import locked
from gemnet.pretraining.run import pretrain
from gemnet.pretraining.settings import RATE, Choice

EPOCHS = 4
ALIKE = {"model.backbone.norm_cfg.type": "gemnet.SyncBN", "optim_wrapper.optimizer.type": "SGD", RATE: 0.02}
"""With which processes train as one: normalisation over all, and an optimiser that does not amplify rounding."""


def command(photos, own, place, batch, **options):
    given = [f"{key}={value}" for key, value in small(epochs=EPOCHS, batch_size=batch, **options).items()]
    return [
        sys.executable, "-m", "gemnet", "pretrain", str(photos), "--teacher", own, "--teacher-size", str(SIZE),
        "--processes", "2", "--no-features", "--work-dir", str(place), "--cfg-options", *given,
    ]  # fmt: skip


def apart(first, second):
    """How far the convolutions of two checkpoints are apart."""
    one, two = (read_checkpoint(file)["state_dict"] for file in (first, second))
    return sum(float((one[key] - two[key]).square().sum()) for key in one if one[key].ndim == 4) ** 0.5


def of_training(process):
    """The processes that train, below the launcher."""
    try:
        return [child for child in psutil.Process(process.pid).children(recursive=True) if "--launcher" in child.cmdline()]
    except psutil.Error:
        return []


@pytest.mark.slow  # two processes, three times
def test_two_processes_train_as_one_with_the_doubled_batch_also_after_one_was_killed(photos, own, tmp_path):
    options = small(epochs=EPOCHS, batch_size=4, **ALIKE)
    pretrain(Choice([str(photos)], own, options=options, teacher_size=SIZE, features=False), str(tmp_path / "one"))
    two = command(photos, own, tmp_path / "two", 2, **ALIKE)
    with subprocess.Popen(two, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "two").glob("epoch_*.pth")) and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(UserError, match="in use by another process"), locked(tmp_path / "two"):
            pass
        os.kill(of_training(process)[-1].pid, signal.SIGKILL)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"training on 2 processes ended with exit code 1; {tmp_path / 'two' / 'train.log'} tells more" in error
    assert not (tmp_path / "two" / f"epoch_{EPOCHS}.pth").exists()
    result = subprocess.run(two, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "resumed epoch: " in (tmp_path / "two/train.log").read_text()
    still = small(epochs=1, batch_size=4, **{**ALIKE, RATE: 1e-9})
    pretrain(Choice([str(photos)], own, options=still, teacher_size=SIZE, features=False), str(tmp_path / "start"))
    one, both, start = (
        tmp_path / name / f"epoch_{last}.pth" for name, last in (("one", EPOCHS), ("two", EPOCHS), ("start", 1))
    )
    print(f"\n{apart(one, both):.1e} apart, having moved {apart(start, one):.1e}")
    assert apart(one, both) < 0.02 * apart(start, one)
