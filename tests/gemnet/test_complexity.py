import itertools
import random
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import PROFILES, BudgetError, cell_cost, cell_statistics, fit, network_cost, operator_cost
from gemnet.core.errors import UserError
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
    for _ in range(10):
        channels, width, height, side = (rng.randint(1, 40) for _ in range(4))
        module = OPERATORS[name].build(channels, width, device="meta").eval()
        images = torch.empty(1, channels, height, side, device="meta")
        assert analytic(operator_cost(name, channels, width, (height, side))) == measured(module, images)


def test_a_cell_costs_what_its_module_does(random_cell):
    rng = random.Random(0)
    for _ in range(60):
        cell = random_cell(rng, rng.randint(2, 20), rng.uniform(0.03, 0.5))
        channels, width, size = rng.randint(1, 30), rng.randint(1, 20), (rng.randint(1, 20), rng.randint(1, 20))
        module = CellModule(cell, channels, width, device="meta").eval()
        assert analytic(cell_cost(cell, channels, width, size)) == measured(
            module, torch.empty(1, channels, *size, device="meta")
        )


def test_a_network_costs_what_its_module_does_at_any_resolution(random_cell):
    rng = random.Random(1)
    for _ in range(80):
        stages = rng.randint(1, 2)
        architecture = Architecture(
            random_cell(rng, rng.randint(2, 6), rng.uniform(0.05, 0.7)),
            widths=tuple(rng.randint(1, 9) for _ in range(stages)),
            depths=tuple(rng.randint(1, 2) for _ in range(stages)),
            stem_width=rng.randint(1, 9),
            head_width=rng.choice([0, 17]),
            stem_stride=rng.choice([1, 2]),
            residual=rng.random() < 0.5,
        )
        classes, chans, size = rng.choice([0, 1, 10]), rng.randint(1, 4), (rng.randint(1, 90), rng.randint(1, 90))
        network = GEMNet(architecture, classes, chans, device="meta").eval()
        cost = network_cost(architecture, size, classes, chans)
        assert analytic(cost) == measured(network, torch.empty(1, chans, *size, device="meta"))


def test_a_cost_without_residual_head_or_classifier_is_what_its_parts_sum_to():
    cell = Cell(("input", "conv1x1", "conv1x1"), ((0, 1), (0, 2)))
    cost = network_cost(Architecture(cell, (4, 8), (2, 1), stem_width=3, head_width=0), (7, 9), num_classes=0)
    # stem at 4x5; two cells of 2 nodes at 4x5, fed 3 and 8 channels; one at 2x3, fed 8
    assert cost.macs == 20 * 27 * 3 + 20 * 2 * (3 * 4 + 8 * 4) + 6 * 2 * 8 * 8
    assert cost.params == (27 * 3 + 6) + 2 * (3 * 4 + 8 * 4 + 16) + 2 * (8 * 8 + 16)
    assert cost.activations == 20 * 3 + 20 * 2 * (4 + 4) + 6 * 2 * 8


@pytest.fixture(scope="module")
def cells(random_cell):
    rng = random.Random(2)
    names = ("conv1x1", "sepconv3x3")
    return [random_cell(rng, 30, density, names) for density in (0.06, 0.1, 0.2, 0.3, 0.4, 0.5) for _ in range(3)]


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
    summary, a = fitted.summary(), fitted.architecture
    assert f"{fitted.cost.macs / 1e6:.1f} M MACs of 463.0 M ({fitted.cost.macs / 463e6:.2%})" in summary
    assert f"{fitted.cost.params / 1e6:.3f} M params of 4.300 M ({fitted.cost.params / 4.3e6:.2%})" in summary
    assert f"widths {a.widths}, depths {a.depths}, stem {a.stem_width}, head {a.head_width}" in summary


def test_the_budget_is_counted_at_the_resolution_that_is_asked_for(cells):
    fitted = fit(cells[0], 200e6, resolution=(97, 160))
    assert analytic(fitted.cost) == analytic(network_cost(fitted.architecture, (97, 160)))
    assert 0.99 * 200e6 <= fitted.cost.macs <= 200e6


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


HEADS = np.arange(2048, 255, -8)


@cache
def networks(cell, macs, max_depth):
    """(largest multiple, depths, and of each head of HEADS the MACs, params and activations) of all networks that fit may
    choose with 80 to 100 % of the MACs."""
    found, statistics = [], cell_statistics(cell)
    shapes = [d for d in itertools.product(range(1, max_depth + 1), repeat=5) if list(d[:4]) == sorted(d[:4])]
    for multiple, profile in itertools.product((8, 4, 2, 1), PROFILES):
        seen = set()
        for quarters in range(4, 4 * 512 + 1):
            widths = tuple(multiple * max(1, int(quarters / 4 * r / multiple + 0.5)) for r in profile)
            if widths in seen:
                continue
            seen.add(widths)
            if network_cost(Architecture(cell, widths, (1,) * 5, 32, 256), statistics=statistics).macs > macs:
                break
            for depths in shapes:
                narrow, wide = (
                    network_cost(Architecture(cell, widths, depths, 32, head), statistics=statistics) for head in (256, 2048)
                )
                if narrow.macs > macs or wide.macs < 0.8 * macs:
                    continue
                costs = [  # of each head: they are affine in it
                    getattr(narrow, field) + (getattr(wide, field) - getattr(narrow, field)) * (HEADS - 256) // 1792
                    for field in ("macs", "params", "activations")
                ]
                found.append((multiple, depths, *costs))
    return found


def candidates(cell, macs, params, max_depth):
    """(largest multiple, depths, head, MACs, params, activations + params) of `networks`, each with its widest head."""
    for multiple, depths, m, p, a in networks(cell, macs, max_depth):
        widest = np.flatnonzero((m <= macs) & (p <= params))[:1]
        for h in widest[m[widest] >= 0.8 * macs].tolist():
            yield multiple, depths, int(HEADS[h]), int(m[h]), int(p[h]), int(a[h] + p[h])


@pytest.mark.long
@pytest.mark.parametrize(
    ("macs", "params", "fills"),
    [
        (100e6, 2.5e6, True),
        (100e6, 1.2e6, True),
        pytest.param(60e6, 1.5e6, True, marks=pytest.mark.slow),
        (100e6, 9e6, False),
    ],
)
def test_no_network_in_the_budget_is_better_by_the_documented_order(random_cell, macs, params, fills):
    cell = random_cell(random.Random(0), 12, 0.3, ("conv1x1", "sepconv3x3"))
    fitted = fit(cell, macs, params, max_depth=2)
    a, cost = fitted.architecture, fitted.cost
    found = list(candidates(cell, macs, params, max_depth=2))
    traffic = cost.activations + cost.params
    assert (a.depths, a.head_width, cost.macs, cost.params, traffic) in {c[1:] for c in found}
    full = [c for c in found if c[3] >= 0.99 * macs and c[4] >= 0.99 * params]
    assert bool(full) == fills
    if full:
        best = min((-multiple, head < 1024, touched, -m) for multiple, _, head, m, _, touched in full)
        assert best[1:] == (a.head_width < 1024, traffic, -cost.macs)
        assert all(width % -best[0] == 0 for width in a.widths)
    else:
        short = [(max(0, 0.99 - m / macs), max(0, 0.99 - p / params)) for *_, m, p, _ in found]
        assert min(short) == pytest.approx((max(0, 0.99 - cost.macs / macs), max(0, 0.99 - cost.params / params)))


@pytest.mark.parametrize(
    ("macs", "params"),
    [(0, None), (-1, 4e6), (463e6, 0), (463e6, -1), (float("nan"), None), (463e6, float("nan")), (float("inf"), None),
     (463e6, float("inf")), ("463M", None), (None, None), (463e6, [1])],
)  # fmt: skip
def test_a_budget_that_is_no_positive_number_is_refused(cells, macs, params):
    with pytest.raises(UserError, match=r"^target_(macs|params): expected a number above 0(, or None)?, found "):
        fit(cells[0], macs, params)


@pytest.mark.parametrize(("macs", "params"), [(1e6, None), (20e9, 4.3e6)])
def test_the_reachable_range_that_the_error_tells_is_true(cells, macs, params, monkeypatch):
    monkeypatch.setattr("gemnet.complexity.MAX_BASE_WIDTH", 64)  # fewer networks, to be quick
    cell = cells[3]
    with pytest.raises(BudgetError, match="out of reach for this cell: it reaches ") as caught:
        fit(cell, macs, params, max_depth=2)
    assert ("with at most 4.3 M params" in str(caught.value)) == (params is not None)
    low, high = (float(n) * 1e6 for n in re.search(r"reaches ([\d.]+) M to ([\d.]+) M MACs", str(caught.value)).groups())
    assert not low <= macs <= high
    for inside in (low, high, (low * high) ** 0.5):
        cost = fit(cell, inside, params, max_depth=2).cost
        assert 0.95 * inside <= cost.macs <= inside
        assert params is None or cost.params <= params
    for outside in (0.99 * low, 1.06 * high):
        with pytest.raises(BudgetError):
            fit(cell, outside, params, max_depth=2)


def test_params_too_few_for_any_network_are_told_with_the_fewest_that_are_enough(cells):
    with pytest.raises(BudgetError, match=r"target_params=0\.1 M is out of reach .* takes at least") as caught:
        fit(cells[3], 463e6, 1e5)
    fewest = float(re.search(r"at least ([\d.]+) M params", str(caught.value)).group(1)) * 1e6
    with pytest.raises(BudgetError, match="it reaches") as caught:
        fit(cells[3], 463e6, fewest)
    low = float(re.search(r"reaches ([\d.]+) M", str(caught.value)).group(1)) * 1e6
    assert fit(cells[3], low, fewest).cost.params <= fewest


@pytest.mark.parametrize(
    "change",
    [{"widths": (8,)}, {"widths": (), "depths": ()}, {"depths": (0, 1)}, {"stem_stride": 3}, {"head_width": -1},
     {"stem_width": 0}, {"widths": (8.0, 16)}, {"depths": (True, 1)}, {"head_width": None}],
)  # fmt: skip
def test_an_architecture_that_is_no_network_is_refused(change):
    good = Architecture(Cell(("input", "conv1x1"), ((0, 1),)), (8, 16), (1, 1))
    with pytest.raises(ValueError, match="expected"):
        replace(good, **change)
