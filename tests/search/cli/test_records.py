"""A search's record looked at from outside: status, best cells, JSON lines."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made import WHOLE, score

from gemnet.cell import Cell
from search.cli.records import records_command
from search.core.types import Evaluation, Outcome
from search.record.ranking import expected_scores, pareto_front
from search.record.study import Proposal, Record, Study

SETTINGS = {**WHOLE, "search": {"start": 3, "rounds": 2, "batch": 2}}
NOTE = {"evaluated": 2, "kendall_tau": 0.5, "lipschitz": 2.0, "input_variance": 3.0, "variance": 1.0, "bound": 12.0}


def cell(i: int) -> Cell:
    """A chain of i + 1 nodes, and one that the input does not reach."""
    return Cell(("input", *["conv1x1"] * (i + 1), "conv1x1"), tuple((v, v + 1) for v in range(i + 1)))


@pytest.fixture
def work_dir(tmp_path):
    with Study(tmp_path, SETTINGS, {}) as study:
        study.propose(0, [Proposal(cell(i), cell(i).pruned().digest(), i, 1_000_000, 10_000, 0.5) for i in range(3)], {})
        study.finish(Outcome(1, Evaluation(0.5, (0.25, 0.5), False, 1800.0)), score(0.5, 0.5))
        study.finish(Outcome(2, Evaluation(0.7, (0.3, 0.7), False, 1800.0)), score(0.7, 0.5))
        study.finish(Outcome(3, error="the loss is NaN"), None)
        study.propose(1, [Proposal(cell(3), cell(3).pruned().digest(), 3, 1, 1, 0.25, 0.9)], NOTE)
    return tmp_path


def test_status_tells_where_a_search_stands_and_whether_it_runs(work_dir, capsys):
    assert records_command("status", str(work_dir)) == 0
    text = capsys.readouterr().out
    assert "not running" in text
    assert "round 1 of 2: 2 of 6 evaluated (0 stopped early), 1 failed, 1 proposed" in text
    assert "first failure, of candidate 3: the loss is NaN; --retry-failed tries it again" in text
    assert "1.00 hours of training" in text
    # as they claim to have taken longer than the record is old, the evaluations pass for another search's
    assert "0.00 hours to the last evaluation, 100.0% of them without any candidate in training" in text
    assert f"best cell {cell(1).pruned().digest()[:8]}, round 0: score 0.7301, accuracy 0.7000, cost 0.5" in text
    with Study(work_dir, SETTINGS, {}):
        records_command("status", str(work_dir))
        assert ": running, process " in capsys.readouterr().out


def test_top_lists_the_best_cells_first(work_dir, capsys):
    assert records_command("top", str(work_dir), count=1) == 0
    text = capsys.readouterr().out
    assert cell(1).pruned().digest()[:8] in text
    assert cell(0).pruned().digest()[:8] not in text


def test_an_exported_record_holds_every_evaluation_and_its_cell(work_dir, capsys):
    assert records_command("export", str(work_dir)) == 0
    assert "record.jsonl: 4 evaluations" in capsys.readouterr().out
    head, *rows = map(json.loads, (work_dir / "record.jsonl").read_text().splitlines())
    assert (head["format"], head["version"], head["settings"]) == ("gemnet.search", 1, SETTINGS)
    assert "cores" in head["machine"]
    assert head["rounds"] == [{"round": 0}, {"round": 1, **NOTE}]
    assert [row["state"] for row in rows] == ["done", "done", "failed", "pending"]
    assert (rows[1]["accuracy"], rows[1]["curve"], rows[1]["cost"]) == (0.7, [0.3, 0.7], 0.5)
    assert rows[2]["error"] == "the loss is NaN"
    for i, row in enumerate(rows):
        found = Cell(tuple(row["nodes"]), tuple(map(tuple, row["edges"])))
        assert found.digest() == row["digest"] == cell(i).pruned().digest()


def test_the_pareto_front_holds_what_nothing_cheaper_or_as_cheap_beats():
    values = [(0.5, 2.0), (0.6, 3.0), (0.55, 3.0), (0.4, 1.0), (0.59, 4.0), (0.9, 9.0), (0.4, 1.0)]
    records = [
        Record(i, 0, str(i), cell(0), i, "done", None, accuracy, 1, 1, cost, 0.0, i == 5, (accuracy,), 1.0, "")
        for i, (accuracy, cost) in enumerate(values)
    ]
    assert [r.id for r in pareto_front(records)] == [3, 0, 1]
    brute = [
        r for r in records if not r.stopped
        and not any((q.accuracy >= r.accuracy and q.cost < r.cost) or (q.accuracy > r.accuracy and q.cost <= r.cost)
                    for q in records if not q.stopped)
    ]  # fmt: skip
    assert {(r.accuracy, r.cost) for r in brute} == {(r.accuracy, r.cost) for r in pareto_front(records)}


def test_a_report_can_be_made_at_any_time(work_dir):
    assert records_command("report", str(work_dir)) == 0
    assert (work_dir / "report.html").exists()


@pytest.mark.parametrize("action", ["status", "top", "export", "report"])
def test_a_folder_without_a_search_is_told(action, tmp_path, capsys):
    assert records_command(action, str(tmp_path)) == 1
    assert "holds no search" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["status", "top", "export", "report"])
def test_a_record_named_in_the_place_of_its_directory_is_told(action, work_dir, capsys):
    assert records_command(action, str(work_dir / "study.sqlite")) == 1
    err = capsys.readouterr().err
    assert f"{work_dir}/study.sqlite is a file, and no work directory; name the directory of the search, {work_dir}\n" in err


def test_status_needs_no_standard_output(work_dir, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert records_command("status", str(work_dir)) == 0
    assert records_command("top", str(work_dir)) == 0


def test_an_export_that_cannot_be_written_is_told(work_dir, capsys):
    assert records_command("export", str(work_dir), str(work_dir / "none/such/file.jsonl")) == 1
    assert "none/such" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["study.sqlite", "study.sqlite-wal", "lock", "encoder/weights.pt", "encoder", "link"])
def test_an_export_never_takes_the_place_of_a_file_of_the_search(work_dir, name, capsys):
    (work_dir / "link").symlink_to(work_dir / "study.sqlite")
    before = (work_dir / "study.sqlite").read_bytes()
    assert records_command("export", str(work_dir), str(work_dir / "sub" / ".." / name)) == 1
    err = capsys.readouterr().err
    assert f"{name}: a file of the search itself, which would be lost; name another file with --out" in err
    assert (work_dir / "study.sqlite").read_bytes() == before
    assert not (work_dir / "encoder").exists()


def test_an_export_is_not_written_into_a_file_nor_over_a_directory(work_dir, capsys):
    (work_dir / "file").touch()
    (work_dir / "folder").mkdir()
    assert records_command("export", str(work_dir), str(work_dir / "file" / "out.jsonl")) == 1
    assert f"{work_dir}/file is a file, not a directory; name another file with --out" in capsys.readouterr().err
    assert records_command("export", str(work_dir), str(work_dir / "folder")) == 1
    assert f"--out {work_dir}/folder: is a directory, not a file" in capsys.readouterr().err


def test_of_a_stopped_candidate_a_predictor_learns_what_the_others_would_have_made_of_it():
    curves = [(0.2, 0.3, 0.5), (0.1, 0.4, 0.4), (0.1, 0.2), (0.05,)]
    records = [
        Record(i, 0, str(i), cell(i), i, "done", None, curve[-1], 1, 1, 1.0, curve[-1] - 0.1, len(curve) < 3, curve, 1.0, "")
        for i, curve in enumerate(curves)
    ]
    assert expected_scores(records) == pytest.approx([0.4, 0.3, 0.1 + 0.1, -0.05 + 0.3])
    assert expected_scores(records[2:]) == pytest.approx([0.1, -0.05])  # nobody to learn from


def test_a_report_goes_to_a_folder_of_the_users_with_two_pictures(work_dir, tmp_path, capsys):
    assert records_command("report", str(work_dir), str(tmp_path / "new" / "shown")) == 0
    assert not (work_dir / "report.html").exists()
    assert "</html>" in (tmp_path / "new" / "shown" / "report.html").read_text()
    for name, label in (("score_over_time.svg", "evaluation"), ("accuracy_against_cost.svg", "validation accuracy")):
        text = (tmp_path / "new" / "shown" / name).read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert f"<!-- {label} -->" in text
    Path(tmp_path / "file").touch()
    assert records_command("report", str(work_dir), str(tmp_path / "file")) == 1
    assert f"{tmp_path}/file" in capsys.readouterr().err


def test_a_record_with_unknown_settings_of_the_search_is_told(tmp_path, capsys):
    with Study(tmp_path, {**WHOLE, "search": {"beam": 2}}, {}):
        pass
    assert records_command("status", str(tmp_path)) == 1
    assert "beam" in capsys.readouterr().err
