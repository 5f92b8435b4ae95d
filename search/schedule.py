"""How many candidates a search evaluates, which, and how it chooses among them at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.base import SearchError
from search.study import Record


@dataclass(frozen=True)
class Schedule:
    """How many candidates are evaluated, and when.

    start: random cells of round 0. rounds: further rounds, each of the `batch` best predicted cells of `draws` drawn.
    stop_from: share of the epochs after which a candidate may be stopped early. stop_quantile: it is stopped where its accuracy
    is below this quantile of the earlier rounds' candidates after the same epoch; 0 stops nobody but those at chance.
    optimism: 0 to rank drawn cells by their predicted scores, as the paper does; else so many standard deviations are added,
    which the predictor must know. max_macs: a budget on the MACs of the proxy network, None for none.
    max_latency_ms: a budget on the time of the model to come, None for none; latency: how it is measured, see
    `search.cost.build_latency`.
    trust: 1 to choose the cell with the best measured score at the end; below it, held-out predictions weigh as well
    (`ranking.judged`), the means of `repeats` cross-validations on `folds` folds. top: cells written at the end.
    cells: cell files that are evaluated in round 0 besides. warm_start: work directories or exported records of other searches
    with the same evaluation settings; their evaluations are taken over, and count among the `start`.
    encoder_cache: a folder of trained encoders, shared by searches; the encoder of the same space, settings and seed is taken
    from there, and a newly trained one is left there. None for no such folder.
    """

    start: int = 16
    rounds: int = 3
    batch: int = 8
    draws: int = 50_000
    stop_from: float = 0.5
    stop_quantile: float = 0.25
    optimism: float = 0.0
    max_macs: float | None = None
    max_latency_ms: float | None = None
    latency: Mapping[str, Any] = field(default_factory=dict)
    trust: float = 1.0
    folds: int = 5
    repeats: int = 1
    top: int = 5
    cells: Sequence[str] = ()
    warm_start: Sequence[str] = ()
    encoder_cache: str | None = None

    def __post_init__(self) -> None:
        if self.start < 3 or self.rounds < 0 or self.batch < 1 or self.draws < 1 or self.top < 1:
            raise SearchError("search: expected start >= 3, rounds >= 0, batch, draws and top >= 1")
        if not 0 <= self.stop_quantile < 1 or not 0 < self.stop_from <= 1:
            raise SearchError("search: expected 0 <= stop_quantile < 1 and 0 < stop_from <= 1")
        if not (0 <= self.optimism < float("inf") and 0 <= self.trust <= 1 and self.folds >= 2 and self.repeats >= 1):
            raise SearchError("search: expected optimism >= 0, 0 <= trust <= 1, folds >= 2 and repeats >= 1")
        if not isinstance(self.latency, Mapping):
            raise SearchError(f"search: latency: expected settings by name, found {self.latency!r}")
        if self.latency and self.max_latency_ms is None:
            raise SearchError("search: latency says how max_latency_ms is measured, which is not given")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Schedule:
        """That of a search's settings. Raises SearchError for an unknown one."""
        try:
            return cls(**settings.get("search", {}))
        except TypeError as error:
            raise SearchError(f"search: {error}") from None

    def evaluations(self, records: Sequence[Record] = ()) -> int:
        """How many there will be: those of the record, done or pending, and those of the rounds that are not in it yet."""
        if not records:
            return self.start + len(self.cells) + self.rounds * self.batch
        return len(records) + (self.rounds - max(r.round for r in records)) * self.batch
