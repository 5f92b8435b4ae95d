import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from studies import SETTINGS, open_study, proposal

from gemnet.cell import Cell
from search.core.types import Evaluation, Outcome, SearchError
from search.record.study import DONE, FAILED, LOCK, PENDING, RECORD, read_study


def test_a_row_goes_from_pending_to_done_with_everything_that_was_measured(tmp_path):
    with open_study(tmp_path) as study:
        assert not study.resumed
        study.propose(0, [proposal(0), proposal(1, predicted=0.5)], {"note": 1})
        (a, b) = study.records()
        assert (a.state, a.accuracy, a.macs, a.params, a.cost, b.predicted) == (PENDING, None, 1000, 10, 0.5, 0.5)
        study.finish(Outcome(a.id, Evaluation(0.75, (0.5, 0.75), True, 2.5)), 0.7)
        study.finish(Outcome(b.id, error="the loss is NaN", seconds=1.0), None)
        assert study.rounds() == {0: {"note": 1}}
    with open_study(tmp_path) as study:
        assert study.resumed
        (a, b) = study.records()
    assert (a.state, a.accuracy, a.score, a.stopped, a.curve, a.seconds) == (DONE, 0.75, 0.7, True, (0.5, 0.75), 2.5)
    assert (b.state, b.error, b.seconds, b.score) == (FAILED, "the loss is NaN", 1.0, None)
    assert a.cell == proposal(0).cell


def test_an_evaluation_ends_once(tmp_path):
    with open_study(tmp_path) as study:
        study.propose(0, [proposal(0)], {})
        study.finish(Outcome(1, Evaluation(0.5, (0.5,), False, 1.0)), 0.4)
        with pytest.raises(RuntimeError, match="not pending"):
            study.finish(Outcome(1, Evaluation(0.6, (0.6,), False, 1.0)), 0.5)
        assert study.records()[0].accuracy == 0.5


def test_a_round_is_proposed_whole_or_not_at_all(tmp_path):
    with open_study(tmp_path) as study:
        study.propose(0, [proposal(0)], {})
        with pytest.raises(SearchError, match="UNIQUE"):
            study.propose(1, [proposal(1), proposal(0)], {})  # the second is in round 0 already
        assert len(study.records()) == 1
        assert list(study.rounds()) == [0]


def test_other_settings_are_refused_and_the_differing_ones_named(tmp_path):
    open_study(tmp_path).__exit__()
    other = {"seed": 1, "proxy": {"epochs": 3, "lr": 0.1}, "space": {"num_nodes": 5}}
    with pytest.raises(SearchError) as caught:
        open_study(tmp_path, other)
    assert "proxy.lr: null there, 0.1 here" in str(caught.value)
    assert "seed: 0 there, 1 here" in str(caught.value)
    assert "num_nodes" not in str(caught.value)
    open_study(tmp_path).__exit__()  # and the refusal has let go of the lock
    grown = {**SETTINGS, "search": {"rounds": 2}}
    open_study(tmp_path / "rounds", grown).__exit__()
    with pytest.raises(SearchError, match=r"search\.rounds: 2 there, null here"):
        open_study(tmp_path / "rounds", {**SETTINGS, "search": {}})


@pytest.mark.parametrize(
    ("before", "after"), [({"top": 5}, {"top": 2}), ({"top": 2}, {"top": 5}), ({}, {"top": 2}), ({"top": 2}, {})]
)
def test_settings_that_only_show_more_or_less_may_change(tmp_path, before, after):
    open_study(tmp_path, {**SETTINGS, "search": before}).__exit__()
    open_study(tmp_path, {**SETTINGS, "search": after}).__exit__()
    assert read_study(tmp_path).settings["search"] == after


def test_the_name_of_a_cost_may_change(tmp_path):
    for name in ("watts", "watts of a phone"):
        open_study(tmp_path, {**SETTINGS, "cost": {"type": "function", "name": name}}).__exit__()
    assert read_study(tmp_path).settings["cost"]["name"] == "watts of a phone"


def test_a_second_search_is_refused_while_the_first_runs_and_names_it(tmp_path):
    with open_study(tmp_path), pytest.raises(SearchError, match=f"in use by process {os.getpid()}"):
        open_study(tmp_path)
    open_study(tmp_path).__exit__()


def test_who_asks_for_the_holder_keeps_no_search_from_starting(tmp_path):
    open_study(tmp_path).__exit__()
    asking = os.open(tmp_path / LOCK, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)  # as `holder` has it, for a moment
    threading.Timer(0.05, os.close, [asking]).start()
    open_study(tmp_path).__exit__()


WRITER = textwrap.dedent("""
    import os, sys, time
    sys.path[:0] = sys.argv[2:]
    from test_study import open_study, proposal
    from search.core.types import Evaluation, Outcome
    study = open_study(sys.argv[1])
    study.propose(0, [proposal(i) for i in range(8)], {})
    for i in range(1, 9):
        study.finish(Outcome(i, Evaluation(i / 10, (i / 10,), False, 0.1)), i / 10)
        print(i, flush=True)
        time.sleep(0.05 if i < 5 else 60)
""")


def test_what_was_told_is_recorded_after_kill_9_and_the_lock_of_the_dead_is_free(tmp_path):
    here, *_, tests, root = Path(__file__).parents[:4]
    command = [sys.executable, "-c", WRITER, *map(str, (tmp_path, root, tests / "helpers", here))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            states = [r.state for r in read_study(tmp_path).records]  # read by another process all along
            assert states.count(DONE) >= int(line)
            if line.strip() == "5":
                os.kill(process.pid, signal.SIGKILL)
                break
    with open_study(tmp_path) as study:
        assert [r.state for r in study.records()] == [DONE] * 5 + [PENDING] * 3


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    with open_study(tmp_path) as study:
        study.propose(0, [proposal(0)], {})
        study._db.execute(f"PRAGMA max_page_count = {study._db.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(SearchError, match="full; free some space"):
            study.propose(1, [proposal(i) for i in range(1, 200)], {"note": "x" * 100_000})
        assert len(study.records()) == 1
        study._db.execute("PRAGMA max_page_count = 1000000")
        study.propose(1, [proposal(1)], {})
    assert [r.round for r in read_study(tmp_path).records] == [0, 1]


def test_a_record_whose_tables_another_program_removes_is_told(tmp_path):
    with open_study(tmp_path) as study:
        for table in ("meta", "rounds", "evaluations"):
            study._db.execute(f"DROP TABLE {table}")
        with pytest.raises(SearchError, match=r"study\.sqlite: its tables are gone.*--work-dir"):
            study.records()


def test_a_directory_without_a_record_a_damaged_one_and_a_newer_one_are_told_apart(tmp_path):
    with pytest.raises(SearchError, match=r"holds no search: study\.sqlite is missing"):
        read_study(tmp_path)
    (tmp_path / RECORD).write_bytes(b"not a database" * 1000)
    for reading in (read_study, open_study):
        with pytest.raises(SearchError, match="not a database; the file is damaged"):
            reading(tmp_path)
    (tmp_path / RECORD).write_bytes(b"")  # as it is for a moment when a search begins
    with pytest.raises(SearchError, match=r"no such table: meta; a search that has just begun there .* try again"):
        read_study(tmp_path)
    newer = tmp_path / "newer"
    open_study(newer).__exit__()
    with sqlite3.connect(newer / RECORD) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    with pytest.raises(SearchError, match="record of format 99; this gemnet reads format 2"):
        open_study(newer)


def test_a_work_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match="--work-dir"):
        open_study(tmp_path / "file")
    with pytest.raises(SearchError, match="--work-dir"):
        open_study(tmp_path / "file" / "inside")


def test_rows_can_be_read_with_plain_sqlite(tmp_path):
    with open_study(tmp_path) as study:
        study.propose(0, [proposal(2)], {})
        with sqlite3.connect(f"file:{tmp_path / RECORD}?mode=ro", uri=True) as db:
            names = [row[1] for row in db.execute("PRAGMA table_info(evaluations)")]
            cell, settings = db.execute("SELECT cell, settings FROM evaluations").fetchone()
    assert {"digest", "settings", "seed", "state", "accuracy", "macs", "params", "seconds", "error"} <= set(names)
    assert Cell(**{k: v for k, v in json.loads(cell).items() if k in ("nodes", "edges")}) == proposal(2).cell
    assert len(settings) == 12
