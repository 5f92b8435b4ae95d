"""What a candidate costs, by count, by clock and by the user's own function."""

import math
from types import ModuleType

import pytest

import search.evaluation.cost
from gemnet.bench.benchmark import Timing, measure_together
from gemnet.cell import Cell
from gemnet.complexity import BudgetError, network_cost
from search.core.types import SearchError
from search.evaluation.cost import build_cost, build_latency
from search.evaluation.data import build_data
from search.evaluation.evaluators import evaluator_of
from search.evaluation.proxy import build_evaluator
from search.spaces.dag import DagSpace

CELL = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2)))
LARGE = Cell(("input", *["sepconv3x3"] * 12), tuple((u, v) for v in range(1, 13) for u in range(v)))
MODEL = {"target_macs": 200e6, "target_params": 3.5e6}


@pytest.fixture(scope="module")
def evaluator():
    return build_evaluator(build_data("digits"), MODEL, width=4)


@pytest.mark.parametrize("field", ["macs", "params", "activations"])
def test_counts_are_millions_of_those_of_the_proxy_network(evaluator, field):
    cost = build_cost(evaluator.cost, MODEL, type=field)
    expected = network_cost(evaluator.architecture(CELL), (8, 8), 10, 1)
    assert cost(CELL) == getattr(expected, field) / 1e6
    assert "millions" in cost.name


def test_latency_tells_a_slow_model_from_a_fast_one_and_is_that_of_the_model_to_come(evaluator):
    cost = build_cost(evaluator.cost, MODEL, type="latency", reference="timm/mobilenetv3_small_050", batch=1, resolution=64)
    times = [cost(CELL), cost(LARGE)]
    assert all(math.isfinite(time) and time > 0 for time in times)
    assert times[0] < times[1]  # of equal MACs, but with 66 edges of narrow nodes: several times as slow
    assert "mobilenetv3_small_050 = 1" in cost.name
    with pytest.raises(BudgetError):
        build_cost(evaluator.cost, {"target_macs": 1e3}, type="latency", batch=1, resolution=32)(CELL)


@pytest.mark.parametrize(("max", "passes"), [(None, [1, 3]), (100.0, [1, 3]), (1e-3, [1])])
def test_a_network_that_is_hopelessly_slow_is_not_timed_again(evaluator, monkeypatch, max, passes):
    asked = []

    def measured(calls, repeats, warm_up, wait):
        asked.append(repeats)
        return measure_together(calls, repeats, warm_up, wait)

    monkeypatch.setattr("search.evaluation.cost.measure_together", measured)
    settings = {"reference": "timm/mobilenetv3_small_050", "batch": 1, "resolution": 32}
    assert build_cost(evaluator.cost, MODEL, type="latency", max=max, **settings)(CELL) > 1e-3
    assert asked == passes


def test_fused_networks_are_timed_on_both_sides(evaluator, monkeypatch):
    folded, seen = search.evaluation.cost.folded, []

    def counted(network, images):
        seen.append(type(network).__name__)
        return folded(network, images)

    monkeypatch.setattr("search.evaluation.cost.folded", counted)
    settings = {"reference": "timm/mobilenetv3_small_050", "batch": 1, "resolution": 32}
    assert build_cost(evaluator.cost, MODEL, type="latency", fused=True, **settings)(CELL) > 1e-3
    assert seen == ["MobileNetV3", "GEMNet"]
    assert build_cost(evaluator.cost, MODEL, type="latency", **settings)(CELL) > 1e-3
    assert len(seen) == 2


def test_milliseconds_are_the_median_of_fused_passes_of_the_model_to_come(monkeypatch):
    asked = []

    def measured(call, repeats, warm_up, wait):
        asked.append((repeats, warm_up))
        call()
        return Timing(median=0.25, fastest=0.1, slowest=3.0)

    monkeypatch.setattr("search.evaluation.cost.measure", measured)
    latency = build_latency(DagSpace(8), MODEL, 40, resolution=32)
    assert (latency(CELL), latency.max, latency.name) == (250.0, 40, "milliseconds")
    assert asked == [(10, 2)]
    monkeypatch.undo()
    real = build_latency(DagSpace(8), MODEL, 40, resolution=64, repeats=3)
    assert 0 < real(CELL) < real(LARGE)


@pytest.fixture
def users(monkeypatch):
    module = ModuleType("users_costs")
    module.nodes = lambda cell: len(cell.nodes)
    module.negative = lambda cell: -1
    module.broken = lambda cell: {}["table"]
    monkeypatch.setitem(__import__("sys").modules, "users_costs", module)


def test_a_function_of_the_users_own_is_asked_for_each_cell(evaluator, users):
    cost = build_cost(evaluator.cost, MODEL, type="function", function="users_costs:nodes", max=9.0)
    assert (cost(CELL), cost.max, cost.name) == (3.0, 9.0, "nodes")


@pytest.mark.parametrize(
    ("function", "message"),
    [("users_costs:broken", f"users_costs:broken raised KeyError: 'table' for the cell {CELL.digest()[:8]}"),
     ("users_costs:negative", "gave -1 for the cell .*; expected a positive number")],
)  # fmt: skip
def test_what_is_wrong_with_a_users_function_is_told(evaluator, users, function, message):
    cost = build_cost(evaluator.cost, MODEL, type="function", function=function)
    with pytest.raises(SearchError, match=message):
        cost(CELL)


def test_a_bound_on_milliseconds_can_be_of_a_function_of_the_users_own(users):
    latency = build_latency(DagSpace(8), MODEL, 5, function="users_costs:nodes")
    assert (latency(CELL), latency.max, latency.name) == (3.0, 5, "milliseconds")
    broken = build_latency(DagSpace(8), MODEL, 5, function="users_costs:broken")
    with pytest.raises(SearchError, match="users_costs:broken raised KeyError: 'table'"):
        broken(CELL)


@pytest.mark.parametrize(
    ("max", "settings", "message"),
    [(0, {}, "search: max_latency_ms: expected a number above 0, found 0"),
     ("fast", {}, "max_latency_ms: expected a number above 0, found 'fast'"),
     (5, {"batch": 0}, "batch: expected a whole number from 1, found 0"),
     (5, {"fused": "yes"}, "^search: latency: fused: expected True or False, found 'yes'"),
     (5, {"colour": 1}, "^search: latency: unknown setting 'colour'"),
     (5, {"max": 5}, "search: latency: unknown setting 'max'"),
     (5, {"function": "none_such:f"}, "^search: latency: function 'none_such:f' cannot be had .*expected package"),
     (5, {"function": "math:sqrt", "batch": 1}, "a function takes no settings; found batch")],
)  # fmt: skip
def test_what_is_wrong_with_a_bound_on_milliseconds_is_told(max, settings, message):
    with pytest.raises(SearchError, match=message):
        build_latency(DagSpace(8), MODEL, max, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"type": "price"}, "unknown cost 'price'; expected one of macs, params, activations, latency, function"),
     ({"type": "macs", "max": -1}, "cost: max: expected a number above 0, or None, found -1"),
     ({"type": "macs", "batch": 2}, "batch"),
     ({"type": "latency", "colour": 1}, "cost: unknown setting 'colour'"),
     ({"type": "latency", "batch": 0}, "cost: batch: expected a whole number from 1, found 0"),
     ({"type": "latency", "device": "tpu"}, "cost: device 'tpu' is not there"),
     ({"type": "latency", "device": "cuda:99"}, "cost: device 'cuda:99' is not there"),
     ({"type": "latency", "device": 0}, "cost: device: expected a text, found 0"),
     ({"type": "latency", "reference": 5}, "cost: reference: expected a text, found 5"),
     ({"type": "latency", "reference": "timm/none_such"}, "timm/none_such"),
     ({"type": "function", "function": "none_such:f"}, "expected package.module:function"),
     ({"type": "function"}, "function")],
)  # fmt: skip
def test_settings_that_do_not_do_are_told(evaluator, settings, message):
    with pytest.raises(SearchError, match=message):
        build_cost(evaluator.cost, MODEL, **settings)


@pytest.mark.parametrize(
    ("model", "message"),
    [({}, "^model: setting 'target_macs' is missing"),
     ({"target_macs": 4e8, "resolution": [192, 192]}, "^model: unknown setting 'resolution'; expected one of target_macs"),
     ({"target_macs": 4e8, "residual": 1}, "^model: residual: expected True or False, found 1"),
     ({"target_macs": "463e6 MACs"}, "^model: target_macs: expected a number above 0, found '463e6 MACs'"),
     ({"target_macs": None}, "^model: target_macs: expected a number above 0, found None"),
     ({"target_macs": 4e8, "target_params": 0}, "^model: target_params: expected a number above 0, or None, found 0")],
)  # fmt: skip
def test_a_budget_of_models_that_does_not_do_is_told_before_anything_is_trained(model, message):
    settings = {"data": {"type": "digits"}, "proxy": {}, "model": model}
    with pytest.raises(SearchError, match=message):
        evaluator_of(settings, DagSpace(8))


def test_proxy_networks_of_equal_macs_are_the_models_last_stages_scaled_down():
    evaluator = build_evaluator(build_data("digits"), MODEL, macs=1e6, stem_width=8)
    for cell in (CELL, LARGE):
        assert 0.9 * 1e6 <= evaluator.cost(cell).macs <= 1e6
    small = evaluator.architecture(CELL)
    from gemnet.complexity import fit

    model = fit(CELL, **MODEL).architecture
    assert small.depths == tuple((depth + 1) // 2 for depth in model.depths[-3:])
    for a, b in zip(small.widths[1:], model.widths[-2:]):
        assert a / small.widths[0] == pytest.approx(b / model.widths[-3], rel=0.15)
    with pytest.raises(BudgetError, match=r"macs=1000 is too little: the narrowest proxy network of this cell has \d+"):
        build_evaluator(build_data("digits"), MODEL, macs=1e3).architecture(LARGE)
