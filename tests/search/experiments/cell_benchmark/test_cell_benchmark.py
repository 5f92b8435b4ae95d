"""The benchmark of cells: which they are, their trainings, the record as a space, and what the proxies are worth."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from gemnet.cell import Cell
from gemnet.cli.calling import Call
from gemnet.core.tables import between
from search.cli import cell_benchmark as command
from search.core.display import Display
from search.core.types import Job, SearchError
from search.experiments.cell_benchmark import cells, report, training
from search.pipeline import run_search
from search.spaces import cell_benchmark as space
from search.spaces.dag import build_space
from search.spaces.tabular import TabularEvaluator

ROOT, QUIET = Path(__file__).parents[4], Display(quiet=True)
TINY = ["proxy.epochs=2", "proxy.width=4", "data.train_per_class=8", "data.val_per_class=10"]
LONG = training.Schedule(3, 12)


def chain(length, kind="chain", seed=0, schedule="long", recipe="abc", curve=(0.3, 0.5), **changes):
    return {
        "nodes": ["input", *["sepconv3x3"] * length], "edges": [[i, i + 1] for i in range(length)], "kind": kind,
        "schedule": schedule, "recipe": recipe, "data": "made", "seed": seed, "epochs": len(curve), "train_images": 100,
        "val_images": 50, "accuracy": curve[-1], "curve": list(curve), "params": 1000 * length, "macs": 10 * length,
        "activations": 100 * length, "seconds": 60.0, "cpu_seconds": 60.0, "machine": "made", **changes,
    }  # fmt: skip


def record(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_32_different_cells_cover_the_space_and_kinds_take_turns():
    made = cells.benchmark_cells()
    assert len({named.cell.digest() for named in made}) == len(made) == 32
    kinds = [named.kind for named in made]
    assert len(set(kinds[:8])) == len(set(kinds)) == 8
    sizes = [len(named.cell.nodes) - 1 for named in made]
    assert (min(sizes), max(sizes)) == (1, 29)
    assert [named.cell for named in cells.benchmark_cells()] == [named.cell for named in made]
    assert Cell.shipped("gemnet_a").digest() in {named.cell.digest() for named in made}


def test_a_random_cell_without_a_network_is_replaced_and_the_others_stay():
    whole = cells.benchmark_cells()
    first = next(named.cell for named in whole if named.kind == "dense")
    other = cells.benchmark_cells(lambda cell: cell.digest() != first.digest())
    assert len(other) == 32
    assert len({named.cell.digest() for named in whole} - {named.cell.digest() for named in other}) == 1


def test_the_command_trains_records_goes_on_and_renews_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(training.SCHEDULES, "long", LONG)
    for name in ("tools", "configs", "docs/results"):
        (tmp_path / name).mkdir(parents=True)
    page, path = tmp_path / report.PAGE, tmp_path / "record.jsonl"
    page.write_text("\n".join(report.MARKS) + "\n")
    arguments = ["train", "--search", "digits", "--record", str(path), "--work-dir", str(tmp_path / "work"), "--write"]

    def trained(count):
        more = ["--cells", count, "--cfg-options", *TINY]
        assert command.main(Call([*arguments, *more], "tools", "cell_benchmark.py", tmp_path)) == 0
        return path.read_text()

    before = trained("1")
    after = trained("2")
    assert after.startswith(before)
    rows = [json.loads(line) for line in after.splitlines()]
    expected = [(*schedule, kind) for kind in ("chain", "side by side") for schedule in (("short", 2, 80), ("long", 3, 120))]
    assert [(row["schedule"], len(row["curve"]), row["train_images"], row["kind"]) for row in rows] == expected
    assert after == trained("2")
    assert command.main(Call(["table", "--record", str(path), "--write"], "tools", "cell_benchmark.py", tmp_path)) == 0
    assert report.table(rows) in capsys.readouterr().out
    assert between(report.MARKS, page.read_text(), report.table(rows), "page") == page.read_text()
    assert len(space.CellBenchmarkSpace(path).pool) == 2


@pytest.mark.parametrize(
    "change", [{"curve": [0.3, 1.5]}, {"epochs": 3}, {"seed": "0"}, {"edges": [[1, 0]]}, {"nodes": ["input", "magic"]}]
)
def test_a_line_that_is_no_training_is_refused_by_its_number(tmp_path, change):
    path = record(tmp_path / "record.jsonl", [chain(1), {**chain(2), **change}])
    with pytest.raises(SearchError, match=r"record.jsonl, line 2: not a training of a cell"):
        training.open_record(path)


def test_the_space_has_the_long_trainings_of_the_last_recipe_and_other_seeds_are_its_test(tmp_path):
    rows = [chain(1, recipe="old", curve=(0.1, 0.2)), chain(1), chain(2, curve=(0.4, 0.6)), chain(1, seed=1, curve=(0.3, 0.7))]
    rows += [chain(3, schedule="short", recipe="s", curve=(0.9,)), chain(1, seed=2, curve=(0.3, 0.8))]
    found = space.CellBenchmarkSpace(record(tmp_path / "cell_benchmark.jsonl", rows))
    assert found.table.validation_accuracy.tolist() == [0.5, 0.6]
    assert found.table.test_accuracy().tolist() == pytest.approx([0.75, 0.6])
    two = Cell(("input", "sepconv3x3", "sepconv3x3"), ((0, 1), (1, 2)))
    evaluator = TabularEvaluator(found)
    assert evaluator.evaluate(Job(0, two, 0)).curve == (0.4, 0.6)
    cost = evaluator.cost(two)
    assert (cost.params, cost.macs, cost.activations) == (2000, 20, 200)
    for nodes, reason in ((("input", "conv1x1"), "the operator 'conv1x1'"), (("input", *["sepconv3x3"] * 3), "4 nodes")):
        with pytest.raises(SearchError, match=reason):
            found.row(Cell(nodes, tuple((i, i + 1) for i in range(len(nodes) - 1))))


def test_without_a_long_training_there_is_no_table_and_no_space(tmp_path):
    rows = [chain(1, schedule="short")]
    assert report.table(rows) == "No cell is trained by the long schedule yet."
    with pytest.raises(SearchError, match="no cell is trained yet"):
        space.CellBenchmarkSpace(record(tmp_path / "cell_benchmark.jsonl", rows))


def test_a_search_runs_on_the_record(tmp_path):
    rows = [chain(length, curve=(0.2, 0.3 + 0.02 * length)) for length in range(1, 13)]
    path = record(tmp_path / "cell_benchmark.jsonl", rows)
    settings = {
        "seed": 0, "penalty": 0.0, "space": {"type": "cell_benchmark", "data": str(path)}, "encoder": {"type": "statistics"},
        "predictor": {"type": "ensemble", "trees": 3}, "data": {}, "proxy": {"type": "table"}, "cost": {"type": "params"},
        "search": {"start": 4, "rounds": 2, "batch": 2, "draws": 50, "stop_quantile": 0.0}, "model": {},
        "executor": {"workers": 1, "device": "cpu"},
    }  # fmt: skip
    records = run_search(settings, tmp_path / "work", QUIET)
    assert len({r.digest for r in records}) == len(records) == 8
    assert max(r.accuracy for r in records) == pytest.approx(0.3 + 0.02 * 12)


def test_proxies_are_ranked_over_all_cells_and_the_better_half():
    rng = np.random.default_rng(0)
    long = [chain(length, curve=(float(a), float(b))) for length, (a, b) in enumerate(rng.random((9, 2)), 1)]
    short = [chain(n, schedule="short", recipe="s", curve=(float(v),)) for n, v in zip(range(1, 9), rng.random(8))]
    rows = long + short
    accuracy = report.converged(rows)
    by_name = {proxy.name: proxy for proxy in report.proxies(rows)}
    proxy = by_name["short, 100 images, 1 epochs: after 1"]
    count, whole, half = report.taus(proxy.values, accuracy)
    ends, told = ([row["curve"][-1] for row in part] for part in (long[:8], short))
    assert count == 8
    assert whole == pytest.approx(kendalltau(ends, told).statistic)
    better = np.argsort(ends)[4:]
    assert half == pytest.approx(kendalltau(np.array(ends)[better], np.array(told)[better]).statistic)
    assert proxy.minutes == 1.0
    assert by_name["params"].values[space.key(long[0])[0]] == 1000
    assert "| short, 100 images, 1 epochs: after 1 | 1.0 | 8 |" in report.table(rows)


def test_a_curve_that_is_a_power_law_is_extrapolated_exactly():
    curve = [0.9 - 0.5 * t**-0.5 for t in range(1, 6)]
    assert report.extrapolated(curve, 100) == pytest.approx(0.9 - 0.5 * 0.1)
    assert report.extrapolated([0.4, 0.3], 100) == 0.3


def test_the_page_is_that_of_the_record():
    rows = space.open_benchmark(ROOT / report.RECORD)
    page = (ROOT / report.PAGE).read_text(encoding="utf-8")
    assert between(report.MARKS, page, report.table(rows), report.PAGE) == page
    if space.trainings(rows):
        assert len(build_space("cell_benchmark", data=ROOT / report.RECORD).pool) == len(space.trainings(rows))
