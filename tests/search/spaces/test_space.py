import networkx
import numpy as np
import pytest

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import network_cost
from search.core.types import SearchError
from search.spaces.dag import DagSpace, build_space, prune, statistics


def test_the_same_seed_gives_the_same_cells_and_another_seed_others():
    space = DagSpace()
    one, two, other = (space.sample(np.random.default_rng(seed), 50) for seed in (3, 3, 4))
    assert np.array_equal(one.adjacency, two.adjacency)
    assert np.array_equal(one.operators, two.operators)
    assert not np.array_equal(one.adjacency, other.adjacency)


def test_sampled_cells_are_valid_and_both_small_and_large_ones_occur():
    space = DagSpace(30)
    cells = space.to_cells(space.sample(np.random.default_rng(0), 500))  # Cell validates
    assert {len(cell.nodes) for cell in cells} == {30}
    live = [len(cell.live_nodes) for cell in cells]
    assert min(live) < 12
    assert max(live) == 30
    assert {name for cell in cells for name in cell.nodes} == {"input", "conv1x1", "sepconv3x3"}


def test_the_density_of_edges_is_drawn_for_each_cell_between_its_ends():
    space = DagSpace(30, density=(0.2, 0.4))
    arrays = space.sample(np.random.default_rng(0), 4000)
    density = arrays.adjacency.sum((1, 2)) / 435
    # 435 Bernoulli draws have a spread of about .022 around a density that is uniform in [.2, .4]
    assert 0.1 < density.min() < 0.2 < 0.4 < density.max() < 0.5
    assert density.mean() == pytest.approx(0.3, abs=0.005)
    assert density.std() == pytest.approx(np.hypot(0.2 / np.sqrt(12), 0.022), abs=0.003)


def test_cells_come_back_from_arrays():
    space = DagSpace(9)
    cells = space.to_cells(space.sample(np.random.default_rng(1), 40))
    assert space.to_cells(space.from_cells(cells)) == cells
    small = Cell(("input", "conv1x1"), ((0, 1),))
    assert space.to_cells(space.from_cells([small])) == [small]


def test_pruning_arrays_keeps_what_networkx_reaches_from_the_input():
    space = DagSpace(12, density=(0.05, 0.3))
    arrays = space.sample(np.random.default_rng(2), 100)
    for cell, pruned, row in zip(space.to_cells(arrays), space.to_cells(prune(arrays)), prune(arrays).operators):
        reached = {0} | networkx.descendants(cell.to_networkx(), 0)
        assert set(np.flatnonzero(row >= 0)) == reached
        assert pruned == cell.pruned()


def test_statistics_price_arrays_as_the_cells_one_by_one():
    space = DagSpace(12)
    arrays = prune(space.sample(np.random.default_rng(3), 30))
    cells = space.to_cells(arrays)
    architectures = [Architecture(cell, (6, 9, 12), (1, 2, 1), 5, 0, 1) for cell in cells]
    together = network_cost(architectures[0], (32, 27), 10, 3, statistics(space, arrays))
    for i, architecture in enumerate(architectures):
        alone = network_cost(architecture, (32, 27), 10, 3)
        assert (alone.params, alone.macs, alone.activations) == (
            together.params[i],
            together.macs[i],
            together.activations[i],
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"operators": ["conv7x7"]},
            r"operators: value 1: expected one of conv1x1, .* more, found 'conv7x7'; did you mean 'sepconv7x7'",
        ),
        ({"operators": []}, r"operators: expected a list of 1 or more values among conv1x1, .*, found \[\]"),
        ({"num_nodes": 1}, "from 2 to 1024, found 1"),
        ({"density": (0.5, 0.2)}, "density: expected the lower share first"),
        ({"density": 0.5}, "density"),
        ({"nodes": 3}, "nodes"),
        ({"type": "tree"}, "unknown space 'tree'; expected one of dag"),
    ],
)
def test_settings_that_are_no_space_are_refused_by_name(settings, message):
    with pytest.raises(SearchError, match=message):
        build_space(**settings)


def test_cells_outside_the_space_are_refused():
    with pytest.raises(SearchError, match="3 nodes; the space allows 2"):
        DagSpace(2).from_cells([Cell(("input", "conv1x1", "conv1x1"), ((0, 1), (0, 2)))])
    with pytest.raises(SearchError, match="operator 'conv3x3'"):
        DagSpace(3).from_cells([Cell(("input", "conv3x3"), ((0, 1),))])
