"""A training that keeps a time: it ends with its budget, its learning rate follows what is left, and it goes on."""

import time

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from gemnet.core.errors import UserError
from gemnet.openmmlab import engine  # noqa: F401 - registers what reads checkpoints
from gemnet.openmmlab.timed import FIRST, FLOOR


class Line(BaseModel):
    """A weight that learns to be 1; each step takes `pause` seconds."""

    def __init__(self, pause):
        super().__init__()
        self.weight, self.pause = torch.nn.Parameter(torch.zeros(1)), pause

    def forward(self, inputs, mode="tensor"):
        time.sleep(self.pause)
        return {"loss": ((self.weight * inputs.float() - inputs.float()) ** 2).mean()} if mode == "loss" else [inputs]


class Noted(Hook):
    """Learning rates and shares of every step, times of validations; ends the run as a kill would before epoch `stop`."""

    def __init__(self, stop=None):
        self.stop, self.rates, self.validated = stop, [], []

    def before_train_epoch(self, runner):
        if runner.epoch == self.stop:
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rates.append((runner.train_loop.share, runner.optim_wrapper.get_lr()["lr"][0]))

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.train_loop.share)


def run(work_dir, hook, pause=0.0, resume=None, **loop):
    data = [{"inputs": torch.tensor(number)} for number in range(8)]

    def loader(shuffle):
        return DataLoader(data, batch_size=2, shuffle=shuffle)

    runner = Runner(
        Line(pause), str(work_dir), loader(True), loader(False),
        train_cfg={"type": "gemnet.TimedTrainLoop", "max_epochs": 4, **loop}, val_cfg={"type": "ValLoop"},
        val_evaluator=Evaluator([]), optim_wrapper={"optimizer": {"type": "Adam", "lr": 0.1}},
        custom_hooks=[{"type": "gemnet.EpochSeedHook"}, hook], randomness={"seed": 0}, resume=resume is not None,
        load_from=resume, cfg=Config({}), experiment_name=f"{work_dir.name}{resume}",
    )  # fmt: skip
    runner.train()
    return runner


def test_it_ends_with_its_time_and_the_learning_rate_with_it(tmp_path):
    hook = Noted()
    runner = run(tmp_path, hook, pause=0.01, seconds=3.0)
    assert 2.7 < runner.train_loop.elapsed < 3.3
    rates = [rate for _, rate in hook.rates]
    assert max(rates) > 0.09
    assert rates[-1] < 0.1 * (FLOOR + 0.01)
    falling = [rate for share, rate in hook.rates if share > 0.1]
    assert falling == sorted(falling, reverse=True)
    assert runner.train_loop.max_iters == len(rates) > 100


def test_it_validates_near_the_start_then_at_equal_shares_and_at_the_end(tmp_path):
    hook = Noted()
    run(tmp_path, hook, max_epochs=40, validations=4)
    assert hook.validated[0] <= FIRST + 1 / 40
    assert hook.validated[1:] == [0.25, 0.5, 0.75, 1.0]


def test_a_run_that_was_stopped_goes_on_and_ends_in_the_same_weights(tmp_path):
    whole, before, after = Noted(), Noted(stop=2), Noted()
    expected = run(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", before)
    found = run(tmp_path / "stopped", after, resume=f"gemnet-run:{tmp_path}/stopped/epoch_2.pth")
    assert before.rates + after.rates == whole.rates
    assert torch.equal(found.model.weight, expected.model.weight)


def test_the_seconds_before_a_stop_count(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Noted(stop=10), pause=0.02, seconds=60.0)
    runner = run(tmp_path, Noted(), pause=0.02, seconds=1.5, resume=f"gemnet-run:{tmp_path}/epoch_10.pth")
    assert runner.train_loop.elapsed > 1.3
    assert 10 <= runner.epoch <= 1.5 / (4 * 0.02) + 1


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf")])
def test_a_time_that_cannot_be_is_refused(tmp_path, seconds):
    with pytest.raises(UserError, match=r"train_cfg.seconds=.*expected a number above 0"):
        run(tmp_path, Noted(), seconds=seconds)
