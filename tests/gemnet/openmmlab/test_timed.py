"""A training that keeps a time: it ends with its budget, its learning rate follows what is left, and it goes on."""

import time

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from gemnet.core.errors import UserError
from gemnet.openmmlab import engine  # noqa: F401 - registers what reads checkpoints
from gemnet.openmmlab.timed import AP, FIRST, FLOOR, LAST


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


def run(work_dir, hook, pause=0.0, resume=None, metric=None, **loop):
    data = [{"inputs": torch.tensor(number)} for number in range(8)]

    def loader(shuffle):
        return DataLoader(data, batch_size=2, shuffle=shuffle)

    runner = Runner(
        Line(pause), str(work_dir), loader(True), loader(False),
        train_cfg={"type": "gemnet.TimedTrainLoop", "max_epochs": 4, **loop}, val_cfg={"type": "ValLoop"},
        val_evaluator=Evaluator([metric] if metric else []), optim_wrapper={"optimizer": {"type": "Adam", "lr": 0.1}},
        custom_hooks=[{"type": "gemnet.EpochSeedHook"}, hook], randomness={"seed": 0}, resume=resume is not None,
        load_from=resume, cfg=Config({}), experiment_name=f"{work_dir.name}{resume}",
    )  # fmt: skip
    runner.train()
    return runner


@pytest.mark.long
def test_it_ends_with_its_time_and_the_learning_rate_with_it(tmp_path):
    hook = Noted()
    runner = run(tmp_path, hook, pause=0.01, seconds=3.0)
    assert 2.7 < runner.train_loop.elapsed < 3.3
    rates = [rate for _, rate in hook.rates]
    assert max(rates) > 0.09
    assert rates[-1] < 0.1 * (FLOOR + 0.01)
    falling = [rate for share, rate in hook.rates if share > 0.1]
    assert falling == sorted(falling, reverse=True)
    assert runner.train_loop.max_iters == len(rates) > 20


def test_it_validates_near_the_start_then_at_equal_shares_and_at_the_end(tmp_path):
    hook = Noted()
    run(tmp_path, hook, max_epochs=40, validations=4)
    assert hook.validated[0] <= FIRST + 1 / 40
    assert hook.validated[1:] == [0.25, 0.5, 0.75, 1.0]


def test_the_learning_rate_rises_for_as_long_as_the_config_says(tmp_path):
    hook = Noted()
    run(tmp_path, hook, warm_up=(0.5, 1000))
    rates = [rate for _, rate in hook.rates]
    assert len(rates) == 16
    assert rates.index(max(rates)) in (5, 6, 7)  # before the half, for the cosine falls meanwhile
    assert rates[:5] == sorted(rates[:5])


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


class Scores(BaseMetric):
    """One AP after the other, the last one again and again."""

    def __init__(self, values):
        super().__init__()
        self.values, self.given = values, 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.given += 1
        return {AP: self.values[min(self.given, len(self.values)) - 1]}


def test_a_run_without_a_better_ap_comes_to_its_end_with_a_low_rate(tmp_path, capsys):
    hook = Noted()
    runner = run(tmp_path, hook, metric=Scores([0.1, 0.3, 0.2, 0.3]), max_epochs=40, patience=2)
    shares = [share for share, _ in hook.rates]
    assert hook.validated == pytest.approx([FIRST + 0.005, 0.1, 0.2, 0.3, 0.9, 1.0])
    assert max(share for share in shares if share < 1 - LAST) == pytest.approx(0.3, abs=1 / 160)
    assert len(shares) == round(160 * (0.3 + LAST))
    assert hook.rates[-1][1] < 0.1 * (FLOOR + 0.01)
    assert "epoch 12: no better figure in 2 validations: the training comes to its end" in capsys.readouterr().err
    assert runner.train_loop.whole == pytest.approx(runner.train_loop.elapsed, rel=0.05)


def test_a_run_that_is_ended_early_keeps_its_time(tmp_path):
    hook = Noted()
    runner = run(tmp_path, hook, metric=Scores([0.3]), pause=0.005, seconds=4.0, patience=2)
    assert runner.train_loop.elapsed == pytest.approx(4.0 * (0.2 + LAST), rel=0.2)
    assert runner.train_loop.max_iters == len(hook.rates)


@pytest.mark.parametrize("values", [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
def test_without_patience_or_with_ever_better_figures_a_run_is_whole(tmp_path, values):
    hook = Noted()
    rising = values[0] < values[-1]
    run(
        tmp_path, hook, metric=Scores(values + [0.4 + 0.01 * n for n in range(20)] * rising), max_epochs=20, patience=2 * rising
    )
    assert len(hook.rates) == 80


def test_a_stop_between_a_checkpoint_and_its_validation_changes_nothing(tmp_path):
    """The validation is made up for, so that patience counts it, and the best weights are kept."""
    whole, before, after = Noted(), Noted(stop=12), Noted()
    expected = run(tmp_path / "whole", whole, metric=Scores([0.1, 0.3, 0.2]), max_epochs=40, patience=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", before, metric=Scores([0.1, 0.3, 0.2]), max_epochs=40, patience=2)
    resume = f"gemnet-run:{tmp_path}/stopped/epoch_12.pth"
    found = run(tmp_path / "stopped", after, metric=Scores([0.2]), max_epochs=40, patience=2, resume=resume)
    assert before.rates + after.rates == whole.rates
    assert before.validated[-1] == after.validated[0]
    assert torch.equal(found.model.weight, expected.model.weight)


@pytest.mark.parametrize("patience", [-1, 2.5, True])
def test_a_patience_that_cannot_be_is_refused(tmp_path, patience):
    with pytest.raises(UserError, match=r"train_cfg.patience=.*expected a number of validations"):
        run(tmp_path, Noted(), patience=patience)
