"""A budget that no cell can keep within is told before anything is trained."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import pytest
from made import SETTINGS, MadeEvaluator, run

from gemnet.cell import Cell
from gemnet.complexity import BudgetError, fit
from search.configuration.schedule import Schedule
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import SearchError
from search.evaluation.cost import build_cost
from search.evaluation.reach import check_model_budget
from search.pipeline import run_search
from search.spaces.dag import DagSpace

SPACE = DagSpace(6)
CHAIN = Cell(("input", *["conv1x1"] * 5), tuple((i, i + 1) for i in range(5)))
DIGITS = Path(__file__).parents[3] / "configs/search/digits.py"


@pytest.mark.parametrize("model", [{"target_macs": 1e6, "target_params": 4.3e6}, {"target_macs": 20e12}])
def test_a_budget_out_of_the_spaces_reach_is_told_with_the_range(
    model: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.evaluation.reach.fit", partial(fit, max_depth=1))  # fewer networks, to be quick
    with pytest.raises(
        SearchError, match=r"model: target_macs=.* is out of reach .* they reach [\d.e+]+ to [\d.e+]+ M"
    ) as told:
        check_model_budget(SPACE, model, 0)
    low, high = (float(number) for number in re.search(r"reach ([\d.e+]+) to ([\d.e+]+) M", str(told.value)).groups())
    assert not low <= model["target_macs"] / 1e6 <= high
    inside = {**model, "target_macs": math.sqrt(low * high) * 1e6}
    check_model_budget(SPACE, inside, 0)


def test_too_few_params_for_any_network_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.evaluation.reach.fit", partial(fit, max_depth=1))
    with pytest.raises(SearchError, match=r"model: .*it takes at least [\d.]+ M params; so it is with each of"):
        check_model_budget(SPACE, {"target_macs": 463e6, "target_params": 1000}, 0)


def test_a_search_with_such_a_budget_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.evaluation.reach.fit", partial(fit, max_depth=1))
    settings = load_settings(DIGITS, {"model.target_macs": 1e3})
    with pytest.raises(SearchError, match="target_macs=1000 is out of reach"):
        run_search(settings, tmp_path / "made", Display(quiet=True))
    assert not (tmp_path / "made").exists()


def test_no_candidate_is_trained_whose_model_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted(cell: Cell, model: tuple[tuple[str, float], ...]) -> None:
        assert dict(model) == {"target_macs": 4e8}
        if len(cell.live_nodes) == 6:
            raise BudgetError("out of reach")

    monkeypatch.setattr("search.pipeline.fitted_model", fitted)
    schedule = Schedule(start=4, rounds=1, batch=2, draws=60)
    records = run(tmp_path, settings={**SETTINGS, "model": {"target_macs": 4e8}}, schedule=schedule, space=SPACE)
    assert len(records) == 6
    assert all(len(r.cell.live_nodes) < 6 for r in records)
    monkeypatch.setattr("search.pipeline.fitted_model", lambda cell, model: fitted(CHAIN, model))
    with pytest.raises(SearchError, match=r"of \d+ no network can be made, such as: out of reach"):
        run(tmp_path / "none", settings={**SETTINGS, "model": {"target_macs": 4e8}}, schedule=schedule, space=SPACE)


@pytest.mark.parametrize("bound", [{"max_macs": 10}, {"cost": 1e-6}])
def test_a_bound_out_of_reach_is_told_before_the_encoder_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: dict[str, float]
) -> None:
    monkeypatch.setattr("search.pipeline.trained_encoder", lambda *_: pytest.fail("the encoder was trained"))
    evaluator = MadeEvaluator()
    schedule = Schedule(start=8, rounds=1, batch=4, draws=100, max_macs=bound.get("max_macs"))
    cost = build_cost(evaluator.cost, {}, max=bound.get("cost"))
    with pytest.raises(SearchError, match=r"distinct cells .* do within .*\((the smallest has|the cheapest costs)"):
        run(tmp_path, evaluator, schedule=schedule, space=SPACE, cost=cost)
    assert evaluator.trained == []
