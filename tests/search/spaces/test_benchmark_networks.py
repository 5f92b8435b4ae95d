"""The benchmarks' networks: parameters as stored, and the structure by hand."""

import numpy as np
import pytest
import torch

from gemnet.cell import Cell
from gemnet.counting import counted
from search.spaces.nasbench101 import NasBench101Space
from search.spaces.nasbench101_network import Module, NasBench101Network, network_cost, vertex_channels
from search.spaces.nasbench201 import network_cost as network_cost_201


def test_channels_are_shared_at_the_output_and_handed_back():
    cell = Cell(
        ("input", "conv3x3", "conv1x1", "maxpool3x3", "conv1x1", "output"),
        ((0, 1), (1, 2), (1, 3), (2, 5), (3, 5), (0, 4), (4, 5), (0, 5)),
    )
    # 128 = 43 + 43 + 42 for nodes 2, 3 and 4; node 1 feeds 2 and 3
    assert vertex_channels(cell, 64, 128) == [64, 43, 43, 43, 42, 128]


def test_a_module_sums_at_nodes_concatenates_at_the_output_and_adds_the_input():
    torch.manual_seed(0)
    cell = Cell(("input", "maxpool3x3", "conv1x1", "output"), ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (0, 3)))
    module = Module(cell, 4, 5).eval()
    x = torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        one, two = module.vertices
        a = torch.nn.functional.max_pool2d(one.projection(x), 3, 1, 1)
        assert a.shape[1] == 3  # 5 = 3 + 2
        b = two.operator(a[:, :2] + two.projection(x))
        expected = torch.cat([a, b], 1) + module.projection(x)
        assert torch.allclose(module(x), expected, atol=1e-6)


def test_a_cell_without_inner_nodes_is_a_projection():
    module = Module(Cell(("input", "output"), ((0, 1),)), 4, 6).eval()
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(module(x), module.projection(x))


def test_cells_that_do_not_end_in_their_only_leaf_are_refused():
    with pytest.raises(ValueError, match="output as its last node and only leaf"):
        NasBench101Network(Cell(("input", "conv1x1", "output"), ((0, 1), (0, 2))))


def test_counts_of_params_and_macs_are_those_of_the_modules_that_run(made101):
    space = NasBench101Space(made101, pool="all")
    cost = network_cost(space.table.cells)
    for row in (0, 3, 6, 7, 8, 10):
        (cell,) = space.to_cells(space.table.cells[row : row + 1])
        network = NasBench101Network(cell, device="meta")
        out, counts = counted(network, torch.empty(1, 3, 32, 32, device="meta"))
        assert out.shape == (1, 10)
        assert (counts.params, counts.macs) == (cost.params[row], cost.macs[row])


def test_a_network_learns(made101):
    space = NasBench101Space(made101)
    (cell,) = space.to_cells(space.table.cells[4:5])
    torch.manual_seed(0)
    network = NasBench101Network(cell)
    loss = torch.nn.functional.cross_entropy(network(torch.randn(2, 3, 32, 32)), torch.tensor([1, 2]))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.long
def test_built_networks_of_nasbench101_have_the_stored_params(real101):
    rows = np.random.default_rng(0).integers(len(real101.table), size=120)
    for row, cell in zip(rows, real101.to_cells(real101.table.cells[rows])):
        network = NasBench101Network(cell, device="meta")
        assert sum(p.numel() for p in network.parameters()) == real101.table.params[row]


def test_counted_params_of_nasbench101_are_the_stored_ones_in_every_row(real101):
    cells, params = real101.table.cells, real101.table.params
    for start in range(0, len(cells), 20_000):
        rows = slice(start, start + 20_000)
        assert np.array_equal(network_cost(cells[rows]).params, params[rows])


def test_counted_params_of_nasbench201_are_the_stored_ones_in_every_row(real201):
    cost = network_cost_201(real201.table.cells)
    assert np.array_equal(cost.params, real201.table.params)
    # MACs that the benchmark itself tells, in millions: of the cell of all zeros, and of six 3x3 convolutions
    ops = real201.table.operators[:, 1:-1]
    assert cost.macs[(ops == 1).all(1)][0] / 1e6 == pytest.approx(7.78, abs=0.01)
    assert cost.macs[(ops == 4).all(1)][0] / 1e6 == pytest.approx(220.12, abs=0.02)
