"""Records that were edited, damaged, or are none: each is told with file, table, row and column, and nothing is written."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from made import SCHEDULE, WHOLE, MadeEvaluator, run

from gemnet.cell import Cell
from search.cli.records import records_command
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.types import Evaluation, SearchError
from search.evaluation.trainings import open_trainings
from search.experiments.retraining import retrain
from search.pipeline import run_search
from search.record.export import read_export, read_record, write_export
from search.record.study import RECORD, Outcome, Study, read_study

SETTINGS = {**WHOLE, "space": {"num_nodes": 8}, "search": {"start": 4, "rounds": 2, "batch": 2, "draws": 200}}
CELL = Cell(("input", "conv1x1", "conv1x1"), ((0, 1), (0, 2)))
LARGE = Cell(("input", *["conv1x1"] * 9), tuple((0, v) for v in range(1, 10)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The record of a search that has ended: 4 + 2 + 2 candidates, of which the third failed."""
    directory = tmp_path_factory.mktemp("whole")
    schedule = Schedule(**SETTINGS["search"])
    count = iter(range(100))
    records = run(directory, MadeEvaluator(lambda job: next(count) == 2), SETTINGS, schedule)
    assert [r.state for r in records].count("failed") == 1
    assert read_record(directory).records == records
    return directory


def copy(whole, directory, *statements):
    """A work directory with the record after these statements of SQL."""
    directory.mkdir()
    shutil.copyfile(whole / RECORD, directory / RECORD)
    db = sqlite3.connect(directory / RECORD)
    db.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        db.execute(*statement) if isinstance(statement, tuple) else db.executescript(statement)
    db.commit()
    assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.close()
    return directory


def of_row(change, where="id = 2"):
    return f"UPDATE evaluations SET {change} WHERE {where}"


def of_note(changes, index=2):
    return f"UPDATE rounds SET note = json_patch(note, '{json.dumps(changes)}') WHERE round = {index}"


def of_settings(changes):
    return f"UPDATE meta SET value = json_patch(value, '{json.dumps(changes)}') WHERE key = 'settings'"


def without(table, *columns):
    """The table made anew, as a program that knows no constraints writes it, without these columns."""

    def statement(directory):
        with sqlite3.connect(directory / RECORD) as db:
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        kept = ", ".join(name for name in names if name not in columns)
        return f"CREATE TABLE made AS SELECT {kept} FROM {table}; DROP TABLE {table}; ALTER TABLE made RENAME TO {table}"

    return statement


ROW = "table evaluations, row id 2: column "
DAMAGES = [
    # a value of another kind, in every column
    (of_row("round = 'x'"), ROW + "round: expected a whole number from 0 .*, found 'x'"),
    (of_row("round = 1.5"), ROW + "round: expected a whole number .*'1.5'"),
    (of_row("round = 7"), ROW + "round: expected one that was proposed, .*found 7"),
    (of_row("round = 2"), "row id 3: column round: expected one that was proposed, in their order, found 0"),
    (of_row("digest = 'deadbeef'"), ROW + "digest: the digest is that of another cell: found 'deadbeef'"),
    (of_row("digest = x'ff00'"), ROW + "digest: expected a text"),
    (of_row("digest = CAST(x'ff00' AS TEXT)"), ROW + "digest: expected a text"),
    (of_row("cell = 'x'"), ROW + "cell: not valid JSON"),
    (of_row("cell = x'00'"), ROW + "cell: expected a text"),
    (of_row("cell = '[]'"), ROW + "cell: top level: expected an object"),
    ((of_row("cell = ?"), (CELL.to_json(),)), ROW + "digest: the digest is that of another cell"),
    ((of_row("cell = ?, digest = ?"), (LARGE.to_json(), LARGE.digest())), "row id 2, column cell: .*the space allows 8"),
    (of_row("settings = 'x'"), ROW + "settings: expected 12 hexadecimal digits, found 'x'"),
    (of_row("seed = -1"), ROW + "seed: expected a whole number from 0 .*found '-1'"),
    (of_row("seed = 'x'"), ROW + "seed: expected a whole number"),
    (of_row("state = 'won'"), ROW + "state: expected pending, done or failed, found 'won'"),
    (of_row("state = 'pending'"), ROW + "accuracy: expected none, by the row's state"),
    (of_row("state = 'failed'"), ROW + "accuracy: expected none, by the row's state"),
    (of_row("predicted = 'x'", "id = 6"), "row id 6: column predicted: expected a number, found 'x'"),
    (of_row("predicted = 9e999", "id = 6"), "row id 6: column predicted: expected a number, found 'inf'"),
    (of_row("accuracy = NULL"), ROW + "accuracy: expected a number, found nothing"),
    (of_row("accuracy = 9e999"), ROW + "accuracy: expected a number, found 'inf'"),
    (of_row("accuracy = 55.2"), ROW + "accuracy: expected a number from 0 to 1, found '55.2'"),
    (of_row("accuracy = x'01'"), ROW + "accuracy: expected a number"),
    (of_row("accuracy = 0.123"), ROW + "score: expected .*, which accuracy, cost and penalty=0.1 give, found"),
    (of_row("score = score + 0.001"), ROW + "score: expected .*, which accuracy, cost and penalty=0.1 give, found"),
    (of_row("score = NULL"), ROW + "score: expected a number, found nothing"),
    (of_row("macs = 'many'"), ROW + "macs: expected a whole number"),
    (of_row("macs = 1e30"), ROW + "macs: expected a whole number"),
    (of_row("params = -5"), ROW + "params: expected a whole number"),
    (of_row("cost = 0"), ROW + "cost: expected a number above 0, found 0"),
    (of_row("cost = 'x'"), ROW + "cost: expected a number, found 'x'"),
    (of_row("stopped = 2"), ROW + "stopped: expected 0 or 1"),
    (of_row("stopped = 'no'"), ROW + "stopped: expected 0 or 1"),
    (of_row("stopped = NULL"), ROW + "stopped: expected 0 or 1"),
    (of_row("curve = 'x'"), ROW + "curve: expected JSON, found 'x'"),
    (of_row("curve = '[NaN]'"), ROW + "curve: expected JSON"),
    (of_row("curve = '{}'"), ROW + "curve: expected a list of numbers"),
    (of_row("curve = '[0.5, \"x\"]'"), ROW + "curve: expected a number, found 'x'"),
    (of_row("curve = '[50.0]'"), ROW + "curve: expected a number from 0 to 1"),
    (of_row("curve = '[]'"), ROW + "curve: expected the accuracy after each epoch, found none"),
    (of_row("curve = NULL"), ROW + "curve: expected the accuracy after each epoch, found none"),
    (of_row("macs = macs + 1000"), ROW + r"macs: expected \d+, which cost=.* in millions gives, found \d+"),
    (of_row("created = -1"), ROW + "created: expected seconds since 1970, .*found '-1"),
    (of_row("created = 1e12"), ROW + "created: expected seconds since 1970, to the end of the year 9999, found '1000000000000"),
    (of_row("finished = 1e300"), ROW + "finished: expected seconds since 1970"),
    (of_row("seconds = -1"), ROW + "seconds: expected a number from 0"),
    (of_row("seconds = NULL"), ROW + "seconds: expected a number, found nothing"),
    (of_row("error = x'ff'"), ROW + "error: expected none"),
    (of_row("error = 'but done'"), ROW + "error: expected none"),
    (of_row("created = 'yesterday'"), ROW + "created: expected a number"),
    (of_row("finished = 'today'"), ROW + "finished: expected a number"),
    # rows
    ("DELETE FROM evaluations WHERE id = 5", "row id 6: column id: expected 5, found 6: the row between is missing"),
    ("DELETE FROM evaluations WHERE id = 8", "expected 8 rows, as many as were proposed .*found 7: the last ones are missing"),
    ("DELETE FROM evaluations", "(a row evaluated in an earlier round|expected 8 rows)"),
    ("DELETE FROM rounds WHERE round = 1", "table rounds: column round: expected 1, found 2: a round is missing"),
    ("DELETE FROM rounds WHERE round = 2", "row id 7: column round: expected one that was proposed"),
    ("UPDATE rounds SET created = 'x' WHERE round = 1", "table rounds, round 1: column created: expected a number"),
    ("UPDATE rounds SET created = -5 WHERE round = 1", "table rounds, round 1: column created: expected seconds since 1970"),
    # notes
    ("UPDATE rounds SET note = 'x' WHERE round = 1", "table rounds, round 1, column note: expected JSON, found 'x'"),
    ("UPDATE rounds SET note = '[]' WHERE round = 1", "table rounds, round 1, column note: expected a JSON object"),
    ("UPDATE rounds SET note = x'ff' WHERE round = 1", "table rounds, round 1, column note: expected JSON text"),
    (of_note({"kendall_tau": "high"}), "round 2, column note: kendall_tau: expected a number, found 'high'"),
    (of_note({"evaluated": None}), "round 2, column note: evaluated: is missing, though kendall_tau is there"),
    (of_note({"evaluated": 3}), "round 2, column note: evaluated: expected 5, .*found 3"),
    (of_note({"bound": None}), "round 2, column note: bound: is missing, though lipschitz is there"),
    (of_note({"best": 77}), "round 2, column note: best: expected the id of a row evaluated in an earlier round, found 77"),
    (of_note({"judged": {"77": 0.5}}), "round 2, column note: judged: expected ids of evaluated rows, found '77'"),
    (of_note({"judged": {"1": "x"}}), "round 2, column note: 1: expected a number, found 'x'"),
    (of_note({"judged": 3}), "round 2, column note: judged: expected scores by id"),
    (of_note({"dear": [[1]]}), "round 2, column note: dear: expected pairs of a cell and a number"),
    # meta
    ("DELETE FROM meta WHERE key = 'settings'", "table meta: row 'settings' is missing"),
    ("UPDATE meta SET value = '{' WHERE key = 'settings'", "table meta, row 'settings', column value: expected JSON"),
    ("UPDATE meta SET value = '[]' WHERE key = 'settings'", "table meta, row 'settings', column value: expected a JSON object"),
    (of_settings({"seed": -1}), "table meta, row 'settings': .*seed"),
    (of_settings({"penalty": None}), "table meta, row 'settings': .*penalty"),
    (of_settings({"beam": 2}), "table meta, row 'settings': .*beam"),
    (of_settings({"search": {"beam": 2}}), "table meta, row 'settings': .*beam"),
    ("UPDATE meta SET value = 'x' WHERE key = 'created'", "table meta, row 'created', column value: expected JSON"),
    ("UPDATE meta SET value = '[\"x\"]' WHERE key = 'sessions'", "table meta, row 'sessions', column value: a start: expected"),
    ("INSERT INTO meta VALUES ('retries', '[{}]')", "table meta, row 'retries', column value: 'error' is missing"),
    (
        """INSERT INTO meta VALUES ('retries', '[{"id": 99, "error": "", "seconds": 1, "round": 0}]')""",
        "row 'retries', column value: expected ids and rounds that are there, found id 99, round 0",
    ),
    ("UPDATE meta SET value = '3' WHERE key = 'encoder'", "row 'encoder', column value: expected a text, found '3'"),
    ("UPDATE meta SET value = '{' WHERE key = 'encoder'", "row 'encoder', column value: expected JSON"),
    ("UPDATE meta SET value = 'x' WHERE key = 'proposed'", "row 'proposed', column value: expected JSON"),
    ("UPDATE meta SET value = '1e18' WHERE key = 'created'", "row 'created', column value: created: expected seconds since"),
    ("UPDATE meta SET value = '[-1]' WHERE key = 'sessions'", "row 'sessions', column value: a start: expected seconds since"),
    ("DELETE FROM meta WHERE key = 'format'", "table meta: row 'format' is missing; restore"),
    ("UPDATE meta SET value = 'two' WHERE key = 'format'", "row 'format', column value: expected JSON, found 'two'"),
    ("UPDATE meta SET value = '99' WHERE key = 'format'", "record of format 99; this gemnet reads format 2"),
    ("UPDATE meta SET value = x'ff' WHERE key = 'machine'", "table meta, row 'machine': value: expected a text"),
    # tables
    ("DROP TABLE evaluations", "table evaluations is missing; restore"),
    ("DROP TABLE meta", "table meta is missing; restore"),
    (without("evaluations", "curve"), "table evaluations: column curve is missing"),
    (without("rounds", "note"), "table rounds: column note is missing"),
    ("DROP TABLE meta; DROP TABLE rounds; DROP TABLE evaluations; CREATE TABLE a (b)", "a database of something else"),
]  # fmt: skip


def state_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[str(i) for i in range(len(DAMAGES))])
def test_what_was_edited_is_told_by_table_row_and_column_and_left_as_it_is(whole, tmp_path, damage, message):
    directory = copy(whole, tmp_path / "w")
    if callable(damage):
        damage = damage(directory)
    shutil.rmtree(directory)
    copy(whole, directory, damage)
    before = state_of(directory)
    with pytest.raises(SearchError, match=message) as caught:
        read_record(directory)
    assert str(directory / RECORD) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state_of(directory) == before


def test_rows_and_rounds_that_stand_there_twice_are_told(whole, tmp_path):
    twice = "CREATE TABLE made AS SELECT * FROM {0}; INSERT INTO made SELECT * FROM {0} WHERE {1};"
    twice += "DROP TABLE {0}; ALTER TABLE made RENAME TO {0}"
    with pytest.raises(SearchError, match="row id 2: column id, digest: two of its rows have one id, or one cell"):
        read_record(copy(whole, tmp_path / "a", twice.format("evaluations", "id = 2")))
    with pytest.raises(SearchError, match=r"table rounds: column round: expected 2, found 1: .* stands there twice"):
        read_record(copy(whole, tmp_path / "b", twice.format("rounds", "round = 1")))


@pytest.mark.parametrize(
    "damage", [of_row("accuracy = 9e999"), "DELETE FROM meta WHERE key = 'settings'", "DELETE FROM evaluations WHERE id = 3"]
)
def test_every_command_tells_the_same_and_writes_nothing(whole, tmp_path, damage, capsys):
    directory = copy(whole, tmp_path / "w", damage)
    before = state_of(directory)
    with pytest.raises(SearchError) as caught:
        read_record(directory)
    for action in ("status", "top", "report", "export"):
        assert records_command(action, str(directory), str(tmp_path / "out")) == 1
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"search {action}: {caught.value}\n")
    for others in (
        lambda: retrain(directory, tmp_path / "again", Display(quiet=True)),
        lambda: Study(directory, SETTINGS, {}),  # going on
        lambda: run(tmp_path / "warm", settings=SETTINGS, schedule=Schedule(start=9, warm_start=[str(directory)])),
    ):
        with pytest.raises(SearchError) as other:
            others()
        assert str(other.value) == str(caught.value)
    assert state_of(directory) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage", [of_note({"evaluated": 3}), (of_row("cell = ?, digest = ?"), (LARGE.to_json(), LARGE.digest()))]
)
def test_a_search_does_not_go_on_with_rows_that_do_not_fit_to_its_settings_and_writes_nothing(whole, tmp_path, damage):
    model = {"target_macs": 463e6}
    directory = copy(whole, tmp_path / "w", of_settings({"model": model}), damage)
    settings = {**SETTINGS, "model": model, "data": {"type": "digits"}, "executor": {"workers": 1}}
    before = state_of(directory)
    with pytest.raises(SearchError, match=r"table (rounds, round 2|evaluations, row id 2), column"):
        run_search(settings, directory, Display(quiet=True))
    assert state_of(directory) == before


@pytest.mark.parametrize("content", [b"hello", b"x" * 5000, b"SQLite format 3\0" + b"\1" * 4000])
def test_a_file_of_something_else_is_told_and_kept(tmp_path, content):
    (tmp_path / RECORD).write_bytes(content)
    for opening in (read_record, lambda place: Study(place, SETTINGS, {})):
        with pytest.raises(SearchError, match=f"{RECORD}: .*(damaged|not a database)"):
            opening(tmp_path)
    assert (tmp_path / RECORD).read_bytes() == content


def test_a_database_that_was_cut_off_is_told_wherever_it_was(whole, tmp_path):
    content = (whole / RECORD).read_bytes()
    for size in range(100, len(content) - 1, 4096):
        (tmp_path / RECORD).write_bytes(content[:size])
        with pytest.raises(SearchError, match=RECORD):
            read_record(tmp_path)
        with pytest.raises(SearchError, match=RECORD):
            Study(tmp_path, SETTINGS, {})
        assert (tmp_path / RECORD).read_bytes() == content[:size]


@pytest.mark.parametrize("name", [RECORD, "lock"])
def test_directories_and_pipes_in_the_place_of_files_are_told_and_not_waited_for(whole, tmp_path, name):
    for number, make in enumerate((os.mkdir, os.mkfifo)):
        directory = tmp_path / str(number)
        directory.mkdir()
        make(directory / name)
        if name == RECORD:
            for opening in (read_record, lambda place: Study(place, SETTINGS, {})):
                with pytest.raises(SearchError, match=r"(a directory|a FIFO), not a file; no record of a search"):
                    opening(directory)
        else:
            shutil.copyfile(whole / RECORD, directory / RECORD)
            assert records_command("status", str(directory)) == 0
    export = tmp_path / "a.jsonl"
    os.mkfifo(export)
    with pytest.raises(SearchError, match=r"a\.jsonl: is a FIFO, not a file"):
        read_export(export)


def test_what_a_dead_search_left_in_its_log_is_read_and_a_log_of_nonsense_is_none(whole, tmp_path):
    with Study(tmp_path / "w", SETTINGS, {}) as study:
        study.propose(0, [], {"note": 1})
        (tmp_path / "dead").mkdir()
        for end in ("", "-wal"):
            shutil.copyfile(tmp_path / "w" / (RECORD + end), tmp_path / "dead" / (RECORD + end))
    assert (tmp_path / "dead" / f"{RECORD}-wal").stat().st_size
    assert read_study(tmp_path / "dead").rounds == {0: {"note": 1}}
    directory = copy(whole, tmp_path / "nonsense")
    (directory / f"{RECORD}-wal").write_bytes(b"nonsense" * 1000)
    assert read_record(directory) == read_record(whole)


@pytest.fixture
def read_only(tmp_path):
    """Makes a directory read-only, by a mount of its own where this is root, whom no mode keeps from writing."""
    mounted = []

    def make(directory):
        if os.geteuid():
            directory.chmod(0o555)
            return directory
        place = tmp_path / f"read_only_{len(mounted)}"
        place.mkdir()
        if subprocess.run(["mount", "--bind", "-o", "ro", directory, place], capture_output=True).returncode:
            pytest.skip("a disk that is read-only for root needs the right to mount: run as another user, or with that right")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", place], check=True)


@pytest.mark.long
def test_a_search_on_a_disk_that_is_read_only_can_be_worked_with(whole, tmp_path, read_only, capsys):
    shutil.copytree(whole, tmp_path / "w")
    directory = read_only(tmp_path / "w")
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        (directory / "x").touch()
    assert read_record(directory) == read_record(whole)
    for action in ("status", "top"):
        assert records_command(action, str(directory)) == 0
    assert records_command("export", str(directory), str(tmp_path / "a.jsonl")) == 0
    assert records_command("report", str(directory), str(tmp_path / "shown")) == 0
    assert read_export(tmp_path / "a.jsonl").settings == SETTINGS
    capsys.readouterr()
    for action in ("export", "report"):
        assert records_command(action, str(directory)) == 1
        assert re.search("(Read-only|Permission).*; name a directory that can be written with --out", capsys.readouterr().err)
    with pytest.raises(SearchError, match="make the directory writable, or name another with --work-dir"):
        Study(directory, SETTINGS, {})
    schedule = Schedule(start=9, rounds=0, warm_start=[str(directory)])
    taken = {r.digest for r in run(tmp_path / "warm", settings=SETTINGS, schedule=schedule)}
    assert {r.digest for r in read_record(whole).records if r.state == "done" and not r.stopped} <= taken


def test_what_a_dead_search_left_in_its_log_is_read_from_a_disk_that_is_read_only(tmp_path, read_only):
    (tmp_path / "dead").mkdir()
    with Study(tmp_path / "w", SETTINGS, {}) as study:
        study.propose(0, [], {"note": 1})
        for end in ("", "-wal"):
            shutil.copyfile(tmp_path / "w" / (RECORD + end), tmp_path / "dead" / (RECORD + end))
    assert read_study(read_only(tmp_path / "dead")).rounds == {0: {"note": 1}}


def test_exported_rows_have_the_same_rules(whole, tmp_path):
    write_export(read_record(whole), tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()

    def refused(message, edited):
        (tmp_path / "b.jsonl").write_text("\n".join(edited))
        with pytest.raises(SearchError, match=message):
            read_export(tmp_path / "b.jsonl")

    def row(number, **values):
        return [*lines[:number], json.dumps({**json.loads(lines[number]), **values}), *lines[number + 1 :]]

    refused("line 3: .*accuracy: expected a number from 0 to 1, found '3'", row(2, accuracy=3))
    refused("line 3: .*score: expected .*, found '0.9'", row(2, score=0.9))
    refused("line 3: .*stopped: expected 0 or 1", row(2, stopped="no"))
    refused("line 3: .*error: expected none", row(2, error="x"))
    refused("line 4: .*id: expected 3, found 4: the row between is missing", [*lines[:3], *lines[4:]])
    refused("line 1: .*evaluations: 8 rows, found 7: the file was cut off", lines[:-1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "expected an object with an id, found"),
        ('{"accuracy": 0.5}', "'id' is missing"),
        ('{"id": "b"}', "'accuracy' is missing"),
        ('{"id": "b", "accuracy": NaN}', "accuracy: expected a number, found 'nan'"),
        ('{"id": "b", "accuracy": 53}', "accuracy: expected a number from 0 to 1, found '53'"),
        ('{"id": "b", "accuracy": 0.5, "seconds": "x"}', "seconds: expected a number, found 'x'"),
    ],
)
def test_a_damaged_line_of_trainings_is_told_by_its_number(tmp_path, line, message):
    (tmp_path / "trainings.jsonl").write_text(f'{{"id": "a", "accuracy": 0.5}}\n{line}\n')
    with pytest.raises(SearchError, match=f"no record of trainings: line 2: {message}.*; remove that line"):
        open_trainings(tmp_path)


def test_an_evaluator_that_gives_nan_costs_its_candidate_alone(tmp_path):
    class Sometimes(MadeEvaluator):
        def outcome(self, job):
            outcome = super().outcome(job)
            return Outcome(job.key, Evaluation(float("nan"), (), False, 0.0)) if job.key == 2 else outcome

    records = run(tmp_path, Sometimes(), SETTINGS, SCHEDULE)
    assert [r.id for r in records if r.state == "failed"] == [2]
    assert read_record(tmp_path).records == records


def test_a_path_is_no_address_of_sqlites(whole, tmp_path):
    directory = tmp_path / "a?mode=rwc&b#c%20d é"
    shutil.copytree(whole, directory)
    assert read_record(directory) == read_record(whole)
    with Study(directory, SETTINGS, {}) as study:
        assert len(study.records()) == 8
    assert not list(Path(tmp_path).glob("a"))
