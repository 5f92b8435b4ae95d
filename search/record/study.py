"""The record of a search: one SQLite file, one row an evaluation, written by the driver alone and readable by anyone.

The record is the truth. Random numbers are derived from the seed and the place in the search, never from where a process
happened to be, so that a search that was killed goes on from its record to the end it would have reached.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemnet.cell import Cell
from gemnet.core.machine import processor
from search.core.fingerprint import canonical_json, fingerprint
from search.core.types import Evaluation, Outcome, SearchError
from search.record.file import (
    FORMAT_VERSION,
    RECORD,
    REMEDY,
    SCHEMA,
    TABLES,
    connected,
    explained,
    read_snapshot,
    snapshot_of,
    sqlite_record,
)
from search.record.rows import DONE, FAILED, JUDGED, PENDING, Evaluated, Record, Retry, Snapshot, check_note, is_evaluated

__all__ = [
    "DONE", "ENCODER_DIRECTORY", "FAILED", "GROWING", "JUDGED", "LOCK", "PENDING", "RECORD", "TIME", "Evaluated", "Proposal",
    "Record", "Snapshot", "Study", "differences", "holder", "is_evaluated", "read_study", "take_lock",
]  # fmt: skip

LOCK, ENCODER_DIRECTORY = "lock", "encoder"
TIME = "%Y-%m-%d %H:%M:%S UTC"
"""How records that people read tell a moment."""

GROWING = ("search.rounds",)
"""Settings that may grow: what was found so far is what a search with the larger ones would have found as well."""
SHOWN = ("search.top", "cost.name")
"""Settings that only say what is shown: they may change."""


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
        self._settings, self._penalty = fingerprint(evaluation_settings), settings.get("penalty")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SearchError(f"work directory {self.directory}: {error.strerror}; name another with --work-dir") from None
        with ExitStack() as opened:
            opened.callback(os.close, take_lock(self.directory / LOCK))
            self.resumed = os.path.lexists(self.path)
            there = read_snapshot(self.path) if self.resumed else None  # what is damaged is told before anything is written
            with explained(self.path):
                self._db = connected(self.path, mode="rwc")
                opened.callback(self._db.close)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            if there is None:
                self._create(settings)
            else:
                self._check_settings(there.settings, settings)
            self._set_meta(sessions=[*(there.sessions if there else ()), time.time()])
            self._opened = opened.pop_all()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def snapshot(self) -> Snapshot:
        """What the record holds now. Raises SearchError, as all that reads here does, where another program has damaged it."""
        with explained(self.path):
            return self._held(self._db)

    def _held(self, db: sqlite3.Connection) -> Snapshot:
        held = snapshot_of(db, self.path)
        if held is None:
            raise SearchError(f"{self.path}: its tables are gone, removed by another program; {REMEDY}")
        return held

    def records(self) -> list[Record]:
        """All rows, in the order in which they were proposed."""
        return self.snapshot().records

    def rounds(self) -> dict[int, dict[str, Any]]:
        """The note of each round that was proposed."""
        return self.snapshot().rounds

    def propose(self, index: int, proposals: Sequence[Proposal], note: Mapping[str, Any]) -> None:
        """Add a round whole or not at all: its proposals as pending rows, and a note (JSON values).

        Raises SearchError for what could not be read again, as a cost that is no number.
        """
        now = time.time()
        with self._transaction() as db:
            db.execute("INSERT INTO rounds (round, note, created) VALUES (?, ?, ?)", (index, self._note(index, note), now))
            for p in proposals:
                key = db.execute(
                    "INSERT INTO evaluations"
                    " (round, digest, cell, settings, seed, state, predicted, macs, params, cost, created)"
                    " VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?)",
                    (index, p.digest, p.cell.to_json(), self._settings, p.seed, p.predicted, p.macs, p.params, p.cost, now),
                ).lastrowid
                assert key is not None  # after an INSERT
                self._check(db, key)
                if p.evaluation is not None:
                    self._finish(db, Outcome(key, p.evaluation), p.score)
            self._put_meta(db, proposed=db.execute("SELECT count(*) FROM evaluations").fetchone()[0])

    def add_to_note(self, index: int, more: Mapping[str, Any]) -> None:
        """Add JSON values to the note of a round that was proposed."""
        with self._transaction() as db:
            note = self._held(db).rounds[index] | dict(more)
            db.execute("UPDATE rounds SET note = ? WHERE round = ?", (self._note(index, note), index))

    def retry_failed(self) -> list[Record]:
        """Put every failed candidate among the pending ones again; returns them as they were.

        Why they had failed stays in the record, with the round up to which proposals know nothing of them. How cells were
        judged at the end is forgotten: it is told anew, of all that are evaluated then.
        """
        with self._transaction() as db:
            there = self._held(db)
            failed = [r for r in there.records if r.state == FAILED]
            if not failed:
                return []
            last = max(there.rounds)
            retries = [*there.retries, *(Retry(r.id, r.error, r.seconds or 0.0, last) for r in failed)]
            self._put_meta(db, retries=[asdict(retry) for retry in retries])
            db.execute(
                "UPDATE evaluations SET state = 'pending', seconds = NULL, error = '', finished = NULL WHERE state = 'failed'"
            )
            note = {name: value for name, value in there.rounds[last].items() if name != JUDGED}
            db.execute("UPDATE rounds SET note = ? WHERE round = ?", (self._note(last, note), last))
        return failed

    def note_encoder(self, fingerprint: str) -> None:
        """Record which encoder embeds the cells of this search."""
        self._set_meta(encoder=fingerprint)

    def finish(self, outcome: Outcome, score: float | None) -> None:
        """Record the end of the evaluation with id `outcome.key`."""
        with self._transaction() as db:
            self._finish(db, outcome, score)

    def _finish(self, db: sqlite3.Connection, outcome: Outcome, score: float | None) -> None:
        e, now = outcome.evaluation, time.time()
        values: tuple[Any, ...]
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
        self._check(db, outcome.key)

    def _check(self, db: sqlite3.Connection, key: int) -> None:
        """Raises SearchError for a row that could not be read again: what is wrong never gets into the record."""
        columns = TABLES["evaluations"]
        row = db.execute(f"SELECT {', '.join(columns)} FROM evaluations WHERE id = ?", (key,)).fetchone()
        try:
            sqlite_record(dict(zip(columns, row, strict=True)), self._penalty)
        except ValueError as error:
            raise SearchError(f"evaluation {key} cannot be recorded: {error}") from None

    @staticmethod
    def _note(index: int, note: Mapping[str, Any]) -> str:
        try:
            text = canonical_json(note)
            check_note(json.loads(text))
        except ValueError as error:
            raise SearchError(f"round {index}: its note cannot be recorded: {error}") from None
        return text

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _set_meta(self, **values: Any) -> None:
        with self._transaction() as db:
            self._put_meta(db, **values)

    @staticmethod
    def _put_meta(db: sqlite3.Connection, **values: Any) -> None:
        """Write JSON values by name."""
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        db.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows)

    def _create(self, settings: Mapping[str, Any]) -> None:
        with self._transaction() as db:
            for statement in SCHEMA.split(";\n")[:-1]:
                db.execute(statement)
            db.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [
                    ("format", str(FORMAT_VERSION)),
                    ("settings", canonical_json(settings)),
                    ("created", str(time.time())),
                    ("machine", f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"),
                ],
            )

    def _check_settings(self, there: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Raises SearchError unless `settings` are those there, but for SHOWN ones and GROWING ones that have grown."""
        differing = differences(there, json.loads(canonical_json(settings)))
        if differing and all(name in SHOWN or (name in GROWING and _grows(old, new)) for name, old, new in differing):
            with self._transaction() as db:
                db.execute("UPDATE meta SET value = ? WHERE key = 'settings'", (canonical_json(settings),))
        elif differing:
            lines = "\n".join(f"  {name}: {old} there, {new} here" for name, old, new in differing)
            raise SearchError(
                f"{self.directory} holds a search with other settings:\n{lines}\n"
                "Start this one in another directory (--work-dir), or give the settings of the search that is there."
            )


def read_study(directory: str | os.PathLike[str]) -> Snapshot:
    """Read the record of a search, running or not, without writing. Raises SearchError where there is none that can be read."""
    path = Path(directory) / RECORD
    if os.path.lexists(directory) and not Path(directory).is_dir():
        folder = Path(directory).parent
        there = f", {folder}" if os.path.lexists(folder / RECORD) else ""
        raise SearchError(f"{directory} is a file, and no work directory; name the directory of the search{there}")
    if not os.path.lexists(path):
        raise SearchError(f"{directory} holds no search: {RECORD} is missing")
    snapshot = read_snapshot(path)
    if snapshot is None:
        raise SearchError(
            f"{path}: no such table: meta; a search that has just begun there has written nothing yet: try again; else it is no"
            " record of a search"
        )
    return snapshot


def holder(directory: str | os.PathLike[str]) -> str:
    """Which process runs a search in `directory`, as "process 12 on host"; empty where none does."""
    try:
        descriptor = os.open(Path(directory) / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # else a pipe is waited for
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except OSError:
        return os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
    finally:
        os.close(descriptor)


def _grows(old: str, new: str) -> bool:
    """Whether these are JSON numbers, and the new one no smaller."""
    try:
        return float(new) >= float(old)
    except ValueError:
        return False


def differences(there: Any, here: Any, name: str = "") -> list[tuple[str, str, str]]:
    """(dotted name, JSON there, JSON here) of each setting that differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted(set(there) | set(here)):
            found += differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
        return found
    return [] if there == here else [(name, json.dumps(there), json.dumps(here))]


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
