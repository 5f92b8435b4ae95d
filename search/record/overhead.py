"""How much of a search's time goes into the training of candidates, and how much beside it, from the record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search.record.study import Snapshot


@dataclass(frozen=True)
class Spent:
    """Seconds in which the search ran, until its last evaluation, and those of them with at least one candidate in training.

    Time in which the search was stopped is left out: where it was killed, from the last entry of its record on.
    """

    running: float
    training: float

    @property
    def overhead(self) -> float:
        """The share of the time without a candidate in training: encoder, predictor, bootstrap, costs, starting workers."""
        return 1 - self.training / self.running if self.running else 0.0


def spent(snapshot: Snapshot) -> Spent:
    """What the search of this record spent. Evaluations that come from another search's record are left out."""
    ended = [(r.created, r.finished - r.seconds, r.finished) for r in snapshot.records if r.finished and r.seconds]
    own = [(start, end) for proposed, start, end in ended if start >= proposed]
    events = [snapshot.created, *(r.created for r in snapshot.records), *(end for _, end in own)]
    starts = sorted(snapshot.sessions or (snapshot.created,))
    sessions = [
        (start, max((e for e in events if start <= e < following), default=start))
        for start, following in zip(starts, [*starts[1:], float("inf")])
    ]
    trainings = _merged(own)
    together = sum(max(0.0, min(end, b) - max(start, a)) for start, end in sessions for a, b in trainings)
    return Spent(sum(end - start for start, end in sessions), together)


def _merged(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The union of intervals as disjoint ones."""
    union: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union
