"""The record of a search as JSON lines: settings and rounds first, then a line an evaluation; written, and read again."""

from __future__ import annotations

import calendar
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemnet.cell import Cell, CellError
from gemnet.core.errors import UserError
from gemnet.core.files import TextError, read_text, save_text
from search.configuration.renamed import with_present_names
from search.configuration.schedule import Schedule
from search.configuration.sections import check_settings
from search.core.parts import SPACES
from search.core.registry import build_part
from search.core.types import SearchError, Space
from search.record.file import damaged, retries_of
from search.record.ranking import pareto_front
from search.record.rows import (
    JUDGED,
    OVER_BUDGET,
    TIMED,
    Record,
    RowError,
    Snapshot,
    check_cells,
    check_costs,
    check_counts,
    check_ids,
    check_note,
    check_retries,
    check_rounds,
    check_together,
    moment,
    record_of,
    shown,
    whole,
)
from search.record.study import RECORD, TIME, read_study

FORMAT, VERSION = "gemnet.search", 1
SUFFIX = ".jsonl"
COUNTED = (OVER_BUDGET, TIMED)
"""Of the cells that rounds' notes list, whether trained or not, an export has the number."""
LONGEST = 1 << 28
"""Bytes of a file that is read: a record of 100,000 evaluations has a tenth of that."""


def is_export(place: str | os.PathLike[str]) -> bool:
    """Whether `place` names an exported record, a file, and no work directory."""
    return Path(place).suffix == SUFFIX and not Path(place).is_dir()


def read_record(place: str | os.PathLike[str]) -> Snapshot:
    """The record of a search: that in the work directory `place`, or an exported one, a file whose name ends in .jsonl.

    Raises SearchError where there is none that can be read, with the place of what does not fit.
    """
    if is_export(place):
        return read_export(place)
    snapshot = read_study(place)
    check_fits(snapshot, Path(place) / RECORD)
    return snapshot


def check_fits(snapshot: Snapshot, path: Path, space: Space | None = None) -> None:
    """Raises SearchError where the settings of a record in a work directory are none, or its rows do not fit to them, naming
    file, table and row. space: that of the settings, if it is there already."""
    _settings(snapshot.settings, f"{path}: table meta, row 'settings'")
    try:
        check_counts(snapshot)
    except RowError as error:
        raise damaged(path, f"table rounds, round {error.place}, column note", error) from None
    try:
        check_cells(snapshot.records, space) if space else _check_space(snapshot)
    except RowError as error:
        raise damaged(path, f"table evaluations, row id {snapshot.records[error.place].id}, column cell", error) from None
    try:
        check_costs(snapshot.records, snapshot.settings)
    except RowError as error:
        where = f"table evaluations, row id {snapshot.records[error.place].id}"
        raise damaged(path, where, f"column {error}") from None


def _check_space(snapshot: Snapshot) -> None:
    """Those of the paper's space. A benchmark's are looked up when the search goes on, for reading its table takes long; those
    of a space of somebody's own are known to nobody else."""
    from search.spaces.dag import DagSpace

    settings = dict(snapshot.settings["space"])
    if settings.pop("type", SPACES.default) == SPACES.default:
        check_cells(snapshot.records, build_part("space", DagSpace, **settings))


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
    head |= {"evaluations": len(snapshot.records)}
    if snapshot.retries:
        head |= {"retries": [asdict(retry) for retry in snapshot.retries]}
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
        indices = [whole(note, "round") for note in head["rounds"]]
        rounds = {index: _note(note) for index, note in zip(indices, head["rounds"], strict=True)}
        check_rounds(indices)
        settings, created = (
            _settings(head["settings"], f"{path}, line 1"),
            calendar.timegm(time.strptime(head["created"], TIME)),
        )
        moment({"created": created}, "created")
        retries = retries_of(head.get("retries", []))
        for place, line in enumerate(lines[1:], 2):
            records.append(_record(_parsed(path, place, line), settings["penalty"]))
        place = 1
        snapshot = Snapshot(settings, rounds, records, float(created), str(head.get("machine", "")), (), retries)
        _check_rows(snapshot, head.get("evaluations"))
    except RowError as error:
        raise SearchError(f"{path}, line {error.place + 2}: no row of an exported record: {error}") from None
    except CellError as error:
        raise SearchError(f"{path}, line {place}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, SearchError):
            raise
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SearchError(f"{path}, line {place}: no row of an exported record: {what}") from None
    return snapshot


def _check_rows(snapshot: Snapshot, expected: int | None) -> None:
    """expected: how many there are, None in older exports. Raises RowError, or ValueError that is about the first line."""
    check_together(snapshot.records, snapshot.rounds)
    check_costs(snapshot.records, snapshot.settings)
    _check_space(snapshot)
    check_retries(snapshot.retries, snapshot.records, snapshot.rounds)
    for index, note in snapshot.rounds.items():
        check_ids(index, note, snapshot.records)
    if expected not in (None, len(snapshot.records)):
        raise ValueError(f"evaluations: {expected!r} rows, found {len(snapshot.records)}: the file was cut off, or edited")
    try:
        check_counts(snapshot)
    except RowError as error:
        raise ValueError(f"round {error.place}: {error}") from None


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SearchError(f"{path}, line {number}: no JSON object: damaged, or no exported record of a search")
    return value


def _settings(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Those of a search but for where it ran, which is not in its record. Raises SearchError that begins with `source`."""
    try:
        checked = check_settings({**with_present_names(settings), "executor": {}}, source)
        del checked["executor"]
        Schedule.of(checked)
    except UserError as error:
        raise SearchError(str(error) if str(error).startswith(source) else f"{source}: {error}") from None
    return checked


def _note(note: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a round."""
    figures = {name: value for name, value in note.items() if name not in ("round", *COUNTED)}
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} of round {note['round']}: expected a number, found {shown(value)}")
    check_note(figures)
    return figures


def _record(row: Mapping[str, Any], penalty: float) -> Record:
    cell = Cell(tuple(row["nodes"]), tuple((u, v) for u, v in row["edges"]))
    return record_of(row, cell, penalty)
