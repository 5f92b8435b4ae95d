import numpy as np
import pytest
import torch
from small_space import CELLS, QUICK, SMALL

from search.base import SearchError
from search.embedding import SVGe, build_encoder
from search.embedding.training import CHECKPOINT, Plan, history, train


@pytest.mark.parametrize(("schedule", "clip"), [("plateau", 0.0), ("cosine", 0.5)])
def test_training_is_deterministic_and_goes_on_from_any_epoch_to_the_same_weights(graphs, tmp_path, schedule, clip):
    class Stop(Exception):
        pass

    def stop_in_second_epoch(done, total, note):
        if note.startswith("epoch 2"):
            raise Stop

    settings = {**QUICK, "epochs": 4, "patience": 1, "schedule": schedule, "clip": clip}
    whole, again = SVGe(SMALL, **settings), SVGe(SMALL, **settings)
    figures = whole.fit(graphs, seed=3)
    with pytest.raises(Stop):
        again.fit(graphs, 3, stop_in_second_epoch, directory=tmp_path)
    again = SVGe(SMALL, **settings)
    assert again.fit(graphs, 3, directory=tmp_path) == figures
    assert all(torch.equal(a, b) for a, b in zip(whole.weights().values(), again.weights().values()))
    assert SVGe(SMALL, **settings).fit(graphs, 3, directory=tmp_path) == figures  # nothing is left to do
    torch.load(tmp_path / CHECKPOINT, weights_only=True)
    epochs = history(tmp_path)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert all(epoch["seconds"] > 0 for epoch in epochs)
    assert epochs[-1]["loss"] == figures["loss"] < epochs[0]["loss"]
    fewer = {
        "plateau": r"checkpoint\.pt: has 4 epochs behind it, more than the 2 wanted",
        "cosine": r"of another training: epochs was 4, now 2",
    }
    with pytest.raises(SearchError, match=fewer[schedule]):
        SVGe(SMALL, **{**settings, "epochs": 2}).fit(graphs, 3, directory=tmp_path)
    for change, name in (({"seed": 4}, "seed"), ({"graphs": graphs[:-1]}, "data|rows")):
        with pytest.raises(SearchError, match=rf"checkpoint\.pt: of another training: ({name}) was"):
            SVGe(SMALL, **settings).fit(**{"graphs": graphs, "seed": 3, "directory": tmp_path, **change})
    with pytest.raises(SearchError, match=r"of another training: state was 16, now 32"):
        SVGe(SMALL, **{**settings, "state": 32}).fit(graphs, 3, directory=tmp_path)


@pytest.mark.parametrize(("name", "value"), [("history", 3), ("figures", []), ("epoch", "4"), ("identity", "[]")])
def test_a_checkpoint_with_values_of_the_wrong_kind_is_refused_by_name(graphs, tmp_path, name, value):
    SVGe(SMALL, **QUICK).fit(graphs, 0, directory=tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save({**state, name: value}, tmp_path / CHECKPOINT)
    with pytest.raises(SearchError, match=r"checkpoint\.pt: cannot be read as a checkpoint: the wrong kind of values"):
        history(tmp_path)


def test_the_cosine_schedule_rises_and_falls_to_nothing():
    plan, optimizer = Plan(epochs=10, lr=1.0, schedule="cosine"), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = plan.of(optimizer, steps=20), []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    top = int(np.argmax(rates))
    assert rates[0] < 0.2 < 0.99 < rates[top]
    assert top == 5  # 3 % of 200 steps
    assert all(a > b for a, b in zip(rates[top:], rates[top + 1 :]))
    assert rates[-1] < 1e-3
    with pytest.raises(SearchError, match="schedule: expected one of plateau, cosine, found 'step'"):
        Plan(schedule="step")


def test_the_gradient_is_clipped_to_the_norm_asked_for():
    norms = []

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.at = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
            self.at.register_post_accumulate_grad_hook(lambda p: norms.append(p.grad.norm().item()))

    def norm(clip):
        net = Line()
        train(net, lambda rows, generator: {"loss": 100 * (net.at**2).sum()}, 4, Plan(epochs=1, batch=4, lr=0.1, clip=clip), 0)
        return net.at.grad.norm().item()

    assert norm(0.0) == pytest.approx(norms[0]) == pytest.approx(1000)
    assert norm(0.25) == pytest.approx(0.25, rel=1e-4)
    with pytest.raises(SearchError, match="clip: expected a number from 0, found -1"):
        Plan(clip=-1)


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused_by_name(graphs, tmp_path, content):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(SearchError, match=r"checkpoint\.pt: cannot be read as a checkpoint"):
        SVGe(SMALL, **QUICK).fit(graphs, 0, directory=tmp_path)


def test_a_loss_that_is_not_a_number_is_told(graphs):
    with pytest.raises(SearchError, match="the loss is not a number in epoch 1: lower the learning rate"):
        SVGe(SMALL, **{**QUICK, "lr": 1e30}).fit(graphs, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0}, {"state": 15}, {"state": 10**9}, {"layers": 0}, {"epochs": 1.5}, {"batch": 0}, {"lr": 0}, {"noise": -1},
        {"kl_weight": float("nan")}, {"edge_weight": 1}, {"patience": 0}, {"device": "abacus"}, {"cells": 0}, {"width": 3},
        {"similarity_weight": -1.0}, {"h": -1}, {"clip": -1.0},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(SearchError, match=next(iter(settings))):
        build_encoder("svge", CELLS, **settings)
