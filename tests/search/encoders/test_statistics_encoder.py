"""The counts and shares against networkx on random cells."""

from itertools import pairwise, product

import networkx as nx
import numpy as np
import pytest

from gemnet.cell import Cell
from search.core.types import CellArrays, SearchError
from search.encoders import build_encoder, load_encoder, save_encoder
from search.encoders.counts import count
from search.encoders.flows import MOST, flow, shares
from search.encoders.graph_features import GROUP_WEIGHTS
from search.encoders.simplify import simplify
from search.spaces.dag import DagSpace, prune

OPERATORS = ("conv1x1", "sepconv3x3")


@pytest.fixture(scope="module")
def cells():
    return prune(DagSpace(7, OPERATORS, (0.3, 0.6)).sample(np.random.default_rng(0), 40))


def whole(groups: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate(parts, axis=1) for name, parts in groups.items()}


def graph(cells: CellArrays, i: int) -> nx.DiGraph:
    g = nx.DiGraph(np.argwhere(cells.adjacency[i]).tolist())
    g.add_node(0)
    nx.set_node_attributes(g, {v: int(cells.operators[i, v]) for v in g}, "kind")
    return g


def test_paths_are_those_that_networkx_enumerates(cells):
    groups = whole(count(cells, 2, None, 7))
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
    groups = whole(count(cells, 2, None, 7))
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
    save_encoder(tmp_path, encoder)
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


@pytest.mark.parametrize("end", [None, 2])
def test_shares_flows_and_ways_are_those_of_all_paths(end):
    """Paths one by one, by their probability; end: the last operator is where paths end, and joins what comes in."""
    space = DagSpace(7, OPERATORS, (0.3, 0.6))
    cells = prune(space.sample(np.random.default_rng(2), 30))
    if end is not None:
        operators, sink = np.where(cells.operators > 0, 1, cells.operators).astype(np.int8), cells.adjacency.copy()
        leaves = (operators >= 0) & ~cells.adjacency.any(2)
        leaves[:, -1] = False
        keep = (operators[:, -1] < 0) & leaves.any(1)
        sink[:, :, -1] |= leaves
        operators[:, -1] = end
        cells = CellArrays(sink, operators)[keep]
        assert len(cells) > 3
    found, groups = shares(cells, end), whole(flow(cells, 2, end))
    for i in range(len(cells)):
        g = graph(cells, i)
        kind, ends = nx.get_node_attributes(g, "kind"), [v for v in g if g.out_degree(v) == 0]
        paths = [[0]] if ends == [0] else [p for e in ends for p in nx.all_simple_paths(g, 0, e)]
        back = np.array([np.prod([1 / g.in_degree(v) for v in p[1:]]) for p in paths]) / len(ends)
        forward = np.array([np.prod([1 / g.out_degree(v) for v in p[:-1]]) for p in paths])
        short = np.array([np.exp(-(len(p) - 1)) for p in paths])
        assert back.sum() == pytest.approx(1)
        assert forward.sum() == pytest.approx(1)
        for v in g:
            on = np.array([v in p for p in paths])
            assert found.output[i, v] == pytest.approx(back[on].sum(), rel=1e-5)
            assert found.input[i, v] == pytest.approx(forward[on].sum(), rel=1e-5)
            assert found.depth[i, v] == max(p.index(v) for p in paths if v in p)
            assert found.height[i, v] == max(len(p) - 1 - p.index(v) for p in paths if v in p)
        joined = set(ends) - {0} if end is None else set(g.predecessors(ends[0])) - {0}
        width = {v: 1 / len(joined) if v in joined else 0.0 for v in g}
        for v in reversed(list(nx.topological_sort(g))):
            if v and v not in joined:
                width[v] = max((width[w] for w in g.successors(v)), default=0.0)
        assert [found.width[i, v] for v in g] == pytest.approx([width[v] for v in g])
        numbers = np.array([[sum(kind[v] == k for v in p) for k in (1, 2)] for p in paths])
        expected = []
        for chance in (back, forward, np.ones(len(paths)), short):
            mean = np.average(numbers, axis=0, weights=chance)
            covariance = np.cov(numbers.T, aweights=chance, bias=True).reshape(2, 2) if len(paths) > 1 else np.zeros((2, 2))
            expected += [*mean, *np.sqrt(np.maximum(np.diag(covariance), 0)), covariance[0, 1]]
        assert np.allclose(groups["ways"][i], expected, atol=1e-4)
        steps = [
            np.average(numbers[:, k] <= c, weights=chance) for chance in (back, forward) for k in (0, 1) for c in range(MOST)
        ]
        assert np.allclose(groups["steps"][i], steps, atol=1e-5)
        flows = np.zeros((2, 3, 3))
        for table, chance in zip(flows, (back, forward)):
            for p, weight in zip(paths, chance):
                for u, v in pairwise(p):
                    table[kind[u], kind[v]] += weight
        assert np.allclose(groups["flows"][i], flows.ravel(), atol=1e-5)
        of = [[v for v in g if kind[v] == k] for k in (1, 2)]
        out, into = found.output[i], found.input[i]
        measures = (
            [out[nodes].sum() for nodes in of]
            + [out[nodes].max(initial=0) for nodes in of]
            + [(out[nodes] ** 2).sum() for nodes in of]
            + [into[nodes].sum() for nodes in of]
            + [(out[nodes] * into[nodes]).sum() for nodes in of]
            + [np.minimum(out[nodes], into[nodes]).sum() for nodes in of]
        )
        assert np.allclose(groups["shares"][i], measures, atol=1e-5)
        inputs = [[1, *(g.in_degree(v) for v in p[1:])] for p in paths]  # the input's own counts as one
        assert groups["fan"][i, 0] == pytest.approx(sum(c * sum(found) for c, found in zip(back, inputs)), rel=1e-5)
        assert groups["fan"][i, 1] == pytest.approx(sum(c * np.log(found).sum() for c, found in zip(back, inputs)), abs=1e-4)


@pytest.mark.parametrize("operators", [OPERATORS, OPERATORS[:1]])
def test_numbers_of_large_cells_are_finite(operators):
    space = DagSpace(250, operators, (0.9, 1.0))
    cells = prune(space.sample(np.random.default_rng(0), 2))
    for groups in (flow(cells, len(operators), None), count(cells, len(operators), None, 250)):
        assert all(np.isfinite(values).all() for values in whole(groups).values())


def test_numbers_that_never_differ_are_zeros():
    space = DagSpace(5, ("conv1x1",), (1.0, 1.0))  # of one cell
    encoder = build_encoder("statistics", space)
    encoder.fit(0)
    assert not encoder.embed(prune(space.sample(np.random.default_rng(1), 8))).any()


class WithOutput:
    num_nodes, operators = 6, ("skip_connect", "conv1x1", "output")


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (WithOutput, {"dropped": ("output",)}, "'output' ends paths"),
        (WithOutput, {"identities": ("output",)}, "'output' ends paths"),
        (WithOutput, {"cells": "no"}, "cells: expected True or False, found 'no'"),
        (WithOutput, {"dropped": ("conv1x1",), "identities": ("conv1x1",)}, "both dropped and an identity"),
        (DagSpace(5), {"identities": ("conv1x1",)}, "identities: expected none in a space without 'output'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(space, settings, message):
    with pytest.raises(SearchError, match=message):
        build_encoder("statistics", space, **settings)


def test_what_gives_zeros_and_what_does_nothing_are_no_part_of_what_a_cell_computes():
    class WithOutput:
        num_nodes, operators = 6, ("none", "skip_connect", "nor_conv_1x1", "output")

        def sample(self, rng, number):
            return self.from_cells([plain, *same, twice, dead])

        def from_cells(self, cells):
            return CellArrays.of(cells, self.num_nodes, ("input", *self.operators))

    space, names = WithOutput(), {"dropped": ("none",), "identities": ("skip_connect",)}

    def cell(nodes, edges):
        return Cell(("input", *nodes), edges)

    plain = cell(("nor_conv_1x1", "output"), ((0, 1), (1, 2)))
    same = [
        cell(("skip_connect", "nor_conv_1x1", "output"), ((0, 1), (1, 2), (2, 3))),
        cell(("nor_conv_1x1", "skip_connect", "skip_connect", "output"), ((0, 1), (1, 2), (2, 3), (3, 4))),
        cell(("nor_conv_1x1", "none", "output"), ((0, 1), (0, 2), (1, 3), (2, 3))),
        cell(("nor_conv_1x1", "none", "nor_conv_1x1", "output"), ((0, 1), (0, 2), (2, 3), (1, 4), (3, 4))),
        cell(("nor_conv_1x1", "nor_conv_1x1", "none", "output"), ((0, 1), (0, 2), (2, 3), (1, 4), (3, 4))),
    ]
    twice = cell(("nor_conv_1x1", "skip_connect", "skip_connect", "output"), ((0, 1), (1, 2), (1, 3), (2, 4), (3, 4)))
    dead = cell(("none", "output"), ((0, 1), (1, 2)))
    encoder = build_encoder("statistics", space, **names)
    encoder.fit(0)
    vectors = encoder.embed(space.from_cells([plain, *same, twice, dead]))
    assert (vectors[1:-2] == vectors[0]).all()
    assert not np.allclose(vectors[-2], vectors[0])
    assert np.isfinite(vectors).all()
    codes = {label: [space.operators.index(name) + 1 for name in found] for label, found in names.items()}
    found = simplify(space.from_cells([twice]), **codes, end=4)
    assert found.adjacency[0, 1, 4] == 2  # two edges, and nothing else of the ways between
    assert found.adjacency.sum() == 3
    with pytest.raises(SearchError, match="'none' is both dropped and an identity"):
        build_encoder("statistics", space, dropped=("none",), identities=("none",))
    with pytest.raises(SearchError, match="identities: unknown operator 'nothing'"):
        build_encoder("statistics", space, identities=("nothing",))


def test_groups_are_the_vectors_parts():
    space = DagSpace(7, OPERATORS, (0.3, 0.6))
    encoder = build_encoder("statistics", space)
    encoder.fit(0)
    assert sum(encoder.groups) == encoder.dim
    cells = prune(space.sample(np.random.default_rng(1), 4096))
    parts = np.split(encoder.embed(cells), np.cumsum(encoder.groups)[:-1], axis=1)
    sizes = [len(found) for found in (count(cells[:1], 2, None, 7) | flow(cells[:1], 2, None)).values()]
    assert len(parts) == sum(sizes)
    means = np.array([(part**2).sum(1).mean() for part in parts])
    for mean, weight in zip(np.add.reduceat(means, np.cumsum([0, *sizes[:-1]])), GROUP_WEIGHTS.values(), strict=True):
        assert mean == pytest.approx(weight**2, rel=0.3)  # of other cells than those of `fit`
