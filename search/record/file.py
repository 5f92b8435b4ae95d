"""Reading the SQLite file of a search without writing: while a search runs, from a disk that is read-only, and damaged ones.

What is wrong is told with file, table, row and column. A record that nobody writes is read as it lies there, without the two
files beside it that SQLite makes to share one with its writer.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from gemnet.core.files import check_regular
from search.configuration.renamed import with_present_names
from search.core.types import SearchError
from search.record.rows import (
    JUDGED,
    Record,
    Retry,
    RowError,
    Snapshot,
    cell_of,
    check_ids,
    check_note,
    check_retries,
    check_rounds,
    check_together,
    moment,
    number,
    parsed,
    record_of,
    shown,
    whole,
)

FORMAT_VERSION = 2
RECORD = "study.sqlite"
REMEDY = "restore the file from a copy, or start the search in another directory (--work-dir)"

SCHEMA = """
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
TABLES = {
    "meta": ("key", "value"),
    "rounds": ("round", "note", "created"),
    "evaluations": (
        "id", "round", "digest", "cell", "settings", "seed", "state", "predicted", "accuracy", "macs", "params", "cost",
        "score", "stopped", "curve", "seconds", "error", "created", "finished",
    ),
}  # fmt: skip
"""The columns of the tables of SCHEMA."""
ATTEMPTS = 3
"""How often a file that changes while it is read as it lies there is read so again."""

Found = TypeVar("Found")


def read_snapshot(path: Path) -> Snapshot | None:
    """What the record `path` holds, None where no table is in it yet, as for a moment when a search begins.

    Raises SearchError, naming file, table, row and column, for what is no record, or is damaged.
    """
    check_record(path)

    def read(db: sqlite3.Connection) -> Snapshot | None:
        found = snapshot_of(db, path)
        (wrong,) = db.execute("PRAGMA quick_check(1)").fetchone()  # pages that no row is on
        if wrong != "ok":
            raise SearchError(f"{path}: {wrong}; {REMEDY}")
        return found

    return _reading(path, read)


def check_record(path: Path) -> None:
    """Raises SearchError for a directory, a pipe or a device where a record should be, which would be waited for."""
    try:
        check_regular(path)
    except OSError as error:
        raise SearchError(f"{path}: {error.strerror}; no record of a search: move it away, or name another directory") from None


def snapshot_of(db: sqlite3.Connection, path: Path) -> Snapshot | None:
    """The same of an open database; all that is read is of one moment."""
    if not db.in_transaction:
        db.execute("BEGIN")
        try:
            return snapshot_of(db, path)
        finally:
            db.execute("ROLLBACK")
    if not _has_tables(db, path):
        return None
    meta = _meta(db, path)
    of_meta = partial(_of_meta, meta, path)
    settings = with_present_names(of_meta("settings", partial(_instance, dict, "a JSON object")))
    rounds = _rounds(db, path)
    records = _records(db, path, settings, rounds)
    expected = of_meta("proposed", lambda value: whole({"proposed": value}, "proposed"), len(records))
    if len(records) != expected:
        raise SearchError(
            f"{path}: table evaluations: expected {expected} rows, as many as were proposed (table meta, row 'proposed'), found"
            f" {len(records)}: the last ones are missing, or were added; {REMEDY}"
        )
    return Snapshot(
        settings,
        rounds,
        records,
        of_meta("created", lambda value: moment({"created": value}, "created")),
        meta.get("machine", ""),
        of_meta("sessions", lambda values: tuple(moment({"a start": value}, "a start") for value in _list(values)), ()),
        of_meta("retries", lambda values: _retries(values, records, rounds), ()),
        of_meta("encoder", partial(_instance, str, "a text"), ""),
    )


def connected(path: Path, **options: str) -> sqlite3.Connection:
    """A connection to the file; options: of SQLite's URI, as mode="ro". Text that is not UTF-8 comes as bytes."""
    place = quote(os.fsencode(path.absolute()))
    query = "&".join(f"{name}={value}" for name, value in options.items())
    db = sqlite3.connect(f"file:{place}?{query}", uri=True, timeout=60, isolation_level=None)
    db.text_factory = _text
    return db


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ones that name the file and the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error) or "disk I/O" in str(error):
            remedy = "free some space and start the same command again; what was recorded is safe"
        elif "locked" in str(error):
            remedy = "another program holds it for writing; close that and start the same command again"
        elif "readonly" in str(error) or "unable to open" in str(error):
            remedy = "make the directory writable, or name another with --work-dir"
        else:
            remedy = "the file is damaged or no record of a search; restore it, or name another directory with --work-dir"
        raise SearchError(f"{path}: {error}; {remedy}") from None


def damaged(path: Path, where: str, what: object) -> SearchError:
    """Of a value; where: table, row and column."""
    return SearchError(f"{path}: {where}: {what}; {REMEDY}")


def _reading(path: Path, read: Callable[[sqlite3.Connection], Found]) -> Found:
    """What `read` finds. Where no writer has left anything beside the file, it is read as it lies there, which needs no right
    to write; if it changes meanwhile, or has a writer, together with that one."""
    for _ in range(ATTEMPTS):
        before = _state(path)
        if any(size for _, size in before[1:]):  # a log that is to be read as well
            break
        try:
            found, error = _read(path, read, mode="ro", immutable="1"), None
        except SearchError as raised:
            error = raised
        if _state(path) == before:
            if error:
                raise error
            return found
    try:
        return _read(path, read, mode="ro")
    except SearchError as error:
        if not ("unable to open" in str(error) or "readonly" in str(error)):
            raise
    with tempfile.TemporaryDirectory(prefix="gemnet-") as copy, explained(path):
        for beside in _beside(path):
            if beside.exists():
                shutil.copyfile(beside, Path(copy) / beside.name)
        with closing(connected(Path(copy) / path.name, mode="rw")) as db:
            return read(db)


def _read(path: Path, read: Callable[[sqlite3.Connection], Found], **options: str) -> Found:
    with explained(path), closing(connected(path, **options)) as db:
        return read(db)


def _beside(path: Path) -> list[Path]:
    """The file, and those in which SQLite keeps what is not in it yet."""
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))]


def _state(path: Path) -> list[tuple[int, int]]:
    """Time of the last change and size of these files, zeros for one that is not there."""
    found = []
    for file in _beside(path):
        try:
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            found.append((0, 0))
        except OSError as error:
            raise SearchError(f"{file}: {error.strerror}") from None
    return found


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _has_tables(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables of a record are there; False where there is none at all. Raises SearchError for others."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return False
    for table, columns in TABLES.items():
        if table not in tables:
            if tables.isdisjoint(TABLES):
                raise SearchError(f"{path} is a database of something else: table {table} is missing; name another directory")
            raise SearchError(f"{path}: table {table} is missing; {REMEDY}")
        found = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column not in found:
                raise SearchError(f"{path}: table {table}: column {column} is missing; {REMEDY}")
    return True


def _rows(db: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    columns = TABLES[table]
    for row in db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {columns[0]}"):
        yield dict(zip(columns, row, strict=True))


def _meta(db: sqlite3.Connection, path: Path) -> dict[str, str]:
    meta = {}
    for row in _rows(db, "meta"):
        if not isinstance(row["key"], str) or not isinstance(row["value"], str):
            raise damaged(path, f"table meta, row {shown(row['key'])}", f"value: expected a text, found {shown(row['value'])}")
        meta[row["key"]] = row["value"]
    for key in ("format", "settings", "created"):
        if key not in meta:
            raise SearchError(f"{path}: table meta: row {key!r} is missing; {REMEDY}")
    version = _of_meta(meta, path, "format", lambda value: whole({"format": value}, "format"))
    if version != FORMAT_VERSION:
        raise SearchError(
            f"{path} is a record of format {version}; this gemnet reads format {FORMAT_VERSION}. Use the release that wrote it."
        )
    return meta


def _of_meta(meta: Mapping[str, str], path: Path, key: str, read: Callable[[Any], Found], older: Found | None = None) -> Found:
    """What `read` makes of the JSON value of a row of meta; `older` where it is missing, as in older records."""
    if key not in meta and older is not None:
        return older
    try:
        return read(parsed(meta[key]))
    except (ValueError, TypeError, KeyError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise damaged(path, f"table meta, row {key!r}, column value", what) from None


def _instance(kind: type, name: str, value: Any) -> Any:
    """The value, of this kind, which has a name. Raises ValueError."""
    if not isinstance(value, kind):
        raise ValueError(f"expected {name}, found {shown(value)}")
    return value


_list = partial(_instance, list, "a list")


def _retries(values: Any, records: Sequence[Record], rounds: Mapping[int, Any]) -> tuple[Retry, ...]:
    retries = retries_of(values)
    check_retries(retries, records, rounds)
    return retries


def retries_of(values: Any) -> tuple[Retry, ...]:
    """Those of a list of JSON objects. Raises ValueError or KeyError."""
    for value in _list(values):
        if not isinstance(value, dict) or not isinstance(value["error"], str):
            raise ValueError(f"expected objects with id, error, seconds and round, found {shown(value)}")
    return tuple(Retry(whole(v, "id"), v["error"], number(v, "seconds"), whole(v, "round")) for v in values)


def _rounds(db: sqlite3.Connection, path: Path) -> dict[int, dict[str, Any]]:
    rounds = list(_rows(db, "rounds"))
    for row in rounds:
        where = f"table rounds, round {row['round']}"
        try:
            whole(row, "round")
            moment(row, "created")
        except ValueError as error:
            raise damaged(path, where, f"column {error}") from None
        try:
            row["note"] = parsed(row["note"])
            check_note(row["note"])
        except ValueError as error:
            raise damaged(path, f"{where}, column note", error) from None
    try:
        check_rounds([row["round"] for row in rounds])
    except ValueError as error:
        raise damaged(path, "table rounds", f"column {error}") from None
    return {row["round"]: row["note"] for row in rounds}


def _records(
    db: sqlite3.Connection, path: Path, settings: Mapping[str, Any], rounds: Mapping[int, Mapping[str, Any]]
) -> list[Record]:
    penalty = settings.get("penalty")
    if isinstance(penalty, bool) or not isinstance(penalty, (int, float)):  # `check_settings` tells of it
        penalty = None
    judged = rounds[max(rounds)].get(JUDGED, {}) if rounds else {}
    records = []
    for row in _rows(db, "evaluations"):
        try:
            record = sqlite_record(row, penalty)
        except ValueError as error:
            raise damaged(path, f"table evaluations, row id {row['id']}", f"column {error}") from None
        records.append(replace(record, judged=judged.get(str(record.id))))
    try:
        check_together(records, rounds)
    except RowError as error:
        raise damaged(path, f"table evaluations, row id {records[error.place].id}", f"column {error}") from None
    for index, note in rounds.items():
        try:
            check_ids(index, note, records)
        except ValueError as error:
            raise damaged(path, f"table rounds, round {index}, column note", error) from None
    return records


def sqlite_record(row: Mapping[str, Any], penalty: float | None) -> Record:
    """Of a row of evaluations, as SQLite holds it. Raises ValueError that begins with the column's name."""
    for name in ("digest", "cell", "settings", "state"):
        if not isinstance(row[name], str):
            raise ValueError(f"{name}: expected a text, found {shown(row[name])}")
    if len(row["settings"]) != 12 or set(row["settings"]) - set("0123456789abcdef"):
        raise ValueError(f"settings: expected 12 hexadecimal digits, found {shown(row['settings'])}")
    try:
        curve = [] if row["curve"] is None else parsed(row["curve"])
    except ValueError as error:
        raise ValueError(f"curve: {error}") from None
    return record_of({**row, "curve": curve}, cell_of(row["cell"]), penalty)
