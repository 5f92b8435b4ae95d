"""A search from Python, in a script or a notebook.

import search
result = search.run(space="dag", evaluate=lambda cell: my_accuracy(cell), budget=40, work_dir="work_dirs/mine")
result.best.save("mine.json")
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet.cell import Cell
from search.core.display import Display
from search.core.parts import EVALUATORS, SPACES
from search.core.types import Evaluator, SearchError, Space
from search.evaluation.evaluators import FunctionEvaluator
from search.pipeline import Callback, run_search
from search.record.study import Record, read_study
from search.report.report import write_report
from search.report.result import write_result
from search.steps.objectives import front_of

FEWEST = 4
"""Evaluations of a search: three to learn from, and one that was learned."""
FIRST_SHARE, MOST_ROUNDS = 0.4, 6
"""Of the budget, the share that is drawn at random; rounds that the rest is spread over at most."""
Given = str | Mapping[str, Any]
"""A part by name, or by name and settings: {"type": "dag", "num_nodes": 12}."""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    best: the cell with the best score, with its provenance. record: of that cell. records: of all candidates.
    front: those that no other equals or beats in every objective, accuracy and cost if none were given.
    work_dir: holds the record, the cells and the report.
    """

    best: Cell
    record: Record
    records: Sequence[Record]
    front: Sequence[Record]
    work_dir: Path
    report: Path

    def _repr_html_(self) -> str:
        """What a notebook shows: the best cell's figures and its picture."""
        r = self.record
        line = f"score {r.score:.4f}, accuracy {r.accuracy:.4f}, cost {r.cost:.4g}; {len(self.records)} candidates"
        picture = (self.work_dir / "best_cell.svg").read_text(encoding="utf-8")
        return f"<p>{html.escape(line)}</p>{picture[picture.index('<svg') :]}"


def run(
    space: Given | Space = "dag",
    evaluate: Callable[[Cell], float] | Evaluator | Given = "training",
    budget: int = 40,
    work_dir: str | os.PathLike[str] = "work_dirs/search",
    *,
    encoder: Given = "statistics",
    predictor: Given = "ensemble",
    seed: int = 0,
    penalty: float = 0.1,
    objectives: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    quiet: bool = False,
) -> SearchResult:
    """Search for a cell, or go on with the search in `work_dir`.

    A callback may raise `search.StopSearch`: the search ends with what is evaluated, and goes on when it is run again.

    Args:
        space: of cells, by name, by name and settings, or an object of one's own.
        evaluate: a function of a Cell that gives its accuracy, a share from 0 to 1; an Evaluator; or the section `proxy` of a
            config. One that trains reads `options["data"]`, scikit-learn's digits if nothing else is given.
        budget: evaluations in all.
        work_dir: made where it is not there.
        encoder: of cells as vectors.
        predictor: of scores.
        seed: of all that is drawn.
        penalty: lambda of the score, accuracy less lambda times log10 of the cost (Eq. 5). The cost is millions of MACs of the
            proxy network, unless `options["cost"]` says otherwise.
        objectives: two or more of accuracy, cost, macs, params, latency: rounds choose the cells that add most to their front,
            by hypervolume improvement, and not those of the best score.
        callbacks: called with the record of each candidate, when it is evaluated and recorded.
        options: more settings by section, as a config has them (docs/settings.md): {"search": {"draws": 5000}}.
        quiet: print nothing.

    Returns:
        The best cell, the records, and where they lie.

    Raises:
        SearchError: for what does not do, with the remedy; before anything is written where possible.
    """
    if type(budget) is not int or budget < FEWEST:
        raise SearchError(f"budget: expected a whole number from {FEWEST} evaluations on, found {budget!r}")
    evaluator, proxy = _evaluation(evaluate)
    kind = proxy.get("type", EVALUATORS.default)
    EVALUATORS.load(kind)
    takes = EVALUATORS.takes(kind)
    settings: dict[str, Any] = {
        "seed": seed,
        "penalty": penalty,
        "space": _space(space),
        "encoder": _given(encoder),
        "predictor": _given(predictor),
        "proxy": proxy,
        "data": {"type": "digits"} if "data" in takes else {},
        "model": {"target_macs": 463e6, "target_params": 4.3e6} if "model" in takes else {},
        "search": {**rounds_of(budget), **({"objectives": list(objectives)} if objectives else {})},
        "cost": {"type": "macs"},
        "executor": {} if evaluator is None else {"workers": 1},
    }
    for section, given in (options or {}).items():
        of_dict = isinstance(settings.get(section), dict) and "type" not in given
        settings[section] = {**settings[section], **given} if of_dict else given
    display, directory = Display(quiet=quiet), Path(work_dir)
    run_search(settings, directory, display, callbacks=callbacks, evaluator=evaluator)
    snapshot = read_study(directory)
    result = write_result(snapshot.records, snapshot.settings, directory, directory.name)
    front, report = front_of(snapshot), write_report(directory)
    return SearchResult(result.cell, result.record, snapshot.records, front, directory, report)


def rounds_of(budget: int) -> dict[str, int]:
    """The section `search` for so many evaluations: about two fifths at random, the rest in up to six equal rounds."""
    start = max(3, round(FIRST_SHARE * budget))
    batch = -(-(budget - start) // MOST_ROUNDS)
    rounds = (budget - start) // batch
    return {"start": budget - rounds * batch, "rounds": rounds, "batch": batch, "top": min(5, budget)}


def _given(part: Given) -> dict[str, Any]:
    return {"type": part} if isinstance(part, str) else dict(part)


def _space(space: Given | Space) -> dict[str, Any]:
    if not isinstance(space, Space):
        return _given(space)
    name = _name(type(space))
    SPACES.register(name)(lambda: space)
    return {"type": name}


def _evaluation(evaluate: Callable[[Cell], float] | Evaluator | Given) -> tuple[Evaluator | None, dict[str, Any]]:
    """The evaluator, None where the settings name it, and the section `proxy`."""
    if isinstance(evaluate, (str, Mapping)):
        return None, _given(evaluate)
    if isinstance(evaluate, Evaluator):
        name = _name(type(evaluate))
        EVALUATORS.register(name)(lambda: evaluate)
        return evaluate, {"type": name}
    return FunctionEvaluator(evaluate), {"type": "function", "function": _name(evaluate)}


def _name(thing: Any) -> str:
    """What the record calls something of the caller's own."""
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}:{kind.__qualname__}"
