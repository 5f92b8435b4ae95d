"""The record of a search: one SQLite file, one row an evaluation, written by the driver alone and readable by anyone.

The record is the truth. Random numbers are derived from the seed and the place in the search, never from where a process
happened to be, so that a search that was killed goes on from its record to the end it would have reached.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet.cell import Cell
from gemnet.machine import processor
from search.base import Evaluation, Outcome, SearchError

FORMAT_VERSION = 2
RECORD, LOCK, ENCODER_DIRECTORY = "study.sqlite", "lock", "encoder"
PENDING, DONE, FAILED = "pending", "done", "failed"
TIME = "%Y-%m-%d %H:%M:%S UTC"
"""How records that people read tell a moment."""
JUDGED = "judged"
"""In the note of the last round, once a search is over: {id of a record: what it is judged}."""

GROWING = ("search.rounds",)
"""Settings that may grow: what was found so far is what a search with the larger ones would have found as well."""
SHOWN = ("search.top", "cost.name")
"""Settings that only say what is shown: they may change."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rounds (round INTEGER PRIMARY KEY, note TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    cell TEXT NOT NULL,
    settings TEXT NOT NULL,
    seed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
    predicted REAL,
    accuracy REAL,
    macs INTEGER NOT NULL,
    params INTEGER NOT NULL,
    cost REAL NOT NULL,
    score REAL,
    stopped INTEGER,
    curve TEXT,
    seconds REAL,
    error TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    finished REAL
);
"""


@dataclass(frozen=True)
class Record:
    """A row of the record. predicted and score are efficiency scores; macs and params are those of the proxy network; cost is
    what the score counts; created and finished are seconds since 1970; judged: the score that it is probably worth, once the
    search is over (`search.trust`)."""

    id: int
    round: int
    digest: str
    cell: Cell
    seed: int
    state: str
    predicted: float | None
    accuracy: float | None
    macs: int
    params: int
    cost: float
    score: float | None
    stopped: bool
    curve: tuple[float, ...]
    seconds: float | None
    error: str
    created: float = 0.0
    finished: float | None = None
    judged: float | None = None


@dataclass(frozen=True)
class Proposal:
    """A cell that is to be evaluated; or with `evaluation` and `score` one that was, in another search."""

    cell: Cell
    digest: str
    seed: int
    macs: int
    params: int
    cost: float
    predicted: float | None = None
    evaluation: Evaluation | None = None
    score: float | None = None


def fingerprint(settings: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that name these settings."""
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()[:12]


class Study:
    """An open record. Use as a context manager; while it is open, its work directory is locked against a second search."""

    def __init__(
        self, directory: str | os.PathLike[str], settings: Mapping[str, Any], evaluation_settings: Mapping[str, Any]
    ) -> None:
        """Create the record in `directory`, or open the one there if its `settings` are the same; GROWING ones may grow, SHOWN
        ones change.

        settings: everything that decides the result of the search, as JSON values. evaluation_settings: the part that decides
        the result of an evaluation. Raises SearchError where the directory belongs to a search with other settings, is in use,
        or cannot be read or written.
        """
        self.directory = Path(directory)
        self.path = self.directory / RECORD
        self._settings = fingerprint(evaluation_settings)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SearchError(f"work directory {self.directory}: {error.strerror}; name another with --work-dir") from None
        self._lock = take_lock(self.directory / LOCK)
        self._db: sqlite3.Connection | None = None
        try:
            self.resumed = self.path.exists()
            with _explained(self.path):
                self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
                self._db.row_factory = sqlite3.Row
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            self._check_or_create(settings)
            self._note_start()
        except BaseException:
            if self._db:
                self._db.close()
            os.close(self._lock)
            raise

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        os.close(self._lock)

    def records(self) -> list[Record]:
        """All rows, in the order in which they were proposed."""
        with _explained(self.path):
            return _records(self._db)

    def rounds(self) -> dict[int, dict[str, Any]]:
        """The note of each round that was proposed."""
        with _explained(self.path):
            return _rounds(self._db)

    def propose(self, index: int, proposals: Sequence[Proposal], note: Mapping[str, Any]) -> None:
        """Add a round whole or not at all: its proposals as pending rows, and a note (JSON values)."""
        now = time.time()
        with self._transaction() as db:
            db.execute("INSERT INTO rounds VALUES (?, ?, ?)", (index, _canonical(note), now))
            for p in proposals:
                key = db.execute(
                    "INSERT INTO evaluations"
                    " (round, digest, cell, settings, seed, state, predicted, macs, params, cost, created)"
                    " VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?)",
                    (index, p.digest, p.cell.to_json(), self._settings, p.seed, p.predicted, p.macs, p.params, p.cost, now),
                ).lastrowid
                if p.evaluation is not None:
                    self._finish(db, Outcome(key, p.evaluation), p.score)

    def add_to_note(self, index: int, more: Mapping[str, Any]) -> None:
        """Add JSON values to the note of a round that was proposed."""
        with self._transaction() as db:
            note = _rounds(db)[index] | dict(more)
            db.execute("UPDATE rounds SET note = ? WHERE round = ?", (_canonical(note), index))

    def finish(self, outcome: Outcome, score: float | None) -> None:
        """Record the end of the evaluation with id `outcome.key`."""
        with self._transaction() as db:
            self._finish(db, outcome, score)

    @staticmethod
    def _finish(db: sqlite3.Connection, outcome: Outcome, score: float | None) -> None:
        e, now = outcome.evaluation, time.time()
        if e is None:
            values = (FAILED, None, None, None, None, outcome.seconds, outcome.error, now, outcome.key)
        else:
            values = (DONE, e.accuracy, score, int(e.stopped), json.dumps(e.curve), e.seconds, "", now, outcome.key)
        changed = db.execute(
            "UPDATE evaluations SET state = ?, accuracy = ?, score = ?, stopped = ?, curve = ?, seconds = ?, error = ?,"
            " finished = ? WHERE id = ? AND state = 'pending'",
            values,
        ).rowcount
        if changed != 1:
            raise RuntimeError(f"evaluation {outcome.key} is not pending")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _note_start(self) -> None:
        sessions = json.loads(_meta(self._db, self.path).get("sessions", "[]"))
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('sessions', ?)", (json.dumps([*sessions, time.time()]),))

    def _check_or_create(self, settings: Mapping[str, Any]) -> None:
        with _explained(self.path):
            has_tables = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
        if not has_tables:
            with self._transaction() as db:
                for statement in _SCHEMA.split(";\n")[:-1]:
                    db.execute(statement)
                db.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [
                        ("format", str(FORMAT_VERSION)),
                        ("settings", _canonical(settings)),
                        ("created", str(time.time())),
                        ("machine", f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"),
                    ],
                )
            return
        meta = _meta(self._db, self.path)
        there, here = json.loads(meta["settings"]), json.loads(_canonical(settings))
        differing = differences(there, here)
        if differing and all(name in SHOWN or _has_grown(name, old, new) for name, old, new in differing):
            with self._transaction() as db:
                db.execute("UPDATE meta SET value = ? WHERE key = 'settings'", (_canonical(settings),))
        elif differing:
            lines = "\n".join(f"  {name}: {old} there, {new} here" for name, old, new in differing)
            raise SearchError(
                f"{self.directory} holds a search with other settings:\n{lines}\n"
                "Start this one in another directory (--work-dir), or give the settings of the search that is there."
            )


@dataclass(frozen=True)
class Snapshot:
    """What a record holds at one moment."""

    settings: dict[str, Any]
    rounds: dict[int, dict[str, Any]]
    records: list[Record]
    created: float = 0.0  # seconds since 1970
    machine: str = ""
    sessions: tuple[float, ...] = ()  # when the search was started, and started again, seconds since 1970


def read_study(directory: str | os.PathLike[str]) -> Snapshot:
    """Read the record of a search, running or not, without writing. Raises SearchError where there is none that can be read."""
    path = Path(directory) / RECORD
    if not path.exists():
        raise SearchError(f"{directory} holds no search: {RECORD} is missing")
    with _explained(path):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            db.execute("BEGIN")  # all that is read is of one moment
            meta = _meta(db, path)
            settings, created = json.loads(meta["settings"]), float(meta.get("created", 0))
            sessions = tuple(json.loads(meta.get("sessions", "[]")))
            return Snapshot(settings, _rounds(db), _records(db), created, meta.get("machine", ""), sessions)
        finally:
            db.close()


def holder(directory: str | os.PathLike[str]) -> str:
    """Which process runs a search in `directory`, as "process 12 on host"; empty where none does."""
    try:
        descriptor = os.open(Path(directory) / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except OSError:
        return os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
    finally:
        os.close(descriptor)


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _meta(db: sqlite3.Connection, path: Path) -> dict[str, str]:
    with _explained(path):
        meta = {row["key"]: row["value"] for row in db.execute("SELECT key, value FROM meta")}
    if meta.get("format") != str(FORMAT_VERSION):
        raise SearchError(
            f"{path} is a record of format {meta.get('format')}; this gemnet reads format {FORMAT_VERSION}."
            " Use the release that wrote it."
        )
    return meta


def _rounds(db: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    return {row["round"]: json.loads(row["note"]) for row in db.execute("SELECT round, note FROM rounds ORDER BY round")}


def _records(db: sqlite3.Connection) -> list[Record]:
    last = db.execute("SELECT note FROM rounds ORDER BY round DESC LIMIT 1").fetchone()
    judged = json.loads(last["note"]).get(JUDGED, {}) if last else {}
    return [
        Record(
            row["id"],
            row["round"],
            row["digest"],
            Cell.from_json(row["cell"], f"evaluation {row['id']}"),
            row["seed"],
            row["state"],
            row["predicted"],
            row["accuracy"],
            row["macs"],
            row["params"],
            row["cost"],
            row["score"],
            bool(row["stopped"]),
            tuple(json.loads(row["curve"] or "[]")),
            row["seconds"],
            row["error"],
            row["created"],
            row["finished"],
            judged.get(str(row["id"])),
        )
        for row in db.execute("SELECT * FROM evaluations ORDER BY id")
    ]


def _has_grown(name: str, old: str, new: str) -> bool:
    return name in GROWING and "null" not in (old, new) and float(new) >= float(old)


def differences(there: Any, here: Any, name: str = "") -> list[tuple[str, str, str]]:
    """(dotted name, JSON there, JSON here) of each setting that differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted(set(there) | set(here)):
            found += differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
        return found
    return [] if there == here else [(name, json.dumps(there), json.dumps(here))]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ones that name the file and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            remedy = "free some space and start the same command again; what was recorded is safe"
        elif "locked" in str(error):
            remedy = "another program holds it for writing; close that and start the same command again"
        elif "readonly" in str(error) or "unable to open" in str(error):
            remedy = "make the directory writable, or name another with --work-dir"
        elif "no such table" in str(error):
            remedy = "a search that has just begun there has written nothing yet: try again; else it is no record of a search"
        else:
            remedy = "the file is damaged or no record of a search; restore it, or name another directory with --work-dir"
        raise SearchError(f"{path}: {error}; {remedy}") from None


def take_lock(path: Path) -> int:
    """An open file descriptor that holds the lock; the system lets go of it when the process ends, however it ends.

    Raises SearchError, naming the holder, where another process has it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SearchError(f"{path}: {error.strerror}; make the directory writable, or name another with --work-dir") from None
    if not _locked(descriptor):
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise SearchError(f"{path.parent} is in use by {holder}; wait for it, stop it, or name another with --work-dir")
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError:  # a full disk: the lock holds all the same, only its note is missing
        pass
    return descriptor


def _locked(descriptor: int) -> bool:
    """Whether the lock could be had. It is asked for several times: `holder` has it for moments."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02)
    return False
