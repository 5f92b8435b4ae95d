"""The counts against networkx on random cells."""

from itertools import product

import networkx as nx
import numpy as np
import pytest

from gemnet.cell import Cell
from search.base import CellArrays, SearchError
from search.embedding import build_encoder, load_encoder
from search.embedding.statistics import count
from search.space import DagSpace, prune

OPERATORS = ("conv1x1", "sepconv3x3")


@pytest.fixture(scope="module")
def cells():
    return prune(DagSpace(7, OPERATORS, (0.3, 0.6)).sample(np.random.default_rng(0), 40))


def graph(cells: CellArrays, i: int) -> nx.DiGraph:
    g = nx.DiGraph(np.argwhere(cells.adjacency[i]).tolist())
    g.add_node(0)
    nx.set_node_attributes(g, {v: int(cells.operators[i, v]) for v in g}, "kind")
    return g


def test_paths_are_those_that_networkx_enumerates(cells):
    groups = count(cells, 2)
    names = [s for length in range(7) for s in product((1, 2), repeat=length)]
    for i in range(len(cells)):
        g = graph(cells, i)
        ends = [v for v in g if g.out_degree(v) == 0]
        # Here the ends count, too: a path is read before its last node.
        paths = [tuple(g.nodes[v]["kind"] for v in p[1:]) for end in ends for p in nx.all_simple_paths(g, 0, end)]
        expected = {s: sum(p[:-1] == s for p in paths) for s in names}
        found = np.expm1(groups["sequences"][i])
        assert np.allclose(found, [expected[s] for s in names[: len(found)]], atol=1e-4)
        longest, shortest, mean = groups["lengths"][i, :9].reshape(3, 3)
        for column, lengths in enumerate([list(map(len, paths)), *([p.count(k) for p in paths] for k in (1, 2))]):
            assert (longest[column], shortest[column]) == (max(lengths), min(lengths))
            assert mean[column] == pytest.approx(np.mean(lengths), rel=1e-5)
        assert groups["lengths"][i, 9] == pytest.approx(np.log1p(len(paths)), rel=1e-5)


def test_edges_walks_degrees_and_nodes_are_those_that_networkx_counts(cells):
    groups = count(cells, 2)
    for i in range(len(cells)):
        g = graph(cells, i)
        kind = nx.get_node_attributes(g, "kind")
        edges, walks = np.zeros((3, 3)), np.zeros((3, 3))
        into, out = np.zeros((3, 4)), np.zeros((3, 4))
        for u, v in g.edges:
            edges[kind[u], kind[v]] += 1
            for w in g.successors(v):
                walks[kind[u], kind[w]] += 1
        for v in g:
            for table, degree in ((into, g.in_degree(v)), (out, g.out_degree(v))):
                if degree:
                    table[kind[v], min(degree, 4) - 1] += 1
        ends = [v for v in g if g.out_degree(v) == 0]
        operators = [sum(k == wanted for k in kind.values()) for wanted in (1, 2)]
        assert groups["nodes"][i].tolist() == [*operators, len(g), g.number_of_edges(), len(ends)]
        assert np.array_equal(groups["edges"][i], edges.ravel())
        assert np.array_equal(groups["walks"][i], walks.ravel())
        assert groups["degrees"][i].tolist() == [*into.ravel(), *out.ravel(), sum(g.in_degree(v) for v in ends)]


def test_isomorphic_cells_embed_alike_and_others_apart(cells):
    space = DagSpace(7, OPERATORS, (0.3, 0.6))
    encoder = build_encoder("statistics", space)
    assert encoder.fit(0) == {}
    one = Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2)))
    same = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (0, 2)))
    other = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2)))
    vectors = encoder.embed(space.from_cells([one, same, other]))
    assert vectors.shape == (3, encoder.dim)
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])


def test_it_is_saved_and_loaded_and_drops_operators_that_give_zeros(tmp_path, cells):
    space = DagSpace(7, OPERATORS, (0.3, 0.6))
    encoder = build_encoder("statistics", space, dropped=("conv1x1",), sample=64)
    encoder.fit(0)
    encoder.save(tmp_path)
    assert np.array_equal(load_encoder(tmp_path, space).embed(cells), encoder.embed(cells))
    with_zero = Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2)))
    without = Cell(("input", "sepconv3x3"), ((0, 1),))
    vectors = encoder.embed(space.from_cells([with_zero, without]))
    assert np.array_equal(vectors[0], vectors[1])
    with pytest.raises(SearchError, match="dropped"):
        build_encoder("statistics", space, dropped=("none",))
    with pytest.raises(SearchError, match="sample"):
        build_encoder("statistics", space, sample=1)


def test_cells_in_smaller_arrays_are_the_same_cells():
    space = DagSpace(12, OPERATORS, (0.05, 0.4))
    cells = prune(space.sample(np.random.default_rng(1), 200))
    small = cells[(cells.operators >= 0).sum(1) <= 5]
    assert small.compact().operators.shape[1] == 5
    assert space.to_cells(small.compact()) == space.to_cells(small)
    assert small[:0].compact().operators.shape == (0, 1)


def test_counts_of_cells_of_all_sizes_are_those_of_each_alone():
    space = DagSpace(12, OPERATORS, (0.05, 0.4))
    encoder = build_encoder("statistics", space, cells=True)
    encoder.fit(0)
    cells = prune(space.sample(np.random.default_rng(1), 700))
    together = encoder.embed(cells)
    for i in range(0, 700, 50):
        assert np.array_equal(together[i], encoder.embed(cells[i : i + 1])[0])


def test_means_and_deviations_are_those_of_pruned_cells():
    space = DagSpace(12, OPERATORS, (0.05, 0.4))
    encoder = build_encoder("statistics", space)
    encoder.fit(0)
    vectors = encoder.embed(prune(space.sample(np.random.default_rng(1), 4096)))
    assert np.abs(vectors.mean(0)).max() < 0.05 * vectors.std(0).max()
