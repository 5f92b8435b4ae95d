"""Searches beside random search: the searches, the record, the statistics and the page."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from made_tables import compact101, compact201

from gemnet.cell import Cell
from gemnet.cli.calling import Call
from gemnet.core.tables import between
from gemnet.cost import Cost
from search.cli import chance as command
from search.core.display import Display
from search.core.types import Evaluation, Evaluator, Job, SearchError
from search.experiments.chance import measuring, mutation, report, rivals, run, tasks
from search.spaces.dag import DagSpace, prune
from search.spaces.nasbench101 import NasBench101Space
from search.spaces.nasbench201 import NasBench201Space
from search.steps.candidates import candidate_seed

QUIET, ROOT = Display(quiet=True), Path(__file__).parents[4]
FAST = {
    "predictor.trees": 5,
    "search.start": 10,
    "search.batch": 5,
    "search.draws": 200,
    "search.folds": 2,
    "search.repeats": 1,
}
NASGEM = {"space.type": "nasbench201", "encoder.iterations": 5, "predictor.steps": 5, "search.start": 10, "search.batch": 5}


def row(method=tasks.RANDOM, seed=0, test=0.9, benchmark="nasbench201", recipe="abc", **changes):
    return {
        "benchmark": benchmark, "method": method, "recipe": recipe, "seed": seed, "budget": 10, "at": [5, 10],
        "score": [0.5, 0.6], "test": [0.8, test], "best_test": 0.95, "seconds": 1.0,
        "cpu_seconds": 1.0, "machine": "made", **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    np.savez(folder / "nasbench201.npz", **compact201())
    np.savez(folder / "nasbench101.npz", **compact101())
    return folder


@pytest.fixture
def small(monkeypatch):
    """The searches on NAS-Bench-201 with 20 evaluations each, hardly trained."""
    about = tasks.Benchmark(
        "made", 20, tasks.Recipe("nasbench201.py", FAST), tasks.Recipe("nasbench101_nasgem.py", NASGEM), population=10
    )
    monkeypatch.setitem(tasks.BENCHMARKS, "nasbench201", about)
    tasks._named.cache_clear()
    yield
    tasks._named.cache_clear()


@pytest.mark.long
def test_every_search_begins_with_the_same_cells_and_its_curves_rise(tables, small, tmp_path):
    planned = tasks.tasks(["nasbench201"], None, 1, 3, str(tables))
    assert [task.method for task in planned] == list(reversed(tasks.METHODS))
    rows = [measuring.measure(task, tmp_path) for task in planned]
    for measured in rows:
        run.parse(json.loads(json.dumps(measured)))
        assert measured["at"][-1] == measured["budget"] == 20
        assert measured["score"] == sorted(measured["score"])
    assert len({tuple(measured["score"][:10]) for measured in rows}) == 1
    assert not list(tmp_path.glob("nasbench201*"))  # no search is left behind
    again = measuring.measure(planned[0], tmp_path)
    same = ("score", "test", "recipe")
    assert [again[name] for name in same] == [rows[0][name] for name in same]


def test_on_the_digits_what_was_trained_for_one_search_is_not_trained_for_the_next(tmp_path, monkeypatch):
    tiny = {"proxy.epochs": 1, "proxy.width": 4, "space.num_nodes": 5, "data.train_per_class": 12, "data.val_per_class": 10}
    tiny |= {"search.start": 4, "search.batch": 2, "search.draws": 50, "encoder.type": "statistics", "predictor.steps": 5}
    recipe = tasks.Recipe("digits.py", tiny)
    monkeypatch.setitem(tasks.BENCHMARKS, "digits", tasks.Benchmark("made", 8, recipe, recipe, population=4, tournament=2))
    tasks._named.cache_clear()
    rows = {}
    for method in (tasks.RANDOM, tasks.EVOLUTION, tasks.DEFAULT):
        rows[method] = measuring.measure(tasks.Task("digits", method, 0), tmp_path)
        run.parse(json.loads(json.dumps(rows[method])))
    tasks._named.cache_clear()
    assert len({tuple(measured["score"][:4]) for measured in rows.values()}) == 1
    assert rows[tasks.RANDOM]["best_test"] is None
    kept, tested = (sorted(tmp_path.glob(f"digits-*{end}.jsonl")) for end in ("[!t]", ".test"))
    evaluations = [json.loads(line)["cell"] for line in kept[0].read_text().splitlines()]
    assert len(evaluations) == len(set(evaluations)) <= 8 + 4 + 4
    assert (len(kept), len(tested)) == (1, 1)


class Wide(Evaluator):
    """Tells of a cell how many of 29 nodes are separable convolutions; its network is never built."""

    epochs, num_classes, no_max_macs = 1, 10, ""

    def cost(self, cell, statistics=None):
        return Cost(1, 1_000_000, 1)

    def evaluate(self, job, device):
        accuracy = job.cell.nodes.count("sepconv3x3") / 29
        return Evaluation(accuracy, (accuracy,), False, 0.0)


def evaluated(search, budget, *arguments):
    settings = {**tasks.Task("digits", tasks.RANDOM, 0).settings, "model": {}, "search": {"start": 10, "rounds": 0}}
    evaluations = rivals.Evaluations(settings, DagSpace(), Wide())
    search(evaluations, budget, np.random.default_rng(0), *arguments)
    return settings, evaluations.done


def test_rivals_keep_to_the_budget_evaluate_no_cell_twice_and_begin_alike():
    settings, drawn = evaluated(rivals.random_search, 40)
    _, evolved = evaluated(rivals.evolve, 40, 20, 5)
    for done in (drawn, evolved):
        digests = [cell.cell.pruned().digest() for cell in done]
        assert len(digests) == len(set(digests)) == 40
        assert [cell.seed for cell in done] == [candidate_seed(settings["seed"], digest) for digest in digests]
    assert drawn[:20] == evolved[:20]


def test_evolution_climbs_where_random_search_does_not():
    best = {}
    for search, arguments in ((rivals.random_search, ()), (rivals.evolve, (20, 10))):
        best[search] = max(cell.score for cell in evaluated(search, 150, *arguments)[1])
    assert best[rivals.evolve] > best[rivals.random_search] + 3 / 29


def test_children_differ_little_and_are_of_the_space(tables):
    rng = np.random.default_rng(0)
    dag, table201 = DagSpace(num_nodes=8), NasBench201Space(tables / "nasbench201.npz")
    parent = dag.sample(rng, 1)
    made = mutation.mutated(dag, parent, rng, 400)
    flips, renewed = (made.adjacency != parent.adjacency).sum((1, 2)), (made.operators != parent.operators).sum(1)
    assert 0.7 < flips.mean() < 1.3
    assert 0.3 < renewed.mean() < 0.7  # one of two operators is drawn anew on average, half of the times the same
    assert (made.operators[:, 0] == 0).all()
    assert not np.tril(made.adjacency.any(0)).any()
    assert (prune(made).operators[:, 1:] >= 0).any(1).all()
    parent = table201.table.cells[:1]
    made = mutation.mutated(table201, parent, rng, 200)
    assert ((made.operators != parent.operators).sum(1) <= 1).all()
    assert (made.operators[:, [0, -1]] == parent.operators[:, [0, -1]]).all()
    assert set(made.operators[:, 1:-1].ravel()) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("space", [NasBench101Space, NasBench201Space])
def test_children_of_a_tables_cell_are_in_its_pool(space, tables):
    space = space(tables)
    parent = space.to_cells(space.table.cells[space.pool[:1]])[0]
    found = list(zip(range(5), mutation.Children(space).of(parent, np.random.default_rng(0)), strict=False))
    assert found
    assert all(space.row(cell) in space.pool for _, cell in found)


def test_what_is_kept_is_not_trained_again_and_stops_where_a_training_would(tmp_path):
    class Counted(Evaluator):
        epochs, calls = 3, 0

        def evaluate(self, job, device):
            self.calls += 1
            return Evaluation(0.7, (0.2, 0.5, 0.7), False, 1.0)

    inner = Counted()
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    assert measuring.KeptEvaluator(inner, tmp_path / "kept.jsonl").evaluate(Job(0, cell, 1), "cpu").accuracy == 0.7
    again = measuring.KeptEvaluator(inner, tmp_path / "kept.jsonl")
    assert again.evaluate(Job(5, cell, 1, ((2, 0.6),)), "cpu") == Evaluation(0.5, (0.2, 0.5), True, 1.0)
    assert again.evaluate(Job(5, cell, 1, ((2, 0.4),)), "cpu") == Evaluation(0.7, (0.2, 0.5, 0.7), False, 1.0)
    assert inner.calls == 1
    again.evaluate(Job(6, cell, 2), "cpu")
    assert inner.calls == 2


def test_a_search_with_other_settings_is_another_one():
    names = [tasks.Task("digits", method, 0).recipe for method in tasks.METHODS]
    assert len(set(names)) == 4
    settings = [tasks.Task("digits", method, 0).settings for method in (tasks.NASGEM, tasks.ENSEMBLE)]
    assert [s["encoder"]["type"] for s in settings] == ["kernel_guided", "statistics"]
    assert tasks.Task("digits", tasks.DEFAULT, 5).recipe == names[0]
    assert tasks.Task("digits", tasks.DEFAULT, 0, "elsewhere").recipe == names[0]
    with pytest.raises(SearchError, match="--methods: 'luck'"):
        tasks.tasks(["digits"], ["luck"], 1, 0, None)


@pytest.mark.long
def test_the_command_runs_records_goes_on_and_renews_the_page(tables, small, tmp_path, capsys):
    for name in ("tools", "configs", "docs/results"):
        (tmp_path / name).mkdir(parents=True)
    page, record = tmp_path / report.PAGE, str(tmp_path / "record.jsonl")
    page.write_text("\n".join(report.MARKS) + "\n")
    arguments = ["nasbench201", "--methods", tasks.RANDOM, tasks.EVOLUTION, "--data", str(tables), "--record", record]
    arguments += ["--work-dir", str(tmp_path / "work")]
    for seeds in ("1", "2"):
        call = Call([*arguments, "--seeds", seeds, "--write"], "tools", "compare_searches.py", tmp_path)
        assert command.main(call) == 0
    rows = [json.loads(line) for line in Path(record).read_text().splitlines()]
    assert [(line["method"], line["seed"]) for line in rows] == [
        (m, s) for s in (0, 1) for m in (tasks.RANDOM, tasks.EVOLUTION)
    ]
    assert command.main(Call(["table", "--record", record, "--write"], "tools", "compare_searches.py", tmp_path)) == 0
    assert report.table(rows) in capsys.readouterr().out
    assert between(report.MARKS, page.read_text(), report.table(rows), "page") == page.read_text()
    assert (tmp_path / report.PICTURE).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"at": [5, 9]},
        {"at": [10, 5]},
        {"score": [0.5]},
        {"test": [0.5, None]},
        {"score": [-math.inf, 0.5]},
        {"seed": True},
        {"best_test": "high"},
    ],
)
def test_a_line_that_is_no_search_is_refused_by_its_number(tmp_path, change):
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps({**row(seed=1), **change}) + "\n")
    with pytest.raises(SearchError, match="line 2: not a search of this comparison"), run.open_record(path):
        pass


def test_the_command_offers_all_benchmarks():
    assert tuple(tasks.BENCHMARKS) == command.NAMES
    assert set(report.COLOURS) == {method for about in tasks.BENCHMARKS.values() for method in about.methods}


def test_differences_are_paired_by_seed_and_told_in_standard_errors():
    ours = [row(tasks.DEFAULT, seed, 0.9 + 0.01 * seed) for seed in range(5)]
    theirs = [row(seed=seed, test=0.9) for seed in (3, 2, 1, 0, 4, 7)]
    found = report.ahead(ours, theirs, "test")
    values = np.arange(5.0)
    assert found.seeds == 5
    assert found.mean == pytest.approx(values.mean())
    assert found.errors == pytest.approx(values.mean() / (values.std(ddof=1) / 5**0.5))
    assert report.ahead(ours[:4], theirs, "test") is None
    text = report.table(ours + theirs)
    assert f"({found.errors:+.1f})" in text
    assert "of random search but for score at the end +0.0" in text


def test_the_table_has_the_last_recipe_of_each_search_alone():
    old, new = row(recipe="old"), row(recipe="new", test=0.5)
    assert report.latest([old, new, row(recipe="old", seed=1)]) == [new]


def test_the_page_and_its_picture_are_those_of_the_record():
    rows = list(run.open_record(ROOT / report.RECORD).rows.values())
    page = (ROOT / report.PAGE).read_text(encoding="utf-8")
    assert between(report.MARKS, page, report.table(rows), report.PAGE) == page
