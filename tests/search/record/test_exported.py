"""A record as JSON lines, written and read again; what is no such file is told."""

import dataclasses
import json
import random
from pathlib import Path

import pytest
from made import score

from gemnet.cell import Cell
from search.cli.records import records_command, status
from search.core.display import Display
from search.core.types import Evaluation, Outcome, SearchError
from search.record.export import read_export, read_record, write_export
from search.record.study import JUDGED, Proposal, Study, read_study
from search.report.report import write_report

ROOT = Path(__file__).parents[3]
SETTINGS = {"seed": 0, "penalty": 0.1, "search": {"start": 3, "rounds": 1, "batch": 1}}
SETTINGS |= {name: {} for name in ("space", "encoder", "predictor", "data", "proxy", "cost", "model")}


def cell(i):
    return Cell(("input", *["conv1x1"] * (i + 1)), tuple((v, v + 1) for v in range(i + 1)))


@pytest.fixture
def work_dir(tmp_path):
    with Study(tmp_path / "search", SETTINGS, {}) as study:
        study.propose(
            0, [Proposal(cell(i), cell(i).digest(), i, 1_000_000, 10_000, 0.5) for i in range(3)], {"dear": [("{}", 2)]}
        )
        study.finish(Outcome(1, Evaluation(0.5, (0.25, 0.5), False, 1800.0)), score(0.5, 0.5))
        study.finish(Outcome(2, Evaluation(0.7, (0.3, 0.7), True, 1800.0)), score(0.7, 0.5))
        study.finish(Outcome(3, error="the loss is NaN"), None)
        study.propose(1, [Proposal(cell(3), cell(3).digest(), 3, 1, 1, 0.25, 0.9)], {"evaluated": 2})
        study.add_to_note(1, {JUDGED: {"1": 0.625}})
    return tmp_path / "search"


def comparable(snapshot):
    """The records, without the moments, which an export does not hold."""
    return [dataclasses.replace(r, created=0.0, finished=None) for r in snapshot.records]


def test_what_was_exported_is_read_as_it_was(work_dir, tmp_path):
    there = read_study(work_dir)
    write_export(there, tmp_path / "a.jsonl")
    here = read_record(tmp_path / "a.jsonl")
    assert comparable(here) == comparable(there)
    assert here.settings == SETTINGS
    assert here.machine == there.machine
    assert here.created == int(there.created)
    assert here.rounds == {0: {}, 1: {"evaluated": 2}}
    write_export(here, tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text() == (tmp_path / "a.jsonl").read_text().replace(',"dear":1', "").replace(
        '"dear":1', ""
    )


def test_what_an_error_says_and_the_smallest_costs_come_back_from_an_export(tmp_path):
    with Study(tmp_path / "search", SETTINGS, {}) as study:
        study.propose(0, [Proposal(cell(i), cell(i).digest(), i, 1, 1, 1.25e-7) for i in range(2)], {})
        study.finish(Outcome(1, error="two\u2028lines\x85of\u2029text\nand more"), None)
        study.finish(Outcome(2, Evaluation(0.5, (0.5,), False, 1.0)), score(0.5, 1.25e-7))
    write_export(read_study(tmp_path / "search"), tmp_path / "a.jsonl")
    assert comparable(read_export(tmp_path / "a.jsonl")) == comparable(read_study(tmp_path / "search"))


def test_the_pareto_front_is_marked_in_an_export_and_listed_in_the_report(tmp_path):
    values = [(0.5, 2.0), (0.6, 3.0), (0.55, 3.5), (0.4, 1.0)]
    with Study(tmp_path / "search", {**SETTINGS, "search": {"start": 4, "rounds": 0}}, {}) as study:
        proposals = [Proposal(cell(i), cell(i).digest(), i, 1, 1, cost) for i, (_, cost) in enumerate(values)]
        study.propose(0, proposals, {})
        for i, (accuracy, cost) in enumerate(values, 1):
            study.finish(Outcome(i, Evaluation(accuracy, (accuracy,), False, 1.0)), score(accuracy, cost))
    write_export(read_study(tmp_path / "search"), tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()[1:]]
    assert [row["pareto"] for row in rows] == [True, True, False, True]
    assert records_command("report", str(tmp_path / "search")) == 0
    page = (tmp_path / "search/report.html").read_text()
    front = page[page.index("Pareto front of accuracy against cost") :].partition("</table>")[0]
    assert [cell(i).digest()[:8] in front for i in range(4)] == [True, True, False, True]


@pytest.mark.parametrize("name", ["nasgem_cifar10", "nasgem_cifar10_continued"])
def test_the_records_that_are_kept_with_the_cells_can_be_worked_with(name, tmp_path, capsys):
    path = ROOT / "docs/results/search" / f"{name}.jsonl"
    assert len(read_export(path).records) == len(path.read_text().splitlines()) - 1
    for action in ("status", "top", "report"):
        assert records_command(action, str(path), out=str(tmp_path)) == 0
    assert (tmp_path / "report.html").exists()
    assert "best cell f2bd0f36" in capsys.readouterr().out


def test_the_report_of_an_exported_record_lies_beside_it(work_dir, tmp_path):
    write_export(read_study(work_dir), tmp_path / "a.jsonl")
    assert records_command("report", str(tmp_path / "a.jsonl")) == 0
    assert (tmp_path / "a.html").exists()


def edited(key, value):
    """A change to the second line's JSON."""

    def edit(lines):
        row = json.loads(lines[1])
        if value is None:
            del row[key]
        else:
            row[key] = value
        return [lines[0], json.dumps(row), *lines[2:]]

    return edit


def head_edited(**values):
    """A change to the first line's JSON."""

    def edit(lines):
        return [json.dumps(json.loads(lines[0]) | values), *lines[1:]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [], "line 1: no JSON object"),
        (lambda lines: ["[1]"], "line 1: no JSON object"),
        (lambda lines: ["{}"], "its first line lacks format='gemnet.search'"),
        (lambda lines: [lines[0].replace('"version":1', '"version":2')], "of version 2; this gemnet reads version 1"),
        (lambda lines: [lines[0].replace('"rounds"', '"round"')], "line 1: .*'rounds' is missing"),
        (lambda lines: [lines[0], lines[1][:40]], "line 2: no JSON object"),
        (lambda lines: [lines[0], "[" * 100_000], "line 2: no JSON object"),
        (lambda lines: [lines[0], lines[1], lines[1]], "two of its rows have one id, or one cell"),
        (head_edited(settings={**SETTINGS, "seed": -1}), "line 1: seed: expected a whole number from 0, found -1"),
        (head_edited(settings={"seed": 0}), "line 1: setting 'penalty' is missing"),
        (head_edited(settings=[1]), "line 1: no row of an exported record"),
        (head_edited(settings={**SETTINGS, "search": {"begin": 3}}), "search: .*'begin'"),
        (head_edited(rounds=[{"round": 1, "kendall_tau": "high"}]), "kendall_tau of round 1: expected a number, found 'high'"),
        (head_edited(rounds=[{"round": "1"}]), "line 1: .*round: expected a whole number"),
        (edited("cost", None), "line 2: .*'cost' is missing"),
        (edited("cost", "dear"), "line 2: .*cost: expected a number, found 'dear'"),
        (edited("accuracy", float("nan")), "line 2: .*accuracy: expected a number, found 'nan'"),
        (edited("macs", 10**400), "line 2: .*macs: expected a whole number from 0 to"),
        (edited("cost", 0), "line 2: .*cost: expected a number above 0, found 0"),
        (edited("seed", -1), "line 2: .*seed: expected a whole number from 0 to .*found '-1'"),
        (edited("state", "won"), "line 2: .*state: expected pending, done or failed, found 'won'"),
        (edited("nodes", ["input", "conv9x9"]), "line 2: .*conv9x9"),
        (edited("edges", [[0]]), "line 2"),
        (edited("nodes", ["input", "sepconv3x3"]), "line 2: .*the digest is that of another cell"),
    ],
)  # fmt: skip
def test_what_is_no_exported_record_is_told_with_file_and_line(work_dir, tmp_path, edit, message):
    path = tmp_path / "a.jsonl"
    write_export(read_study(work_dir), path)
    path.write_text("\n".join(edit(path.read_text().splitlines())))
    with pytest.raises(SearchError, match=message) as caught:
        read_export(path)
    assert str(path) in str(caught.value)


def test_an_export_is_not_exported_and_its_report_says_where_the_encoder_is(work_dir, tmp_path, capsys):
    write_export(read_study(work_dir), tmp_path / "a.jsonl")
    assert records_command("export", str(tmp_path / "a.jsonl")) == 1
    assert "a.jsonl is an exported record; what is exported is a work directory" in capsys.readouterr().err
    shipped = ROOT / "docs/results/search/nasgem_cifar10.jsonl"
    page = write_report(shipped, tmp_path / "shown").read_text()
    assert "No learning dynamics: the encoder is in the search&#x27;s work directory" in page


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path, capsys):
    assert records_command("top", str(tmp_path / "none.jsonl")) == 1
    assert "none.jsonl: No such file" in capsys.readouterr().err
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)))
    assert records_command("top", str(tmp_path / "binary.jsonl")) == 1
    assert "binary.jsonl: not UTF-8 text at byte 128: no exported record" in capsys.readouterr().err


@pytest.mark.long
def test_damaged_records_end_in_a_message_whatever_was_damaged(work_dir, tmp_path):
    path = tmp_path / "a.jsonl"
    write_export(read_study(work_dir), path)
    whole, rng = path.read_bytes(), random.Random(0)
    read, display = 0, Display(quiet=True)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(damaged))
            damaged[place : place + rng.randint(0, 3)] = bytes(rng.randrange(32, 127) for _ in range(rng.randint(0, 3)))
        path.write_bytes(damaged)
        try:
            read_export(path)
            read += 1
            status(path, display)
            if read % 50 == 1:
                write_report(path)
        except SearchError:
            pass
    assert 0 < read < 2000
