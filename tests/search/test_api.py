"""A search from Python: a function is enough, callbacks hear, and what is found is what tools/search.py would find."""

from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest

import search
from gemnet.cell import Cell
from search import StopSearch
from search.api import rounds_of
from search.core.types import CellArrays, Evaluation, Evaluator, SearchError, Space
from search.record.study import DONE, PENDING, read_study

OPTIONS = {"search": {"draws": 500}, "predictor": {"steps": 5}}


def accuracy(cell: Cell) -> float:
    return 0.5 + 0.02 * sum(name == "sepconv3x3" for name in cell.nodes)


def run(place, report=False, **given):
    """report: whether one is drawn, which takes longer than all else."""
    with nullcontext() if report else mock.patch("search.api.write_report", lambda directory: directory / "report.html"):
        parts = {"space": {"type": "dag", "num_nodes": 6}, "evaluate": accuracy, "encoder": "adjacency", "predictor": "mlp"}
        return search.run(**{**parts, "budget": 10, "work_dir": place, "options": OPTIONS, "quiet": True} | given)


def test_a_function_is_all_that_a_search_needs(tmp_path):
    heard = []
    result = run(tmp_path, report=True, callbacks=[heard.append])
    assert [r.id for r in heard] == [r.id for r in result.records] == list(range(1, 11))
    assert all(r.state == DONE and r.accuracy == accuracy(r.cell.pruned()) for r in heard)
    assert result.record.score == max(r.score for r in result.records)
    assert Cell.load(tmp_path / "best_cell.json") == result.best == result.record.cell.pruned()
    costs, accuracies = zip(*((r.cost, r.accuracy) for r in result.front), strict=True)
    assert list(accuracies) == sorted(accuracies, reverse=True)
    assert list(costs) == sorted(costs, reverse=True)
    assert result.report.is_file()
    assert "<svg" in result._repr_html_()


def test_the_same_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    digests = [[r.digest for r in run(tmp_path / name, seed=seed).records] for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert digests[0] == digests[1] != digests[2]


def test_a_callback_stops_a_search_that_then_goes_on_to_the_same_end(tmp_path):
    def stop(record):
        if record.id == 3:
            raise StopSearch

    stopped = run(tmp_path / "stopped", callbacks=[stop])
    assert [r.state for r in stopped.records].count(DONE) == 3
    assert stopped.records[3].state == PENDING
    went_on = run(tmp_path / "stopped")
    assert [(r.digest, r.score) for r in went_on.records] == [(r.digest, r.score) for r in run(tmp_path / "whole").records]


def test_a_function_that_fails_on_a_cell_costs_that_cell_alone(tmp_path):
    def odd(cell):
        if len(cell.nodes) % 2:
            raise ZeroDivisionError("of mine")
        return accuracy(cell)

    errors = [r.error for r in run(tmp_path, evaluate=odd, space={"type": "dag", "num_nodes": 9}).records if r.state != DONE]
    assert 0 < len(errors) < 10
    assert all("ZeroDivisionError: of mine" in error for error in errors)


@pytest.mark.parametrize(("value", "message"), [("high", "gave 'high'; expected a share"), (1.5, "accuracy")])
def test_what_is_no_share_is_told(tmp_path, value, message):
    with pytest.raises(SearchError, match=message):
        run(tmp_path, evaluate=lambda cell: value)


class Chains(Space):
    """Cells of one path."""

    num_nodes, operators = 5, ("conv1x1", "sepconv3x3")

    def sample(self, rng, count):
        adjacency = np.zeros((count, 5, 5), bool)
        operators = np.full((count, 5), -1, np.int8)
        for b, length in enumerate(rng.integers(1, 5, count)):
            adjacency[b, range(length), range(1, length + 1)] = True
            operators[b, 0] = 0
            operators[b, 1 : length + 1] = rng.integers(1, 3, length)
        return CellArrays(adjacency, operators)


class Careful(Evaluator):
    """Tells more than a number."""

    epochs, num_classes = 2, 4

    def cost(self, cell, statistics=None):
        raise AssertionError("the cost is given")

    def evaluate(self, job, device="cpu"):
        return Evaluation(accuracy(job.cell), (0.4, accuracy(job.cell)), False, 0.0)


def test_a_space_an_evaluator_and_a_cost_of_ones_own_go_together(tmp_path):
    class Priced(Careful):
        def cost(self, cell, statistics=None):
            from gemnet.cost import Cost

            return Cost(len(cell.nodes), 1_000_000 * len(cell.nodes), 1)

    result = run(tmp_path, space=Chains(), evaluate=Priced())
    assert all(r.cell.edges == tuple((v, v + 1) for v in range(len(r.cell.nodes) - 1)) for r in result.records)
    assert all(r.cost == len(r.cell.nodes) for r in result.records)
    assert {len(r.curve) for r in result.records if not r.stopped} == {2}


def test_a_budget_is_spent_to_the_last_evaluation():
    for budget in range(4, 200):
        plan = rounds_of(budget)
        assert plan["start"] + plan["rounds"] * plan["batch"] == budget
        assert plan["start"] >= 3
        assert plan["rounds"] >= 1


@pytest.mark.parametrize("budget", [3, 0, 4.0, True, "10"])
def test_a_budget_that_is_none_is_told(tmp_path, budget):
    with pytest.raises(SearchError, match=r"^budget: expected a whole number from 4"):
        run(tmp_path, budget=budget)


def trade_off(cell: Cell) -> float:
    """More operators are better, each one less than the one before: the front is long."""
    return 1 - 0.8 ** len(cell.nodes)


def test_rounds_with_several_objectives_widen_the_front(tmp_path):
    from search.predictors.hypervolume import Front

    given = {"evaluate": trade_off, "budget": 24, "space": {"type": "dag", "num_nodes": 9}, "penalty": 0.0}
    by_score = run(tmp_path / "score", **given)
    by_front = run(tmp_path / "front", objectives=["accuracy", "cost"], **given)
    assert by_score.records[0].digest == by_front.records[0].digest  # round 0 is the same
    values = [np.array([[r.accuracy, -np.log10(r.cost)] for r in result.records]) for result in (by_score, by_front)]
    scale = Front(np.vstack(values))
    volumes = [scale.volume(one) for one in values]
    assert volumes[1] > volumes[0]
    assert [r.accuracy for r in by_front.front] == sorted((r.accuracy for r in by_front.front), reverse=True)
    costs = [r.cost for r in by_front.front]
    assert costs == sorted(costs, reverse=True)


def test_objectives_go_on_after_a_stop_to_the_same_end(tmp_path):
    def stop(record):
        if record.id == 7:
            raise StopSearch

    run(tmp_path / "stopped", objectives=["accuracy", "macs"], callbacks=[stop])
    again, whole = (run(tmp_path / name, objectives=["accuracy", "macs"]) for name in ("stopped", "whole"))
    assert [r.digest for r in again.records] == [r.digest for r in whole.records]


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (["accuracy"], "expected two or more"),
        (["cost", "cost"], "expected two or more, each once"),
        (["accuracy", "size"], "objectives: value 2: expected one of accuracy, cost, macs, params, latency, found 'size'"),
        (["accuracy", "latency"], "max_latency_ms"),
    ],
)
def test_objectives_that_are_none_are_told(tmp_path, objectives, message):
    with pytest.raises(SearchError, match=message):
        run(tmp_path, objectives=objectives)


def test_an_evaluator_that_trains_reads_the_digits_if_nothing_else_is_given(tmp_path):
    proxy = {"type": "training", "epochs": 1, "width": 2, "stem_width": 4}
    data = {"train_per_class": 8, "val_per_class": 8}
    given = {**OPTIONS, "data": data, "executor": {"workers": 1}}
    result = run(tmp_path, evaluate=proxy, budget=4, options=given)
    assert read_study(tmp_path).settings["data"] == {"type": "digits", **data}
    assert all(r.state == DONE for r in result.records)
