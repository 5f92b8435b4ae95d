"""Decoded graphs are repaired where the decoder is least sure, and no more than the space asks for."""

import itertools

import numpy as np
import pytest
from small_space import every_graph, isomorphic, labelled, random_graphs

from search.core.types import CellArrays, SearchError
from search.encoders.svge.graph_spaces import nasbench101_space
from search.encoders.svge.graphs import GraphSpace, is_dag_with_input_and_output
from search.encoders.svge.repair import connected, ended_by_leaves, in_order_of_enumeration, trimmed
from search.spaces.isomorphism import isomorphism_hash

END = 4


def one(edges, n, types=None):
    adjacency = np.zeros((1, n, n), bool)
    adjacency[0, [u for u, _ in edges], [v for _, v in edges]] = True
    return CellArrays(adjacency, np.array([types or [0, *[1] * (n - 2), END]], np.int8))


def edges_of(graphs):
    return [tuple(edge) for edge in np.argwhere(graphs.adjacency[0]).tolist()]


def drawn(seed, count, n, share):
    """Graphs of 2 to n nodes, input first and output last, and a confidence in each edge that agrees with them."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, n + 1, count)
    place = np.arange(n)
    types = np.where(place == 0, 0, np.where(place < sizes[:, None] - 1, 1, np.where(place == sizes[:, None] - 1, END, -1)))
    likely = rng.random((count, n, n)) * np.triu(np.ones((n, n)), 1) * (types >= 0)[:, None, :]
    return CellArrays(likely > 1 - share, types.astype(np.int8)), likely


def test_a_node_without_predecessor_or_successor_gets_the_likeliest():
    likely = np.zeros((1, 5, 5))
    likely[0, 1, 3], likely[0, 0, 3], likely[0, 2, 3], likely[0, 2, 4] = 0.4, 0.3, 0.2, 0.1
    assert edges_of(connected(one([(0, 1), (0, 2), (3, 4)], 5), likely)) == [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_all_graphs_become_valid_and_valid_ones_stay(share):
    graphs, likely = drawn(0, 2000, 7, share)
    valid = is_dag_with_input_and_output(graphs, END)
    assert valid.sum() < 2000
    found = connected(graphs, likely)
    assert is_dag_with_input_and_output(found, END).all()
    assert (found.keys(7)[valid] == graphs.keys(7)[valid]).all()
    assert (found.adjacency >= graphs.adjacency).all()
    few = trimmed(9, graphs, likely)
    assert is_dag_with_input_and_output(few, END).all()
    assert few.adjacency.sum((1, 2)).max() <= 9
    enough = found.adjacency.sum((1, 2)) <= 9
    assert (few.keys(7)[enough] == found.keys(7)[enough]).all()


def test_the_edge_that_goes_is_the_least_likely_of_those_that_can_be_spared():
    graphs, likely = drawn(1, 500, 6, 0.9)
    ten = graphs.adjacency.sum((1, 2)) == 10
    graphs, likely = graphs[ten], likely[ten]
    rows = np.flatnonzero(is_dag_with_input_and_output(graphs, END))
    found, told = trimmed(9, graphs, likely), 0
    for row in rows:
        spared = []
        for u, v in np.argwhere(graphs.adjacency[row]):
            without = graphs[[row]].adjacency.copy()
            without[0, u, v] = False
            if is_dag_with_input_and_output(CellArrays(without, graphs.operators[[row]]), END).all():
                spared.append((likely[row, u, v], int(u), int(v)))
        if spared:
            gone = np.argwhere(graphs.adjacency[row] & ~found.adjacency[row]).tolist()
            assert gone == [list(min(spared)[1:])]
            told += 1
    assert told > 20


def test_where_no_edge_can_be_spared_the_least_likely_branch_goes():
    branches = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 6), (2, 6), (3, 6), (4, 6), (5, 6)]
    likely = np.full((1, 7, 7), 0.9)
    likely[0, 0, 3] = 0.6
    found = trimmed(9, one(branches, 7, [0, 1, 2, 3, 2, 1, END]), likely)
    assert found.operators[0].tolist() == [0, 1, 2, 2, 1, END, -1]
    assert edges_of(found) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 5), (3, 5), (4, 5)]
    with pytest.raises(SearchError, match="expected at least 6, found 5"):
        nasbench101_space(7, 5)


def test_the_output_of_a_cell_is_fed_by_its_leaves():
    found = ended_by_leaves(one([(0, 1), (1, 2), (1, 4), (0, 4)], 5), np.zeros((1, 5, 5)))
    assert edges_of(found) == [(0, 1), (0, 3), (1, 2), (2, 4), (3, 4)]


def test_packed_graphs_have_the_nodes_that_were_kept_in_their_order():
    graphs, _ = drawn(2, 50, 6, 0.5)
    keep = (graphs.operators >= 0) & (np.random.default_rng(3).random(graphs.operators.shape) < 0.6)
    found = graphs.packed(keep)
    for row in range(50):
        kept = np.flatnonzero(keep[row])
        assert found.operators[row].tolist() == [*graphs.operators[row, kept], *[-1] * (6 - len(kept))]
        assert (found.adjacency[row, : len(kept), : len(kept)] == graphs.adjacency[row][np.ix_(kept, kept)]).all()
        assert found.adjacency[row].sum() == graphs.adjacency[row][np.ix_(kept, kept)].sum()


def test_isomorphic_graphs_become_the_one_that_the_benchmark_enumerated_first():
    graphs = every_graph(GraphSpace("five", ("input", "a", "b", "c", "output"), 5))
    u, v = np.triu_indices(5, 1)
    bits = (graphs.adjacency[:, u, v] << (u + v * (v - 1) // 2)).sum(1)
    order = np.lexsort((*graphs.operators.T[::-1], bits))  # bits first, then the first operator, the second, ...
    graphs = graphs[order]
    _, first, of = np.unique(isomorphism_hash(graphs), return_index=True, return_inverse=True)
    assert len(first) < len(graphs)
    assert (in_order_of_enumeration(graphs).keys(5) == graphs.keys(5)[first][of]).all()


def smallest(types, adjacency):
    """One graph in the first of its topological orders, by whole numbers."""
    n = len(types)
    found = []
    for middle in itertools.permutations(range(1, n - 1)):
        order = [0, *middle, n - 1]
        edges = adjacency[np.ix_(order, order)]
        if not np.tril(edges).any():
            bits = sum(1 << int(u + v * (v - 1) // 2) for u, v in np.argwhere(edges))
            found.append(((bits, types[order].tolist()), edges.tolist()))
    (_, types), edges = min(found, key=lambda pair: pair[0])
    return types, edges


def test_reordered_graphs_of_eight_nodes_stay_isomorphic_and_larger_ones_as_they_are():
    graphs = connected(*drawn(2, 300, 8, 0.4))
    rng = np.random.default_rng(0)
    graphs = CellArrays(
        graphs.adjacency,
        np.where(graphs.operators == 1, rng.integers(1, 4, graphs.operators.shape), graphs.operators).astype(np.int8),
    )
    found = in_order_of_enumeration(graphs)
    moved = np.flatnonzero(found.keys(8) != graphs.keys(8))
    assert len(moved) > 50
    assert not np.tril(found.adjacency).any()
    assert all(isomorphic(labelled(found[row]), labelled(graphs[row])) for row in moved)
    assert (in_order_of_enumeration(found).keys(8) == found.keys(8)).all()
    full = graphs[graphs.sizes == 8][:12]
    for i, wanted in enumerate(found[graphs.sizes == 8][j] for j in range(len(full))):
        assert (wanted.operators.tolist(), wanted.adjacency.tolist()) == smallest(full.operators[i], full.adjacency[i])
    larger = random_graphs(0, 50, 9, 5)
    larger = larger[larger.sizes == 9]
    assert len(larger) > 0
    assert (in_order_of_enumeration(larger).keys(9) == larger.keys(9)).all()
