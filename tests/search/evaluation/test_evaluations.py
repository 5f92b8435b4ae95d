"""What a user's evaluator or cost gives is checked before it is recorded."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import MadeEvaluator, run

from gemnet.cost import Cost
from search.core.types import Evaluation, Outcome, SearchError
from search.evaluation.checked import check_evaluator, checked_cost, checked_outcome
from search.record.study import DONE, FAILED, read_study

GOOD = Evaluation(0.5, (0.1, 0.2, 0.3, 0.5), False, 1.0)


def outcome(**changes: Any) -> Outcome:
    return checked_outcome(Outcome(3, replace(GOOD, **changes)), MadeEvaluator())


def test_numbers_of_arrays_become_pythons_own() -> None:
    curve = np.array([0.1, 0.2, 0.3, 0.5], np.float32)
    found = outcome(accuracy=curve[-1], curve=curve, stopped=np.bool_(False), seconds=torch.tensor(2)).evaluation
    assert [type(v) for v in (found.accuracy, *found.curve, found.stopped, found.seconds)] == [float] * 5 + [bool, float]
    assert found.accuracy == float(np.float32(0.5))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_an_accuracy_that_is_no_number_fails_its_candidate(value: float) -> None:
    assert outcome(accuracy=value) == Outcome(3, error=f"accuracy is {float(value)}")
    assert outcome(curve=(0.1, value, 0.3, 0.5)).error == f"the curve's value 2 is {float(value)}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": 76.5}, r"accuracy is 76\.5; expected a share from 0 to 1: divide percent by 100"),
        ({"curve": (10.0, 20.0, 30.0, 50.0)}, r"the curve's value 1 is 10\.0; expected a share from 0 to 1: divide percent"),
        ({"accuracy": -0.1}, r"accuracy: expected a number from 0 to 1, found -0\.1"),
        ({"accuracy": "0.5"}, "accuracy: expected a number from 0 to 1, found '0.5'"),
        ({"accuracy": None}, "accuracy: expected a number from 0 to 1, found None"),
        ({"accuracy": True}, "accuracy: expected a number from 0 to 1, found True"),
        ({"curve": (0.1, 0.5)}, "the curve has 2 values; expected 4, one for each of the evaluator's epochs, unless"),
        ({"curve": (0.1, 0.2, 0.3, 0.4, 0.5)}, "the curve has 5 values; expected 4"),
        ({"curve": ()}, r"curve: expected a list of 1 or more numbers from 0 to 1, found \[\]"),
        ({"curve": 0.5}, r"curve: expected a list of 1 or more numbers from 0 to 1, found 0\.5"),
        ({"curve": None}, "curve: expected a list"),
        ({"stopped": 0}, "stopped: expected True or False, found 0"),
        ({"seconds": math.nan}, "seconds: expected a number from 0, found nan"),
        ({"seconds": -1}, "seconds: expected a number from 0, found -1"),
    ],
)
def test_what_is_no_evaluation_is_an_error_of_the_evaluator(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=rf"^evaluator MadeEvaluator, candidate 3: {message}"):
        outcome(**changes)


@pytest.mark.parametrize("given", [0.5, (0.5, 1.0), "good", {"accuracy": 0.5}])
def test_a_bare_number_is_no_evaluation(given: Any) -> None:
    with pytest.raises(SearchError, match=r"expected an Evaluation\(accuracy, curve, stopped, seconds\), found"):
        checked_outcome(Outcome(3, given), MadeEvaluator())


def test_a_failed_candidate_stays_as_it_is() -> None:
    failed = Outcome(3, error="out of memory", seconds=2.0)
    assert checked_outcome(failed, MadeEvaluator()) is failed


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("epochs", 2.5), ("num_classes", 1), ("num_classes", math.nan)])
def test_an_evaluators_own_figures_are_checked(name: str, value: Any) -> None:
    evaluator = MadeEvaluator()
    setattr(evaluator, name, value)
    with pytest.raises(SearchError, match=f"evaluator MadeEvaluator: {name}: expected a whole number"):
        check_evaluator(evaluator)


def test_counts_become_pythons_whole_numbers() -> None:
    found = checked_cost(MadeEvaluator(), Cost(np.int64(10), np.int64(20)))
    assert (type(found.params), type(found.macs), found.params, found.macs) == (int, int, 10, 20)
    for macs in (math.nan, 2.5, -1, "20", None):
        with pytest.raises(SearchError, match="macs: expected a whole number from 0, found"):
            checked_cost(MadeEvaluator(), Cost(10, macs))


class Percent(MadeEvaluator):
    def outcome(self, job: Any) -> Outcome:
        found = super().outcome(job)
        e = found.evaluation
        return replace(found, evaluation=replace(e, accuracy=100 * e.accuracy, curve=tuple(100 * v for v in e.curve)))


class SometimesNaN(MadeEvaluator):
    def outcome(self, job: Any) -> Outcome:
        found = super().outcome(job)
        return replace(found, evaluation=replace(found.evaluation, accuracy=math.nan)) if job.key == 2 else found


def test_percent_stop_a_search_at_the_first_result_and_are_not_recorded(tmp_path: Path) -> None:
    evaluator = Percent()
    with pytest.raises(SearchError, match="divide percent by 100"):
        run(tmp_path, evaluator)
    assert len(evaluator.trained) == 1
    assert not [r for r in read_study(tmp_path).records if r.state in (DONE, FAILED)]


def test_one_candidate_without_an_accuracy_is_recorded_as_failed_and_the_search_goes_on(tmp_path: Path) -> None:
    records = run(tmp_path, SometimesNaN())
    assert [(r.id, r.error) for r in records if r.state == FAILED] == [(2, "accuracy is nan")]
    assert len(records) == 8 + 3 * 4
