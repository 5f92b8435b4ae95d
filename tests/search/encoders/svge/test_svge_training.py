import numpy as np
import pytest
import torch
from small_space import CELLS, QUICK, SMALL

from search.core.muon import Muon
from search.core.types import SearchError
from search.encoders import build_encoder
from search.encoders.svge.model import SVGe
from search.encoders.svge.training import CHECKPOINT, Plan, history, train


@pytest.mark.parametrize(("schedule", "optimizer"), [("plateau", "adam"), ("cosine", "adam"), ("cosine", "muon")])
def test_training_is_deterministic_and_goes_on_from_any_epoch_to_the_same_weights(graphs, tmp_path, schedule, optimizer):
    class Stop(Exception):
        pass

    def stop_in_second_epoch(done, total, note):
        if note.startswith("epoch 2"):
            raise Stop

    settings = {**QUICK, "epochs": 4, "patience": 1, "schedule": schedule, "optimizer": optimizer}
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


def test_muon_steps_along_orthogonal_matrices_and_leaves_the_rest_to_adam():
    torch.manual_seed(0)
    net = torch.nn.ModuleDict(
        {"embedding": torch.nn.Embedding(20, 16), "hidden": torch.nn.Linear(16, 32), "gate": torch.nn.Linear(32, 1)}
    )
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    inputs = torch.arange(20)

    def loss(rows, generator):
        return {"loss": net["gate"](net["hidden"](net["embedding"](inputs[rows])).tanh()).square().mean()}

    train(net, loss, 20, Plan(epochs=1, batch=20, lr=0.1, optimizer="muon"), 0)
    steps = {name: p.detach() - before[name] for name, p in net.named_parameters()}
    singular = torch.linalg.svdvals(steps["hidden.weight"])
    assert singular.max() < 2 * singular.min()  # Newton and Schulz's iterations stop near 1
    for name in ("embedding.weight", "hidden.bias", "gate.weight"):  # the first step of Adam is the learning rate everywhere
        assert steps[name].abs().median().item() == pytest.approx(0.1, rel=0.01), name


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_muon_steps_as_torch_does_in_bfloat16():
    torch.manual_seed(0)
    shapes = [(24, 24), (24, 24), (40, 12), (12, 40), (12, 40)]
    start = [torch.randn(shape) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    optimizers = [
        Muon(ours, 0.1),
        torch.optim.Muon(theirs, 0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        for mine, other in zip(ours, theirs):
            mine.grad = torch.randn(mine.shape)
            other.grad = mine.grad.clone()
        ours[1].grad = theirs[1].grad = None
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(ours[1], start[1])
    for mine, other, before in zip(ours, theirs, start):
        moved = (other - before).norm()
        assert (mine - other).norm() <= 0.02 * moved  # bfloat16 has three digits


def test_muon_takes_matrices_alone_and_unknown_optimizers_are_told():
    with pytest.raises(ValueError, match=r"expected matrices, found a parameter \[3\]"):
        Muon([torch.nn.Parameter(torch.zeros(3))], 0.1)
    with pytest.raises(SearchError, match="optimizer: expected one of adam, muon, found 'sgd'"):
        Plan(optimizer="sgd")


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
        {"similarity_weight": -1.0}, {"h": -1}, {"optimizer": "sgd"}, {"half_precision": "no"}, {"exchange": 1}, {"lr": "x"},
        {"noise": "abc"}, {"edge_weight": None},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(SearchError, match=next(iter(settings))):
        build_encoder("svge", CELLS, **settings)
