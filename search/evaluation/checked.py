"""What an evaluator gave is checked before it is recorded: evaluators may be a user's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gemnet.core.settings import Setting, plain, shown
from gemnet.cost import Cost
from search.core.checks import check
from search.core.types import Evaluation, Evaluator, Outcome, SearchError

SHARE = Setting("share of the validation images that are classified correctly", float, at_least=0, at_most=1)
COUNT = Setting("of a network", int, at_least=0)
EVALUATOR = {
    "epochs": Setting("points of the curve of a candidate that is not stopped", int, at_least=1),
    "num_classes": Setting("chance is one over it", int, at_least=2),
}
EVALUATION = {
    "accuracy": SHARE,
    "curve": Setting("the accuracy after each epoch", list, item=SHARE, length=(1, None)),
    "stopped": Setting("whether the candidate was stopped early", bool),
    "seconds": Setting("that the evaluation took", float, at_least=0),
}
"""Fields of an Evaluation."""


def check_evaluator(evaluator: Evaluator) -> None:
    """Raises SearchError where an evaluator's own figures are none that a search can work with."""
    check(EVALUATOR, {name: getattr(evaluator, name, None) for name in EVALUATOR}, _name(evaluator))


def checked_cost(evaluator: Evaluator, cost: Cost) -> Cost:
    """MACs and params that an evaluator counts, as Python's own whole numbers. Raises SearchError for others."""
    names = ("params", "macs")
    return Cost(**check(dict.fromkeys(names, COUNT), {name: getattr(cost, name, None) for name in names}, _name(evaluator)))


def checked_outcome(outcome: Outcome, evaluator: Evaluator, one_length: bool = True) -> Outcome:
    """The outcome in Python's own numbers. one_length: all that is not stopped has the evaluator's number of epochs.

    An accuracy that is NaN or infinite is that candidate's failure. Whatever else is no evaluation, such as percent, the
    evaluator would give of other candidates too: SearchError, with the remedy, so that nothing of it is recorded.
    """
    if outcome.evaluation is None:
        return outcome
    place = f"{_name(evaluator)}, candidate {outcome.key}"
    e = outcome.evaluation
    if not isinstance(e, Evaluation):
        raise SearchError(f"{place}: expected an Evaluation(accuracy, curve, stopped, seconds), found {shown(e)}")
    given = {name: plain(getattr(e, name)) for name in EVALUATION}
    numbers = {"accuracy": given["accuracy"]}
    if isinstance(given["curve"], (list, tuple)):
        numbers |= {f"the curve's value {epoch}": value for epoch, value in enumerate(map(plain, given["curve"]), 1)}
    for name, value in numbers.items():
        if isinstance(value, float) and not math.isfinite(value):
            return replace(outcome, evaluation=None, error=f"{name} is {value}")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 1 < value <= 100:
            raise SearchError(f"{place}: {name} is {shown(value)}; expected a share from 0 to 1: divide percent by 100")
    found = check(EVALUATION, given, place)
    if one_length:
        _check_length(place, found, evaluator.epochs)
    curve = tuple(float(value) for value in found["curve"])
    return replace(outcome, evaluation=Evaluation(float(found["accuracy"]), curve, found["stopped"], float(found["seconds"])))


def _check_length(place: str, found: Mapping[str, Any], epochs: int) -> None:
    curve: Sequence[float] = found["curve"]
    if len(curve) > epochs or (len(curve) < epochs and not found["stopped"]):
        raise SearchError(
            f"{place}: the curve has {len(curve)} values; expected {epochs}, one for each of the evaluator's epochs"
            + ("" if len(curve) > epochs else ", unless the candidate was stopped")
        )


def _name(evaluator: Evaluator) -> str:
    return f"evaluator {type(evaluator).__name__}"
