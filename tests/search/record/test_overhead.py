"""Where a search's time goes, from records made by hand."""

import pytest
from studies import open_study, proposal

from gemnet.cell import Cell
from search.core.types import Evaluation, Outcome
from search.record.overhead import spent
from search.record.study import Record, Snapshot, read_study

CELL = Cell(("input", "conv1x1"), ((0, 1),))


def record(created, start, end):
    return Record(1, 0, "", CELL, 0, "done", None, 0.5, 1, 1, 1.0, 0.5, False, (), end - start, "", created, end)


def snapshot(*records, sessions=(0.0,)):
    return Snapshot({}, {}, list(records), 0.0, "", tuple(sessions))


def test_what_no_candidate_trains_in_is_overhead_also_with_several_workers():
    found = spent(snapshot(record(2, 10, 60), record(2, 10, 50), record(62, 70, 100)))
    assert (found.running, found.training) == (100, 80)
    assert found.overhead == pytest.approx(0.2)


def test_time_in_which_the_search_was_stopped_counts_nowhere():
    rows = record(2, 10, 60), record(2, 1005, 1040)
    found = spent(snapshot(*rows, sessions=(0, 1000)))
    assert (found.running, found.training) == (60 + 40, 50 + 35)
    stopped_at_once = spent(snapshot(*rows, sessions=(0, 500, 1000)))
    assert stopped_at_once == found


def test_evaluations_of_another_search_and_empty_records_count_nothing():
    found = spent(snapshot(record(5, -1000, 5), record(5, 6, 10)))
    assert (found.running, found.training) == (10, 4)
    assert spent(snapshot()).overhead == 0.0
    assert spent(Snapshot({}, {}, [record(2, 5, 10)])).overhead == 0.5  # without sessions, as older records are


def test_the_record_holds_when_the_search_was_started(tmp_path):
    with open_study(tmp_path) as study:
        study.propose(0, [proposal(0)], {})
        study.finish(Outcome(1, Evaluation(0.5, (0.5,), False, 0.0)), 0.4)
    with open_study(tmp_path):
        found = read_study(tmp_path)
    assert len(found.sessions) == 2
    (row,) = found.records
    assert found.created <= found.sessions[0] <= row.created <= row.finished <= found.sessions[1]
