import random
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import BudgetError, cell_cost, fit, network_cost, operator_cost
from gemnet.network import CellModule, GEMNet
from gemnet.operators import OPERATORS


def measured(module: nn.Module, images: torch.Tensor) -> tuple[int, int, int]:
    """Params, MACs and activations of a real module, counted by torch on tensors without data."""
    elements = []

    def count(_module, _inputs, output):
        elements.append(output.numel())

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(images)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2, sum(elements)


def analytic(cost) -> tuple[int, int, int]:
    return cost.params, cost.macs, cost.activations


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_costs_what_its_module_does(name):
    rng = random.Random(name)
    for _ in range(20):
        channels, width, height, side = (rng.randint(1, 40) for _ in range(4))
        module = OPERATORS[name].build(channels, width, device="meta").eval()
        images = torch.empty(1, channels, height, side, device="meta")
        assert analytic(operator_cost(name, channels, width, (height, side))) == measured(module, images)


def test_a_cell_costs_what_its_module_does(random_cell):
    rng = random.Random(0)
    for _ in range(150):
        cell = random_cell(rng, rng.randint(2, 30), rng.uniform(0.03, 0.5))
        channels, width, size = rng.randint(1, 30), rng.randint(1, 20), (rng.randint(1, 20), rng.randint(1, 20))
        module = CellModule(cell, channels, width, device="meta").eval()
        assert analytic(cell_cost(cell, channels, width, size)) == measured(
            module, torch.empty(1, channels, *size, device="meta")
        )


def test_a_network_costs_what_its_module_does_at_any_resolution(random_cell):
    rng = random.Random(1)
    for _ in range(100):
        stages = rng.randint(1, 5)
        architecture = Architecture(
            random_cell(rng, rng.randint(2, 12), rng.uniform(0.1, 0.5)),
            widths=tuple(rng.randint(1, 9) for _ in range(stages)),
            depths=tuple(rng.randint(1, 3) for _ in range(stages)),
            stem_width=rng.randint(1, 9),
            head_width=rng.choice([0, 17]),
            stem_stride=rng.choice([1, 2]),
            residual=rng.random() < 0.5,
        )
        classes, chans, size = rng.choice([0, 1, 10]), rng.randint(1, 4), (rng.randint(1, 90), rng.randint(1, 90))
        network = GEMNet(architecture, classes, chans, device="meta").eval()
        cost = network_cost(architecture, size, classes, chans)
        assert analytic(cost) == measured(network, torch.empty(1, chans, *size, device="meta"))


@pytest.fixture(scope="module")
def cells(random_cell_factory):
    rng = random.Random(2)
    names = ("conv1x1", "sepconv3x3")
    return [random_cell_factory(rng, 30, density, names) for density in (0.06, 0.1, 0.2, 0.3, 0.4, 0.5) for _ in range(3)]


@pytest.fixture(scope="module")
def random_cell_factory():
    from conftest import draw_cell

    return draw_cell


@pytest.mark.parametrize(("macs", "params"), [(463e6, 4.3e6), (563e6, 4.5e6)])
def test_cells_of_30_nodes_fit_the_papers_budgets_within_1_percent_below(cells, macs, params):
    for cell in cells:
        fitted = fit(cell, macs, params)
        assert 0.99 <= fitted.cost.macs / macs <= 1
        assert 0.99 <= fitted.cost.params / params <= 1
        assert analytic(network_cost(fitted.architecture)) == analytic(fitted.cost)
        assert fitted == fit(cell, macs, params)


def test_the_cost_that_fit_tells_is_that_of_the_real_network(cells):
    fitted = fit(cells[0], 463e6, 4.3e6)
    network = GEMNet(fitted.architecture, device="meta").eval()
    assert measured(network, torch.empty(1, 3, 224, 224, device="meta")) == analytic(fitted.cost)
    assert f"{fitted.cost.macs / 1e6:.1f} M MACs of 463.0 M" in fitted.summary()
    assert f"{fitted.cost.params / 1e6:.3f} M params of 4.300 M" in fitted.summary()


def test_without_a_budget_of_params_macs_alone_are_filled(cells):
    for macs in (80e6, 300e6, 2e9):
        fitted = fit(cells[4], macs)
        assert 0.99 <= fitted.cost.macs / macs <= 1
        assert fitted.target_params is None


def test_macs_come_first_where_a_cell_cannot_fill_the_params():
    cell = Cell(("input", "sepconv3x3"), ((0, 1),))
    fitted = fit(cell, 300e6, 500e6)
    assert 0.99 <= fitted.cost.macs / 300e6 <= 1
    assert fitted.cost.params < 500e6


@pytest.mark.parametrize(
    ("macs", "params"),
    [(1e6, None), (1e15, None), (463e6, 1e5), (20e9, 4.3e6), (0, None), (-1, 4e6), (463e6, 0), (float("nan"), None)],
)
def test_a_budget_out_of_reach_is_refused(cells, macs, params):
    with pytest.raises(BudgetError, match="out of reach for this cell; it reaches from|must be positive"):
        fit(cells[0], macs, params)


def test_the_reachable_range_that_the_error_tells_is_true(cells):
    import re

    with pytest.raises(BudgetError) as caught:
        fit(cells[3], 20e9, 4.3e6)
    low, high = re.search(r"with at most 4\.30 M params, ([\d.]+) to ([\d.]+) M MACs", str(caught.value)).groups()
    assert fit(cells[3], float(high) * 1e6 * 1.0001, 4.3e6).cost.macs >= 0.99 * float(high) * 1e6
    assert fit(cells[3], float(low) * 1e6 * 1.0001, 4.3e6).cost.macs <= float(low) * 1e6 * 1.0001
    with pytest.raises(BudgetError):
        fit(cells[3], float(high) * 1e6 * 1.1, 4.3e6)
    with pytest.raises(BudgetError):
        fit(cells[3], float(low) * 1e6 * 0.95, 4.3e6)


def test_an_architecture_that_is_no_network_is_refused():
    good = Architecture(Cell(("input", "conv1x1"), ((0, 1),)), (8, 16), (1, 1))
    for change in ({"widths": (8,)}, {"widths": (), "depths": ()}, {"depths": (0, 1)}, {"stem_stride": 3}, {"head_width": -1}):
        with pytest.raises(ValueError, match="expected"):
            replace(good, **change)
