"""What a record holds, and what each value in it may be: one check for the rows of SQLite files and of exported JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeGuard, overload

from gemnet.cell import Cell, CellError
from search.core.efficiency import efficiency_score
from search.core.types import SearchError, Space

PENDING, DONE, FAILED = "pending", "done", "failed"
JUDGED = "judged"
"""In the note of the last round, once a search is over: {id of a record: what it is judged}."""
OVER_BUDGET, TIMED = "dear", "latency"
"""In the note of a round: [cell, cost] of the cells that cost too much, and [cell, milliseconds] of all that were timed."""
FIGURES = ("kendall_tau", "lipschitz", "variance", "input_variance", "bound")
"""In the note of a round, numbers about the predictor that proposed it."""
TOGETHER = {"kendall_tau": ("evaluated",), "lipschitz": ("variance", "bound")}
"""In the note of a round: what else is there where the first is."""
SCORE_TOLERANCE = 1e-6
"""By which a score may be off: older exports have 6 digits."""
COST_TOLERANCE = 1e-6
"""By which a cost may be off, relative to it: exports have 9 digits."""
LATEST = 253402300799
"""The end of the year 9999, seconds since 1970: no time that is written out is later."""


@dataclass(frozen=True)
class Record:
    """A row of the record. predicted and score are efficiency scores; macs and params are those of the proxy network; cost is
    what the score counts; created and finished are seconds since 1970; judged: the score that it is probably worth, once the
    search is over (`search.measured_weight`)."""

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
class Evaluated(Record):
    """A record in the state DONE: what was measured is there."""

    accuracy: float
    score: float
    seconds: float


def is_evaluated(record: Record) -> TypeGuard[Evaluated]:
    """Whether a record is in the state DONE."""
    return record.state == DONE


@dataclass(frozen=True)
class Retry:
    """A candidate that had failed and was put among the pending ones again: why it had failed, after how many seconds, and the
    last round that was proposed then. Rounds up to that one know nothing of what it came to later."""

    id: int
    error: str
    seconds: float
    round: int


@dataclass(frozen=True)
class Snapshot:
    """What a record holds at one moment."""

    settings: dict[str, Any]
    rounds: dict[int, dict[str, Any]]
    records: list[Record]
    created: float = 0.0  # seconds since 1970
    machine: str = ""
    sessions: tuple[float, ...] = ()  # when the search was started, and started again, seconds since 1970
    retries: tuple[Retry, ...] = ()
    encoder: str = ""  # the digest of the encoder's files; empty where it is not known


class RowError(ValueError):
    """A row that does not fit to the others. place: which one it is of them, from 0."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def record_of(row: Mapping[str, Any], cell: Cell, penalty: Any) -> Record:
    """The record of a row, each of whose values is checked. penalty: of the search's settings, None where it is not known.

    Raises ValueError that begins with the name of the value at fault, KeyError for one that is missing.
    """
    digest = row["digest"]
    if digest != pruned_digest(cell):
        raise ValueError(f"digest: the digest is that of another cell: found {shown(digest)}, expected {pruned_digest(cell)!r}")
    state = row["state"]
    if state not in (PENDING, DONE, FAILED):
        raise ValueError(f"state: expected {PENDING}, {DONE} or {FAILED}, found {state!r}")
    done, ended = state == DONE, state != PENDING
    found = (Evaluated if done else Record)(
        id=whole(row, "id"),
        round=whole(row, "round"),
        digest=digest,
        cell=cell,
        seed=whole(row, "seed"),
        state=state,
        predicted=number(row, "predicted", None),
        accuracy=share(row, "accuracy", done),
        macs=whole(row, "macs"),
        params=whole(row, "params"),
        cost=_above_zero(row, "cost"),
        score=number(row, "score", done),
        stopped=_flag(row, "stopped", done),
        curve=_curve(row["curve"], done),
        seconds=_not_negative(row, "seconds", ended),  # type: ignore[arg-type]  # a number where it has ended
        error=_text(row, "error", state == FAILED),
        created=moment(row, "created") if "created" in row else 0.0,
        finished=moment(row, "finished", ended) if "finished" in row else None,
        judged=number(row, "judged", None if done else False) if "judged" in row else None,
    )
    if is_evaluated(found) and penalty is not None:
        expected = float(efficiency_score(found.accuracy, found.cost, penalty))
        if abs(found.score - expected) > SCORE_TOLERANCE * max(1.0, abs(expected)):
            raise ValueError(
                f"score: expected {expected:.9g}, which accuracy, cost and penalty={penalty:g} give, found {shown(found.score)}"
            )
    return found


def check_together(records: Sequence[Record], rounds: Iterable[int]) -> None:
    """Raises RowError, with a message that begins with a value's name, for rows of which each is right, but not all of them:
    twice the same id or cell, a row or a round that is missing."""
    digests: dict[str, int] = {}
    known = set(rounds)
    for place, r in enumerate(records):
        if r.digest in digests or (place and r.id == records[place - 1].id):
            raise RowError(place, f"id, digest: two of its rows have one id, or one cell: {r.id}, {r.digest[:8]}")
        digests[r.digest] = r.id
        if r.id != place + 1:
            raise RowError(place, f"id: expected {place + 1}, found {r.id}: the row between is missing")
        if r.round not in known or (place and r.round < records[place - 1].round):
            raise RowError(place, f"round: expected one that was proposed, in their order, found {r.round}")


def check_rounds(rounds: Sequence[int]) -> None:
    """Raises ValueError unless these are 0, 1, 2 and so on."""
    for expected, found in enumerate(rounds):
        if found != expected:
            raise ValueError(f"round: expected {expected}, found {found}: a round is missing, or stands there twice")


def check_note(note: Any) -> None:
    """Raises ValueError, naming the entry, unless this can be the note of a round."""
    if not isinstance(note, dict):
        raise ValueError(f"expected a JSON object, found {shown(note)}")
    for name in {"evaluated", "best"} & note.keys():
        whole(note, name)
    for name in FIGURES:
        if name in note:
            number(note, name)
    for name, others in TOGETHER.items():
        for other in others:
            if name in note and other not in note:
                raise ValueError(f"{other}: is missing, though {name} is there")
    for name in {OVER_BUDGET, TIMED} & note.keys():
        for pair in note[name] if isinstance(note[name], list) else [note[name]]:
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and _is_number(pair[1])):
                raise ValueError(f"{name}: expected pairs of a cell and a number, found {shown(pair)}")
    if JUDGED in note:
        if not isinstance(note[JUDGED], dict):
            raise ValueError(f"{JUDGED}: expected scores by id, found {shown(note[JUDGED])}")
        for name in note[JUDGED]:
            number(note[JUDGED], name)


def check_ids(index: int, note: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Raises ValueError where the note of round `index` names a record that is not there, or was not evaluated."""
    evaluated = {str(r.id): r.round for r in records if r.state == DONE}
    for name in note.get(JUDGED, ()):
        if name not in evaluated:
            raise ValueError(f"{JUDGED}: expected ids of evaluated rows, found {shown(name)}")
    if "best" in note and evaluated.get(str(note["best"]), index) >= index:
        raise ValueError(f"best: expected the id of a row evaluated in an earlier round, found {note['best']}")


def check_retries(retries: Sequence[Retry], records: Sequence[Record], rounds: Iterable[int]) -> None:
    """Raises ValueError where they name a row or a round that is not there."""
    known, last = {r.id for r in records}, max(rounds, default=-1)
    for retry in retries:
        if retry.id not in known or retry.round > last:
            raise ValueError(f"expected ids and rounds that are there, found id {retry.id}, round {retry.round}")


def check_counts(snapshot: Snapshot) -> None:
    """Raises RowError, whose place is a round's, where notes do not tell how many evaluations they came from, or not as many as
    there are."""
    later = {retry.id: retry.round for retry in snapshot.retries}  # the last try counts
    for index, note in snapshot.rounds.items():
        if not index:
            continue
        if "evaluated" not in note:
            raise RowError(index, "evaluated: is missing, the number of evaluations that the round was chosen by")
        there = sum(r.state == DONE and r.round < index and later.get(r.id, -1) < index for r in snapshot.records)
        if note["evaluated"] != there:
            raise RowError(
                index, f"evaluated: expected {there}, as many as there are before the round, found {note['evaluated']}"
            )


def check_costs(records: Sequence[Record], settings: Mapping[str, Any]) -> None:
    """Raises RowError, with a message that begins with "macs", where costs are those MACs, in millions, and a row has others.

    A `Search` may be given a cost of its own, whatever the settings say: one row at least has to tell that MACs are it.
    """
    if settings["cost"].get("type", "macs") != "macs":
        return
    fits = [abs(r.macs / 1e6 - r.cost) <= COST_TOLERANCE * r.cost for r in records]
    if all(fits) or not any(fits):
        return
    place = fits.index(False)
    r = records[place]
    raise RowError(place, f"macs: expected {1e6 * r.cost:.9g}, which cost={r.cost:.9g} in millions gives, found {r.macs}")


def check_cells(records: Sequence[Record], space: Space) -> None:
    """Raises RowError for a cell that is not of the space."""
    for place, r in enumerate(records):
        try:
            space.from_cells([r.cell])
        except SearchError as error:
            raise RowError(place, f"cell: expected one of the settings' space: {error}") from None


@lru_cache(1 << 16)
def cell_of(text: str) -> Cell:
    """The cell of a row of SQLite. Raises ValueError."""
    try:
        return Cell.from_json(text, "cell")
    except CellError as error:
        raise ValueError(str(error)) from None


@lru_cache(1 << 16)
def pruned_digest(cell: Cell) -> str:
    """What identifies the network that a cell builds."""
    return cell.pruned().digest()


def parsed(text: Any) -> Any:
    """The JSON value of a text. Raises ValueError, for NaN and infinity too, which are no JSON."""
    if not isinstance(text, str):
        raise ValueError(f"expected JSON text, found {shown(text)}")

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, found {shown(text)} ({error})") from None


def whole(row: Mapping[str, Any], name: str) -> int:
    """row[name]. Raises ValueError unless it is a whole number, not negative, that 64 bits hold."""
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError(f"{name}: expected a whole number from 0 to 2^63 - 1, found {shown(value)}")
    return value


@overload
def number(row: Mapping[str, Any], name: str, there: Literal[True] = True) -> float: ...


@overload
def number(row: Mapping[str, Any], name: str, there: bool | None) -> float | None: ...


def number(row: Mapping[str, Any], name: str, there: bool | None = True) -> float | None:
    """row[name] as a float. there: whether it must be there; if False it must not; if None it may. Raises ValueError unless
    it is a number, and finite."""
    value = row[name]
    if value is None and not there:
        return None
    if there is False:
        raise ValueError(f"{name}: expected none, by the row's state, found {shown(value)}")
    if not _is_number(value):
        raise ValueError(f"{name}: expected a number, found {shown(value)}")
    return float(value)


@overload
def moment(row: Mapping[str, Any], name: str, there: Literal[True] = True) -> float: ...


@overload
def moment(row: Mapping[str, Any], name: str, there: bool | None) -> float | None: ...


def moment(row: Mapping[str, Any], name: str, there: bool | None = True) -> float | None:
    """The same of a time, seconds since 1970."""
    value = number(row, name, there)
    if value is not None and not 0 <= value <= LATEST:
        raise ValueError(f"{name}: expected seconds since 1970, to the end of the year 9999, found {shown(row[name])}")
    return value


@overload
def share(row: Mapping[str, Any], name: str, there: Literal[True] = True) -> float: ...


@overload
def share(row: Mapping[str, Any], name: str, there: bool | None) -> float | None: ...


def share(row: Mapping[str, Any], name: str, there: bool | None = True) -> float | None:
    """The same of a number from 0 to 1."""
    value = number(row, name, there)
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, found {shown(row[name])}")
    return value


def shown(value: Any) -> str:
    """A value for a message, cut short."""
    if value is None:
        return "nothing"
    try:
        return repr(str(value)[:40])
    except ValueError:  # an integer of thousands of digits
        return f"{type(value).__name__} of thousands of digits"


def _above_zero(row: Mapping[str, Any], name: str) -> float:
    value = number(row, name)
    if value <= 0:
        raise ValueError(f"{name}: expected a number above 0, found {row[name]!r}")
    return value


def _not_negative(row: Mapping[str, Any], name: str, there: bool) -> float | None:
    value = number(row, name, there)
    if value is not None and value < 0:
        raise ValueError(f"{name}: expected a number from 0, found {shown(row[name])}")
    return value


def _flag(row: Mapping[str, Any], name: str, there: bool) -> bool:
    value = row[name]
    if not ((value is None and not there) or (isinstance(value, int) and value in ((0, 1) if there else (0,)))):
        expected = "0 or 1, or false or true" if there else "none, by the row's state"
        raise ValueError(f"{name}: expected {expected}, found {shown(value)}")
    return bool(value)


def _curve(values: Any, there: bool) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or (values and not there):
        expected = "a list of numbers" if there else "none, by the row's state"
        raise ValueError(f"curve: expected {expected}, found {shown(values)}")
    if there and not values:
        raise ValueError("curve: expected the accuracy after each epoch, found none")
    return tuple(share({"curve": value}, "curve") for value in values)


def _text(row: Mapping[str, Any], name: str, there: bool) -> str:
    value = row[name]
    if not isinstance(value, str) or (value and not there):
        raise ValueError(f"{name}: expected {'a text' if there else 'none, by the state'}, found {shown(value)}")
    return value


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
