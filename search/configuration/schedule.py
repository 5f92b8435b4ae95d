"""How many candidates a search evaluates, which, and how it chooses among them at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemnet.core.settings import Setting, settings_of
from search.core.checks import check, takes_settings
from search.core.types import SearchError

if TYPE_CHECKING:
    from search.record.study import Record


OBJECTIVES = ("accuracy", "cost", "macs", "params", "latency")


@takes_settings("search")
@dataclass(frozen=True)
class Schedule:
    """How many candidates are evaluated, and when.

    A candidate may be stopped early where its accuracy is below that of the quantile's candidate of earlier rounds after the
    same epoch, or at chance. How cells are judged at the end: see `ranking.posterior_scores`. How latency is measured: see
    `evaluation.cost.build_latency`. Other searches that are started from have the same evaluation settings; what they evaluated
    counts among the `start`.
    """

    start: Annotated[int, Setting("random cells of round 0", at_least=3)] = 16
    rounds: Annotated[int, Setting("further rounds", at_least=0)] = 3
    batch: Annotated[int, Setting("candidates of a further round, the best predicted ones", at_least=1)] = 8
    draws: Annotated[int, Setting("cells that a further round draws and predicts", at_least=1)] = 50_000
    stop_from: Annotated[
        float, Setting("share of the epochs after which a candidate may be stopped early", above=0, at_most=1)
    ] = 0.5
    stop_quantile: Annotated[
        float,
        Setting("of earlier accuracies, below which it is stopped; 0 stops none but those at chance", at_least=0, below=1),
    ] = 0.25
    objectives: Annotated[
        Sequence[str],
        Setting(
            "two or more: rounds choose the cells that add most to their front, not those of the best score",
            item=Setting("", str, choices=OBJECTIVES),
        ),
    ] = ()
    ucb_beta: Annotated[
        float,
        Setting("added to predicted scores, for predictors that know it; 0 is the paper's", at_least=0, unit="deviations"),
    ] = 0.0
    max_macs: Annotated[float | None, Setting("of a proxy network at most; None for no bound", above=0, unit="MACs")] = None
    max_latency_ms: Annotated[
        float | None, Setting("of the model to come at most; None for no bound", above=0, unit="milliseconds")
    ] = None
    latency: Annotated[Mapping[str, Any], Setting("how max_latency_ms is measured")] = field(default_factory=dict)
    measured_weight: Annotated[
        float, Setting("weight of measured scores at the end, of held-out predictions the rest", at_least=0, at_most=1)
    ] = 1.0
    folds: Annotated[int, Setting("of the cross-validation of held-out predictions", at_least=2)] = 5
    repeats: Annotated[int, Setting("cross-validations whose mean is taken", at_least=1)] = 1
    top: Annotated[int, Setting("best cells that are written at the end; may change in a search that is there", at_least=1)] = 5
    cells: Annotated[
        Sequence[str],
        Setting("that round 0 evaluates besides: cell files, shipped cells, or operators, each a cell of one node"),
    ] = ()
    warm_start: Annotated[Sequence[str], Setting("work directories or exported records of searches to start from")] = ()
    encoder_cache: Annotated[
        str | None, Setting("folder of trained encoders that searches share; None for none", Path, optional=True)
    ] = None

    def __post_init__(self) -> None:
        if self.objectives and len(set(self.objectives)) != max(2, len(self.objectives)):
            raise SearchError(f"search: objectives: expected two or more, each once, found {list(self.objectives)}")
        if "latency" in self.objectives and self.max_latency_ms is None:
            raise SearchError("search: objectives: 'latency' is what max_latency_ms bounds and measures, which is not given")
        if self.latency and self.max_latency_ms is None:
            raise SearchError("search: latency says how max_latency_ms is measured, which is not given")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Schedule:
        """That of a search's settings. Raises SearchError for an unknown one."""
        return cls(**check(settings_of(cls), settings.get("search", {}), "search"))

    def evaluations(self, records: Sequence[Record] = ()) -> int:
        """How many there will be: those of the record, done or pending, and those of the rounds that are not in it yet."""
        if not records:
            return self.start + len(self.cells) + self.rounds * self.batch
        return len(records) + (self.rounds - max(r.round for r in records)) * self.batch
