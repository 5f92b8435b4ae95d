"""The best cells of a record trained again: which were lucky, resumable, and under the settings of the search alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import run_tool

from gemnet.cell import Cell
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.json_lines import Store
from search.core.types import Job, SearchError
from search.evaluation.evaluators import evaluator_of
from search.experiments.retraining import COLUMNS, agreement, retrain
from search.pipeline import run_search
from search.record.export import write_export
from search.record.study import read_study
from search.spaces.dag import build_space

ROOT = Path(__file__).parents[3]
SMALL = {
    "space.num_nodes": 6, "proxy.epochs": 2, "proxy.width": 4, "search.start": 5, "search.rounds": 0,
    "encoder.type": "adjacency", "data.train_per_class": 24, "executor.workers": 1,
}  # fmt: skip
QUIET = Display(quiet=True)
HERE = {"executor.workers": 1}


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("retraining") / "search"
    run_search(load_settings(ROOT / "configs/search/digits.py", SMALL), directory, QUIET)
    return directory


def test_cells_are_trained_again_with_other_seeds_and_the_best_on_average_comes_first(work_dir, tmp_path):
    found = retrain(work_dir, tmp_path, QUIET, 3, 2, HERE)
    snapshot = read_study(work_dir)
    best = sorted(snapshot.records, key=lambda r: -r.score)[:3]
    assert {f.record.digest for f in found} == {r.digest for r in best}
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    rows = [json.loads(line) for line in (tmp_path / "trainings.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["seed"] for row in rows}) == 6
    assert not {row["seed"] for row in rows} & {r.seed for r in snapshot.records}
    settings = load_settings(ROOT / "configs/search/digits.py", SMALL)
    evaluator = evaluator_of(settings, build_space(**settings["space"]))
    for f in found:
        seeds = {row["name"]: row["seed"] for row in rows if row["name"].startswith(f.record.digest[:12])}
        alone = [evaluator.evaluate(Job(0, f.record.cell.pruned(), seed)).accuracy for _, seed in sorted(seeds.items())]
        assert list(f.accuracies) == alone
        assert f.score == pytest.approx(np.mean(alone) - snapshot.settings["penalty"] * np.log10(f.record.cost))
    cell = Cell.load(tmp_path / "best_cell.json")
    assert cell.digest() == found[0].record.digest
    assert cell.provenance["retrained"] == {"accuracies": list(found[0].accuracies), "score": found[0].score, "epochs": 2}
    assert sorted(p.name for p in (tmp_path / "top_cells").iterdir()) == ["1.json", "2.json", "3.json"]
    assert cell.provenance["search"] == "search"
    assert {f.record.digest: f.place for f in found} == {r.digest: place for place, r in enumerate(best, 1)}
    table = (tmp_path / "retrained.md").read_text()
    assert found[0].record.digest[:8] in table.splitlines()[2]
    assert agreement(found) in table


def test_what_was_trained_is_not_trained_again_from_a_work_directory_or_an_export(work_dir, tmp_path, monkeypatch):
    real, added = Store.add, []

    def add(self, row):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(row["id"])
        real(self, row)

    monkeypatch.setattr(Store, "add", add)
    with pytest.raises(KeyboardInterrupt):
        retrain(work_dir, tmp_path / "out", QUIET, 2, 2, HERE)
    write_export(read_study(work_dir), tmp_path / "a.jsonl")
    monkeypatch.setattr(Store, "add", lambda self, row: (added.append(row["id"]), real(self, row)))
    resumed = retrain(tmp_path / "a.jsonl", tmp_path / "out", QUIET, 2, 2, HERE)
    assert len(added) == len(set(added)) == 4
    undisturbed = retrain(work_dir, tmp_path / "other", QUIET, 2, 2, HERE)
    assert [(f.record.digest, f.accuracies) for f in resumed] == [(f.record.digest, f.accuracies) for f in undisturbed]
    longer = retrain(work_dir, tmp_path / "out", QUIET, 1, 1, {**HERE, "proxy.epochs": 3})
    assert len(longer[0].accuracies) == 1
    assert [p.name for p in (tmp_path / "out/top_cells").iterdir()] == ["1.json"]  # those of two cells are gone
    provenance = Cell.load(tmp_path / "out/best_cell.json").provenance
    assert (provenance["retrained"]["epochs"], provenance["proxy"]["epochs"]) == (3, 2)


def test_settings_that_are_the_searchs_and_numbers_that_are_none_are_told(work_dir, tmp_path):
    with pytest.raises(SearchError, match=r"retrain: proxy\.width is as in the search; what may be other are data\.root"):
        retrain(work_dir, tmp_path, QUIET, options={"proxy.width": 8})
    with pytest.raises(SearchError, match="at least one cell and one seed, found 0 and 3"):
        retrain(work_dir, tmp_path, QUIET, 0)
    with pytest.raises(SearchError, match="holds a search, whose best cells this would write over; name another with --out"):
        retrain(work_dir, work_dir, QUIET)
    with pytest.raises(SearchError, match="epochs: expected a whole number from 1, found 'many'"):
        retrain(work_dir, tmp_path, QUIET, options={"proxy.epochs": "many"})


def test_the_command_tells_its_table_and_its_files(work_dir, tmp_path):
    result = run_tool(
        "search.py", "retrain", work_dir, "--out", tmp_path, "--count", 2, "--seeds", 1, "--cfg-options", "executor.workers=1"
    )
    assert result.returncode == 0, result.stderr
    assert "trained again" in result.stdout
    assert all(column in result.stdout for column in COLUMNS)
    assert "2 cells, 1 trainings each" in result.stdout
    assert (tmp_path / "best_cell.png").exists()
    result = run_tool("search.py", "retrain", tmp_path / "none")
    assert (result.returncode, result.stdout) == (1, "")
    assert "holds no search" in result.stderr
