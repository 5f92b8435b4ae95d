import json
import pickle

import numpy as np
import pytest
import torch

from gemnet.cell import Cell
from search.core.types import Evaluation, EvaluationError, Job, SearchError
from search.encoders.svge.graphs import GraphSpace
from search.evaluation.data import build_data
from search.evaluation.proxy import ProxySettings
from search.experiments.svge.enas_network import EnasNetwork
from search.experiments.svge.extrapolation import LARGER, Proposal, propose, train_proposals
from search.experiments.svge.proxy import BenchmarkProxyEvaluator
from search.experiments.svge.results import Results

ENAS = Cell(
    ("input", "conv3x3", "avgpool3x3", "sepconv5x5", "output"), ((0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (0, 3), (1, 3))
)
WIDE = Cell(
    ("input", *["conv3x3", "conv1x1", "maxpool3x3"] * 2, "output"),
    ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 6), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7), (0, 7)),
)
CHAIN = Cell(("input", "conv3x3", "output"), ((0, 1), (1, 2)))


@pytest.fixture(scope="module")
def digits():
    return build_data("digits", train_per_class=8, val_per_class=8)


@pytest.fixture(scope="module")
def proposals(task, model, tuned):
    return propose(model, tuned, task, GraphSpace("larger", task.space.types, 5), seed=0, top=3, wanted=60)


def test_proposals_are_valid_cells_of_the_full_size_beside_random_ones_and_the_best_known(task, proposals):
    groups = dict.fromkeys(p.group for p in proposals)
    assert list(groups) == ["5 nodes, highest predicted", "5 nodes, random", "4 nodes, most accurate known"]
    larger = proposals[:6]
    assert {len(p.cell.nodes) for p in larger} == {5}
    assert len({p.cell.digest() for p in larger}) == 6
    for p in larger:
        assert p.cell.nodes[-1] == "output"
        assert p.cell.leaves == (4,)
    assert [p.rank for p in larger] == [1, 2, 3, 1, 2, 3]
    assert [p.predicted for p in larger[:3]] == sorted((p.predicted for p in larger[:3]), reverse=True)
    assert larger[2].predicted >= max(p.predicted for p in larger[3:])
    assert larger[0].predicted > min(p.predicted for p in larger[3:])
    train = task.known(task.train)
    best = train[np.argsort(-task.accuracies[train], kind="stable")[:3]]
    assert [p.cell.digest() for p in proposals[6:]] == [task.cell(task.graphs, row).digest() for row in best]


def test_proposals_are_recorded_as_plain_json(proposals):
    assert [Proposal.from_dict(json.loads(json.dumps(p.to_dict()))) for p in proposals] == proposals


def test_too_few_valid_cells_are_told_with_a_remedy(task, model, tuned):
    nothing = GraphSpace("nothing", task.space.types, 5, lambda graphs: np.zeros(len(graphs), bool))
    with pytest.raises(SearchError, match="gave 0 different valid graphs of 5 nodes; expected at least 4: train longer"):
        propose(model, tuned, task, nothing, 0, top=2, draws=100)


def test_proposals_are_trained_once_a_seed_and_ranked_by_what_was_measured(proposals, tmp_path):
    class Made:
        """More edges, more accuracy; one cell cannot be trained."""

        jobs: list

        def cost(self, cell):
            return type("Cost", (), {"macs": len(cell.edges), "params": 1})

        def evaluate(self, job, device):
            self.jobs.append((job.cell.digest(), job.seed))
            if job.cell == proposals[1].cell:
                raise EvaluationError("the loss became nan")
            return Evaluation(len(job.cell.edges) / 100 + job.seed / 1000, (), False, 1.0)

    evaluator = Made()
    evaluator.jobs = []
    rows = train_proposals(proposals, evaluator, Results(tmp_path / "results.jsonl"), {"epochs": 1}, [0, 1])
    assert len(evaluator.jobs) == len(set(evaluator.jobs)) == 2 * len(proposals)
    accuracies = [row["mean accuracy"] for row in rows]
    assert accuracies[-1] is None
    assert rows[-1]["error"] == "the loss became nan"
    assert accuracies[:-1] == sorted(accuracies[:-1], reverse=True)
    assert len(set(accuracies[:-1])) > 1
    assert [row["MACs"] for row in rows] != [len(p.cell.edges) for p in proposals]  # they came in another order
    assert rows[0]["mean accuracy"] == pytest.approx(rows[0]["MACs"] / 100 + 0.0005)
    assert rows[0]["deviation"] == pytest.approx(0.0005 * 2**0.5)
    evaluator.jobs = []
    again = train_proposals(proposals, evaluator, Results(tmp_path / "results.jsonl"), {"epochs": 1}, [0, 1])
    assert evaluator.jobs == []
    assert again == rows
    with pytest.raises(SearchError, match="epochs was 1, now 2; use another work directory"):
        train_proposals(proposals, evaluator, Results(tmp_path / "results.jsonl"), {"epochs": 2}, [0, 1])


def test_a_cell_without_a_network_within_the_macs_is_told_before_any_training(proposals, tmp_path, digits):
    evaluator = BenchmarkProxyEvaluator(digits, ProxySettings(macs=10), {"benchmark": "nasbench101"})
    with pytest.raises(SearchError, match="macs=10 is too little"):
        train_proposals(proposals, evaluator, Results(tmp_path / "results.jsonl"), {}, [0])
    assert not (tmp_path / "results.jsonl").exists()


@pytest.mark.long
@pytest.mark.parametrize(("benchmark", "cells"), [("nasbench101", [CHAIN, WIDE]), ("enas", [ENAS])])
def test_networks_are_as_wide_as_the_macs_allow_whatever_the_size_of_the_cell(benchmark, cells, digits):
    evaluator = BenchmarkProxyEvaluator(digits, ProxySettings(macs=1e6, epochs=1), {"benchmark": benchmark})
    for cell in cells:
        width = evaluator.width(cell)
        assert 7e5 < evaluator.cost(cell).macs <= 1e6
        assert evaluator._cost(cell, width + 1).macs > 1e6
        evaluation = evaluator.evaluate(Job(0, cell, 1))
        assert 0 <= evaluation.accuracy <= 1
        assert pickle.loads(pickle.dumps(evaluator)).evaluate(Job(0, cell, 1)).accuracy == evaluation.accuracy
    with pytest.raises(SearchError, match="macs=10 is too little: the narrowest network of a cell has"):
        BenchmarkProxyEvaluator(digits, ProxySettings(macs=10), {"benchmark": benchmark}).width(cells[0])


def test_settings_of_the_networks_that_make_no_sense_are_refused(digits):
    with pytest.raises(
        SearchError, match="no networks of the space 'nasbench201' are built; expected one of nasbench101, enas"
    ):
        BenchmarkProxyEvaluator(digits, ProxySettings(macs=1e6), {"benchmark": "nasbench201"})
    with pytest.raises(SearchError, match="proxy: macs: expected"):
        BenchmarkProxyEvaluator(digits, ProxySettings(), {"benchmark": "enas"})


def test_an_enas_network_is_its_layers_by_hand():
    torch.manual_seed(0)
    network = EnasNetwork(ENAS, num_classes=3, in_chans=1, channels=6).eval()
    x = torch.randn(2, 1, 8, 8)
    pool = torch.nn.functional.max_pool2d
    with torch.no_grad():
        one, two, three = network.layers
        stem = network.stem(x)
        first = one.norm(one.operator(stem))
        stem, first = pool(stem, 2), pool(first, 2)  # after a third of three layers
        second = two.norm(two.operator(first) + stem)
        stem, first, second = (pool(state, 2) for state in (stem, first, second))
        third = three.norm(three.operator(second) + stem + first)
        expected = network.classifier(third.mean((2, 3)))
        assert torch.allclose(network(x), expected, atol=1e-5)
    network.train()(x).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    for cell, message in ((CHAIN, None), (Cell(("input", "conv1x1", "output"), ((0, 1), (1, 2))), "a cell of ENAS")):
        if message:
            with pytest.raises(ValueError, match=message):
                EnasNetwork(cell)
        else:
            EnasNetwork(cell)
    with pytest.raises(ValueError, match="fed by the one before"):
        EnasNetwork(Cell(("input", "conv3x3", "conv3x3", "output"), ((0, 1), (0, 2), (1, 3), (2, 3))))


def test_the_larger_spaces_have_more_nodes_of_the_same_types():
    assert {name: space.max_nodes for name, space in LARGER.items()} == {"nasbench101": 8, "enas": 14}
