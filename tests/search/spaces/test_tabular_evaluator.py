"""Looking accuracies up instead of training: the evaluator, and whole searches on tables."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from made_tables import compact101, compact201

from search.cli.command import search_command
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import EvaluationError, Job, SearchError
from search.evaluation.evaluators import evaluator_of
from search.pipeline import run_search
from search.record.study import DONE, read_study
from search.spaces.dag import DagSpace
from search.spaces.nasbench101 import NasBench101Space
from search.spaces.nasbench201 import NasBench201Space
from search.spaces.tabular import Table, TabularEvaluator

CONFIGS = Path(__file__).parents[3] / "configs/search"
SMALL = {
    "encoder.sample": 200,
    "predictor.trees": 20,
    "search.start": 20,
    "search.rounds": 2,
    "search.batch": 10,
    "search.draws": 500,
}


@pytest.fixture
def evaluator(made101):
    return TabularEvaluator(NasBench101Space(made101))


def cell(evaluator, row):
    return evaluator.space.to_cells(evaluator.space.table.cells[row : row + 1])[0]


def test_an_evaluation_is_the_stored_validation_accuracy_after_each_training(evaluator):
    found = evaluator.evaluate(Job(0, cell(evaluator, 6), seed=0))
    assert found.curve == tuple((5000 + 20 * epochs + 600) / 9984 for epochs in (4, 12, 36, 108))
    assert found.accuracy == found.curve[-1]
    assert not found.stopped
    assert evaluator.epochs == 4


def test_the_cost_is_the_stored_number_of_params(evaluator):
    cost = evaluator.cost(cell(evaluator, 6))
    assert cost.params == 7_000_000
    assert cost.macs > 1e6


def test_a_threshold_stops_a_candidate_where_it_is_too_low(evaluator):
    low, high = evaluator.evaluate(Job(0, cell(evaluator, 6), 0)).curve[1:3]
    stopped = evaluator.evaluate(Job(0, cell(evaluator, 6), 0, early_stop_thresholds=((2, low), (3, high + 1e-6))))
    assert stopped.stopped
    assert stopped.accuracy == high
    assert len(stopped.curve) == 3


def test_a_cell_that_was_not_evaluated_is_an_evaluation_error(evaluator):
    with pytest.raises(EvaluationError, match=r"row 11 has no validation accuracy; search with space\.pool='evaluated'"):
        evaluator.evaluate(Job(0, cell(evaluator, 11), 0))


def test_trainings_that_are_not_in_the_table_are_no_epochs(tmp_path):
    np.savez(tmp_path / "nasbench101.npz", **compact101(columns=(36, 108)))
    evaluator = TabularEvaluator(NasBench101Space(tmp_path))
    assert evaluator.epochs == len(evaluator.evaluate(Job(0, cell(evaluator, 0), 0)).curve) == 2


def test_an_evaluator_goes_to_workers(evaluator):
    evaluator.cost(cell(evaluator, 6))
    copy = pickle.loads(pickle.dumps(evaluator))
    job = Job(0, cell(evaluator, 3), 0)
    assert copy.evaluate(job).curve == evaluator.evaluate(job).curve


def settings_for(path, name="nasbench201", **options):
    return load_settings(CONFIGS / f"{name}.py", {"space.data": str(path), **SMALL, **options})


@pytest.mark.long
def test_a_search_finds_the_best_cells_of_a_table(made201, tmp_path):
    records = run_search(settings_for(made201), tmp_path / "run", Display(quiet=True))
    table = NasBench201Space(made201).table
    assert len(records) == len({r.digest for r in records}) == 40
    assert {r.state for r in records} == {DONE}
    first, later = ([r.accuracy for r in records if (r.round > 0) == late] for late in (False, True))
    assert np.mean(later) > np.mean(first) + 0.05
    for r in records:
        row = NasBench201Space(made201).row(r.cell)
        assert r.accuracy == r.score == table.validation_accuracy[row]  # the penalty is 0
        assert r.cost == r.params / 1e6 == table.params[row] / 1e6


@pytest.mark.long
def test_test_accuracies_never_influence_a_search(tmp_path, monkeypatch):
    def essence(name, test):
        np.savez(tmp_path / "nasbench201.npz", **compact201(cifar10_test=test))
        records = run_search(
            settings_for(tmp_path, **{"search.rounds": 1, "search.draws": 200}), tmp_path / name, Display(quiet=True)
        )
        return [(r.digest, r.predicted, r.accuracy, r.score) for r in records]

    rng = np.random.default_rng(0)
    one = essence("one", rng.uniform(10, 95, 300).astype(np.float32))
    monkeypatch.setattr(Table, "test_accuracy", lambda self: pytest.fail("a search has read test accuracies"))
    assert one == essence("none", None)


@pytest.mark.long
def test_a_table_has_no_bound_on_macs_but_one_on_cost(made201, tmp_path):
    with pytest.raises(SearchError, match=r"bound the cost of a table's cells by cost\.max"):
        run_search(settings_for(made201, **{"search.max_macs": 1e8}), tmp_path / "run", Display(quiet=True))
    records = run_search(settings_for(made201, **{"cost.max": 0.6}), tmp_path / "run", Display(quiet=True))
    assert max(r.params for r in records) <= 0.6e6


def test_parts_that_do_not_fit_together_are_refused(made101):
    settings = load_settings(CONFIGS / "nasbench101.py")
    with pytest.raises(SearchError, match="'table' is for the space of a benchmark"):
        evaluator_of(settings, DagSpace(5))
    space = NasBench101Space(made101)
    with pytest.raises(SearchError, match=r"expected proxy\.type='table'"):
        evaluator_of({**settings, "proxy": {}}, space)
    with pytest.raises(SearchError, match=r"data: expected dict\(\) with proxy\.type='table'"):
        evaluator_of({**settings, "data": {"type": "digits"}}, space)
    with pytest.raises(SearchError, match="proxy: unknown setting 'epochs'; there are none"):
        evaluator_of({**settings, "proxy": {"type": "table", "epochs": 3}}, space)
    with pytest.raises(SearchError, match="unknown proxy 'oracle'; expected one of training, table"):
        evaluator_of({**settings, "proxy": {"type": "oracle"}}, space)


@pytest.mark.long
def test_the_tool_ends_with_a_drawn_cell_a_report_and_its_test_accuracy_and_no_line_that_builds_it(
    made201, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("GEMNET_DATA", str(made201.parent))
    assert search_command(str(CONFIGS / "nasbench201.py"), str(tmp_path / "run"), options=SMALL) == 0
    out = capsys.readouterr().out
    assert {"best_cell.json", "best_cell.png", "best_cell.svg", "report.html"} <= set(os.listdir(tmp_path / "run"))
    assert "Build it" not in out
    assert "224x224" not in out
    told = re.search(r"benchmark +test accuracy (\S+) \(row (\d+)\), rank \d+ of 300 in the pool", out)
    table = NasBench201Space(made201).table
    best = max(read_study(tmp_path / "run").records, key=lambda r: r.score)
    assert table.validation_accuracy[int(told.group(2))] == best.accuracy
    assert float(told.group(1)) == pytest.approx(table.test_accuracy()[int(told.group(2))], abs=1e-4)


def test_a_missing_table_is_one_line_that_says_where_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEMNET_DATA", str(tmp_path))
    assert search_command(str(CONFIGS / "nasbench101.py"), str(tmp_path / "run")) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"search: .*nasbench101\.npz does not exist; .*gemnet convert-benchmark.*\n", error)
    assert not (tmp_path / "run").exists()


def test_a_search_that_asks_for_the_time_of_a_benchmarks_cell_says_that_none_is_built(made101, tmp_path, capsys):
    options = {
        **SMALL,
        "space.data": str(made101),
        "cost": {"type": "latency", "batch": 1, "resolution": 32},
        "search.start": 3,
    }
    options["cost"]["reference"] = "timm/mobilenetv3_small_050"
    assert search_command(str(CONFIGS / "nasbench101.py"), str(tmp_path / "run"), options=options) == 1
    assert "gemnet builds no network of it" in capsys.readouterr().err


@pytest.mark.long
def test_a_search_on_the_real_nasbench101_finds_more_than_chance(real101, tmp_path):
    settings = settings_for(real101.table.source, "nasbench101", **{"search.start": 30, "search.batch": 20})
    records = run_search(settings, tmp_path / "run", Display(quiet=True))
    first, later = ([r.accuracy for r in records if (r.round > 0) == late] for late in (False, True))
    assert np.median(later) > np.median(first)
    assert max(first + later) > 0.935


@pytest.mark.long
def test_a_table_without_test_accuracies_ends_in_a_result_all_the_same(tmp_path, capsys):
    np.savez(tmp_path / "nasbench201.npz", **compact201(cifar10_test=None))
    options = {**SMALL, "space.data": str(tmp_path), "search.start": 5, "search.rounds": 0}
    assert search_command(str(CONFIGS / "nasbench201.py"), str(tmp_path / "run"), options=options) == 0
    assert "'cifar10_test' is missing" in capsys.readouterr().out
    assert (tmp_path / "run/report.html").exists()
