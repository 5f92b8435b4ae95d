"""The record of a search as JSON lines: settings and rounds first, then a line an evaluation; written, and read again."""

from __future__ import annotations

import calendar
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gemnet.cell import Cell, CellError
from gemnet.files import TextError, read_text, save_text
from search.base import SearchError
from search.limits import DEAR, TIMED
from search.ranking import pareto_front
from search.schedule import Schedule
from search.settings import check_settings
from search.study import DONE, FAILED, JUDGED, PENDING, TIME, Record, Snapshot, read_study

FORMAT, VERSION = "gemnet.search", 1
SUFFIX = ".jsonl"
COUNTED = (DEAR, TIMED)
"""Of the cells that rounds' notes list, whether trained or not, an export has the number."""
LONGEST = 1 << 28
"""Bytes of a file that is read: a record of 100,000 evaluations has a tenth of that."""


def is_export(place: str | os.PathLike[str]) -> bool:
    """Whether `place` names an exported record, a file, and no work directory."""
    return Path(place).suffix == SUFFIX and not Path(place).is_dir()


def read_record(place: str | os.PathLike[str]) -> Snapshot:
    """The record of a search: that in the work directory `place`, or an exported one, a file whose name ends in .jsonl.

    Raises SearchError where there is none that can be read.
    """
    return read_export(place) if is_export(place) else read_study(place)


def write_export(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Write a record as JSON lines. Scores, costs and seconds keep 9 digits."""
    save_text(path, "".join(f"{line}\n" for line in _lines(snapshot)))


def _lines(snapshot: Snapshot) -> Iterator[str]:
    rounds = [
        {"round": index} | {key: len(value) if key in COUNTED else value for key, value in note.items() if key != JUDGED}
        for index, note in snapshot.rounds.items()
    ]
    created = time.strftime(TIME, time.gmtime(snapshot.created))
    head = {"format": FORMAT, "version": VERSION, "created": created, "machine": snapshot.machine}
    yield _compact({**head, "settings": snapshot.settings, "rounds": rounds})
    front = {r.id for r in pareto_front(snapshot.records)}
    for r in snapshot.records:
        cell = r.cell.pruned()
        row = {
            "id": r.id, "round": r.round, "digest": r.digest, "state": r.state, "seed": r.seed, "predicted": r.predicted,
            "score": r.score, "judged": r.judged, "accuracy": r.accuracy, "cost": r.cost, "macs": r.macs, "params": r.params,
            "stopped": r.stopped, "pareto": r.id in front,
            "curve": r.curve, "seconds": r.seconds, "error": r.error, "nodes": cell.nodes, "edges": cell.edges,
        }  # fmt: skip
        yield _compact({key: float(f"{value:.9g}") if isinstance(value, float) else value for key, value in row.items()})


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def read_export(path: str | os.PathLike[str]) -> Snapshot:
    """Read an exported record. When evaluations ended is not in it, nor which cells cost too much.

    Raises SearchError, naming file and line, for what is none, is damaged, or is of another version.
    """
    path = Path(path)
    try:
        lines = read_text(path, LONGEST).removesuffix("\n").split("\n")
    except TextError as error:
        raise SearchError(f"{error}: no exported record of a search") from None
    head = _parsed(path, 1, lines[0] if lines else "")
    if head.get("format") != FORMAT:
        raise SearchError(f"{path}: no exported record of a search: its first line lacks format={FORMAT!r}")
    if head.get("version") != VERSION:
        raise SearchError(
            f"{path} is an exported record of version {head.get('version')!r}; this gemnet reads version {VERSION}."
            " Use the release that wrote it."
        )
    records: list[Record] = []
    place = 1
    try:
        rounds = {_whole(note, "round"): _note(note) for note in head["rounds"]}
        settings, created = _settings(head["settings"], path), calendar.timegm(time.strptime(head["created"], TIME))
        for place, line in enumerate(lines[1:], 2):
            records.append(_record(_parsed(path, place, line)))
    except CellError as error:
        raise SearchError(f"{path}, line {place}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SearchError(f"{path}, line {place}: no row of an exported record: {what}") from None
    if len({r.digest for r in records}) < len(records) or len({r.id for r in records}) < len(records):
        raise SearchError(f"{path}: damaged: two of its rows have one id, or one cell")
    return Snapshot(settings, rounds, records, float(created), str(head.get("machine", "")))


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SearchError(f"{path}, line {number}: no JSON object: damaged, or no exported record of a search")
    return value


def _settings(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Those of a search but for where it ran, which is not in its record."""
    checked = check_settings({**settings, "executor": {}}, f"{path}, line 1")
    del checked["executor"]
    Schedule.of(checked)
    return checked


def _note(note: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a round."""
    found = {name: value for name, value in note.items() if name not in ("round", *COUNTED)}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} of round {note['round']}: expected a number, found {str(value)[:40]!r}")
    return found


def _record(row: Mapping[str, Any]) -> Record:
    cell = Cell(tuple(row["nodes"]), tuple((u, v) for u, v in row["edges"]))
    if cell.digest() != row["digest"]:
        raise ValueError("the digest is that of another cell")
    state = row["state"]
    if state not in (PENDING, DONE, FAILED):
        raise ValueError(f"state: expected {PENDING}, {DONE} or {FAILED}, found {state!r}")
    cost, done = _number(row, "cost", True), state == DONE
    if cost <= 0:
        raise ValueError(f"cost: expected a number above 0, found {row['cost']!r}")
    return Record(
        id=_whole(row, "id"),
        round=_whole(row, "round"),
        digest=row["digest"],
        cell=cell,
        seed=_whole(row, "seed"),
        state=state,
        predicted=_number(row, "predicted"),
        accuracy=_number(row, "accuracy", done),
        macs=_whole(row, "macs"),
        params=_whole(row, "params"),
        cost=cost,
        score=_number(row, "score", done),
        stopped=bool(row["stopped"]),
        curve=tuple(_number({"curve": value}, "curve", True) for value in row["curve"]),
        seconds=_number(row, "seconds", done),
        error=str(row["error"]),
        judged=_number(row, "judged") if "judged" in row else None,
    )


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError(f"{name}: expected a whole number from 0 to 2^63 - 1, found {str(value)[:40]!r}")
    return value


def _number(row: Mapping[str, Any], name: str, needed: bool = False) -> float | None:
    value = row[name]
    if value is None and not needed:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a number, found {str(value)[:40]!r}")
    return float(value)
