import itertools
import random

import networkx
import numpy as np
import pytest
from networkx.algorithms.isomorphism import DiGraphMatcher, categorical_node_match

from gemnet.canonical import certificate
from gemnet.cell import MAX_NODES, Cell


def relabelled(rng, labels, edges):
    """The same graph with its vertices in another, random topological order."""
    into = {v: set() for v in range(len(labels))}
    for u, v in edges:
        into[v].add(u)
    order = []
    ready = [v for v, before in into.items() if not before]
    while ready:
        v = ready.pop(rng.randrange(len(ready)))
        order.append(v)
        for w, before in into.items():
            if v in before:
                before.remove(v)
                if not before:
                    ready.append(w)
    place = {v: i for i, v in enumerate(order)}
    return [labels[v] for v in order], sorted((place[u], place[v]) for u, v in edges)


def isomorphic(one, two):
    """VF2 of networkx on (labels, edges), with labels and directions.

    What an isomorphism keeps anyway, the numbers of neighbours, ancestors and descendants, is added to the labels: without it
    VF2 can take hours to deny an isomorphism of two sparse graphs of 30 vertices.
    """
    graphs = []
    for labels, edges in (one, two):
        graph = networkx.DiGraph()
        graph.add_nodes_from(range(len(labels)))
        graph.add_edges_from(edges)
        for v, label in enumerate(labels):
            reach = len(networkx.ancestors(graph, v)), len(networkx.descendants(graph, v))
            graph.nodes[v]["label"] = (label, graph.in_degree(v), graph.out_degree(v), *reach)
        graphs.append(graph)
    kept = [sorted(graph.nodes[v]["label"] for v in graph) for graph in graphs]
    return kept[0] == kept[1] and DiGraphMatcher(*graphs, node_match=categorical_node_match("label", None)).is_isomorphic()


def brute_force_classes(n, graphs):
    """For each of `graphs` (operators 0 or 1 of vertices 1 to n - 1, edges) the smallest code of all its n! relabellings.

    Vertex 0, the input, stays; any other permutation counts, topological or not.
    """
    pairs = list(itertools.combinations(range(n), 2))
    has = np.array([[pair in edges for pair in pairs] for _, edges in graphs])
    operators = np.array([operators for operators, _ in graphs])
    smallest = np.full(len(graphs), np.iinfo(np.int64).max)
    for permutation in itertools.permutations(range(1, n)):
        new = (0, *permutation)
        code = np.zeros(len(graphs), np.int64)
        for i, (u, v) in enumerate(pairs):
            code += has[:, i].astype(np.int64) << (new[u] * n + new[v])
        for v in range(1, n):
            code += operators[:, v - 1].astype(np.int64) << (n * n + new[v])
        smallest = np.minimum(smallest, code)
    return smallest.tolist()


def check_against_brute_force(n, graphs):
    classes = brute_force_classes(n, graphs)
    form_of, class_of = {}, {}
    for (operators, edges), number in zip(graphs, classes):
        form = certificate(["input", *("ab"[op] for op in operators)], edges)
        assert form[1] == "exact"
        assert form_of.setdefault(number, form) == form
        assert class_of.setdefault(form, number) == number
    return len(form_of)


def all_graphs(n, operators):
    pairs = list(itertools.combinations(range(n), 2))
    for there in itertools.product((False, True), repeat=len(pairs)):
        edges = {pair for pair, yes in zip(pairs, there) if yes}
        for ops in itertools.product(range(operators), repeat=n - 1):
            yield ops, edges


@pytest.mark.parametrize(("n", "classes"), [(2, 4), (3, 26), (4, 292), (5, 6223)])
def test_certificates_are_equal_exactly_for_isomorphic_graphs_among_all_of_up_to_5_vertices(n, classes):
    assert check_against_brute_force(n, list(all_graphs(n, 2))) == classes


def test_certificates_are_equal_exactly_for_isomorphic_graphs_among_6_vertices():
    rng = random.Random(0)
    one_operator = [graph for graph in all_graphs(6, 1) if rng.random() < 0.1]
    check_against_brute_force(6, one_operator)
    pairs = list(itertools.combinations(range(6), 2))
    sparse = [(rng.choices((0, 1), k=5), set(rng.sample(pairs, rng.randint(2, 5)))) for _ in range(3000)]
    assert check_against_brute_force(6, sparse) < 3000


@pytest.mark.slow
def test_certificates_are_equal_exactly_for_isomorphic_graphs_among_all_of_6_vertices():
    check_against_brute_force(6, list(all_graphs(6, 2)))


def test_the_digest_of_a_30_node_cell_is_the_same_after_any_topological_relabelling(random_cell):
    rng = random.Random(1)
    digests = set()
    for _ in range(200):
        cell = random_cell(rng, 30, rng.uniform(0.03, 0.6), ("conv1x1", "sepconv3x3"))
        nodes, edges = relabelled(rng, cell.nodes, cell.edges)
        if nodes[0] == "input":
            assert Cell(nodes, edges).digest() == cell.digest()
        assert certificate(nodes, edges) == certificate(cell.nodes, cell.edges)
        digests.add(cell.digest())
    assert len(digests) == 200
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests)


def test_digests_of_30_node_cells_that_differ_in_one_edge_or_operator_agree_with_vf2(random_cell):
    rng = random.Random(2)
    same = 0
    for _ in range(300):
        density = rng.choice((0.04, 0.06, 0.1, 0.3))
        cell = random_cell(rng, 30, density, ("conv1x1",) if rng.random() < 0.5 else ("conv1x1", "sepconv3x3"))
        nodes, edges = list(cell.nodes), set(cell.edges)
        if rng.random() < 0.3:
            v = rng.randrange(1, 30)
            nodes[v] = rng.choice(("conv1x1", "sepconv3x3"))
        else:  # move one edge, often to a vertex like its old end
            u, v = rng.choice(sorted(edges))
            edges.remove((u, v))
            edges.add(rng.choice([(u, w) for w in range(u + 1, 30) if (u, w) not in edges]))
        other = relabelled(rng, nodes, edges)
        expected = isomorphic((cell.nodes, cell.edges), other)
        assert (certificate(cell.nodes, cell.edges) == certificate(*other)) == expected
        same += expected
    assert 30 < same < 270  # both answers were tried


def below_input(lower, edges):
    """A graph of vertices 1 to `lower` that the input feeds, and more vertices that only `edges` feed."""
    count = 1 + max(v for _, v in edges)
    return ["input"] + ["conv1x1"] * (count - 1), [(0, v) for v in range(1, lower + 1)] + sorted(edges)


def bipartite(size, joined):
    return below_input(size, [(1 + i, 1 + size + j) for i in range(size) for j in range(size) if joined(i, j)])


def cycles(*lengths):
    """The union of even cycles of 2 x `lengths` edges, each drawn as upper and lower vertices in turn."""
    size, start, edges = sum(lengths), 0, []
    for length in lengths:
        for i in range(length):
            edges += [(1 + start + i, 1 + size + start + i), (1 + start + i, 1 + size + start + (i + 1) % length)]
        start += length
    return below_input(size, edges)


def random_regular(size, degree, seed):
    rng = random.Random(seed)
    while True:
        edges = {(1 + i, 1 + size + j) for _ in range(degree) for i, j in enumerate(rng.sample(range(size), size))}
        if len(edges) == size * degree:
            return below_input(size, edges)


def chains(count, length, branches=1):
    labels, edges = ["input"], []
    for _ in range(count):
        before = 0
        for _ in range(length):
            new = range(len(labels), len(labels) + branches)
            edges += [(before, v) for v in new]
            labels += ["conv1x1"] * branches
            before = new[0]
    return labels, edges


def projective_plane(order):
    points = [p for p in itertools.product(range(order), repeat=3) if any(p) and next(x for x in p if x) == 1]
    return bipartite(len(points), lambda i, j: sum(a * b for a, b in zip(points[i], points[j])) % order == 0)


SYMMETRIC = {
    "twins": below_input(10, [(1 + i, 11 + j) for i in range(10) for j in range(400)]),
    "parallel chains": chains(100, 10),
    "chains with twins": chains(20, 10, branches=5),
    "one chain of 1,024 nodes": chains(1, MAX_NODES - 1),
    "star of 1,023 leaves": chains(MAX_NODES - 1, 1),
    "complete DAG of 1,024 nodes": (
        ["input"] + ["conv1x1"] * (MAX_NODES - 1),
        list(itertools.combinations(range(MAX_NODES), 2)),
    ),
    "complete bipartite": bipartite(500, lambda i, j: True),
    "crown: complete bipartite less a matching": bipartite(500, lambda i, j: i != j),
    "matching": bipartite(500, lambda i, j: i == j),
    "half graph": bipartite(500, lambda i, j: i <= j),
    "complete bipartite less cycles": bipartite(60, lambda i, j: i // 6 != j // 6 or (j - i) % 6 > 1),
    "equal cycles": cycles(*[10] * 50),
    "different cycles": cycles(*range(3, 25)),
    "random regular": random_regular(50, 3, 0),
    "dense random regular": random_regular(14, 5, 0),
    "Fano plane": projective_plane(2),
    "5-cube": bipartite(16, lambda i, j: (i ^ j).bit_count() == 1 or i ^ j == 0b1111),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_graphs_have_an_exact_certificate_that_relabelling_does_not_change(name):
    labels, edges = SYMMETRIC[name]
    assert len(labels) <= MAX_NODES
    form = certificate(labels, edges)
    assert form[1] == "exact"
    if len(edges) < 10_000:
        assert certificate(*relabelled(random.Random(3), labels, edges)) == form


def test_unions_of_cycles_of_other_lengths_are_told_apart():
    unions = [(10,), (5, 5), (4, 6), (3, 7), (3, 3, 4)]
    assert len({certificate(*cycles(*lengths)) for lengths in unions}) == len(unions)
    assert certificate(*cycles(3, 4, 3)) == certificate(*cycles(3, 3, 4))


def test_random_regular_graphs_of_other_spectra_are_told_apart():
    graphs = [random_regular(6, 3, seed) for seed in range(40)]
    spectra = []
    for labels, edges in graphs:
        adjacency = np.zeros((len(labels), len(labels)))
        adjacency[tuple(np.array(edges).T)] = 1
        spectra.append(tuple(np.linalg.eigvalsh(adjacency + adjacency.T).round(6)))
    forms = [certificate(*graph) for graph in graphs]
    for (one, a), (two, b) in itertools.combinations(list(zip(forms, spectra)), 2):
        assert a == b or one != two
    assert len(set(spectra)) > 2
    assert len(set(forms)) < 40  # some are isomorphic


TOO_SYMMETRIC = {
    "one long cycle": cycles(500),
    "projective plane of order 3": projective_plane(3),
    "random regular graph of 801 vertices": random_regular(400, 3, 0),
}


@pytest.mark.parametrize("name", TOO_SYMMETRIC)
def test_a_graph_beyond_the_work_limit_keeps_its_certificate_under_relabelling(name):
    labels, edges = TOO_SYMMETRIC[name]
    form = certificate(labels, edges)
    assert form[1] == "stable"
    assert certificate(*relabelled(random.Random(4), labels, edges)) == form


def test_the_work_limit_gives_the_same_verdict_for_every_order_of_the_vertices(monkeypatch):
    labels, edges = random_regular(7, 3, 0)
    rng = random.Random(5)
    orders = [relabelled(rng, labels, edges) for _ in range(10)]
    verdicts = set()
    for limit in range(0, 4000, 200):
        monkeypatch.setattr("gemnet.canonical.WORK_LIMIT", limit)
        forms = {certificate(*order) for order in orders}
        assert len(forms) == 1
        verdicts.add(forms.pop()[1])
    assert verdicts == {"exact", "stable"}


def test_dropped_nodes_count_in_the_digest_of_a_cell_and_not_in_that_of_its_network():
    cell = Cell(("input", "conv1x1", "conv3x3"), ((0, 2), (1, 2)))
    other = Cell(("input", "conv1x1", "conv3x3"), ((0, 2),))
    assert cell.digest() != other.digest()
    assert cell.pruned().digest() == other.pruned().digest()


def test_direction_and_operators_and_the_input_count():
    a = Cell(("input", "conv1x1", "conv3x3", "conv1x1"), ((0, 1), (1, 2), (0, 3), (2, 3)))
    b = Cell(("input", "conv3x3", "conv1x1", "conv1x1"), ((0, 1), (1, 2), (0, 3), (2, 3)))
    fork = Cell(("input", "conv1x1", "conv1x1", "conv1x1"), ((0, 1), (1, 2), (1, 3)))
    join = Cell(("input", "conv1x1", "conv1x1", "conv1x1"), ((0, 1), (0, 2), (1, 3), (2, 3)))
    path = Cell(("input", "conv1x1", "conv1x1", "conv1x1"), ((0, 1), (1, 2), (2, 3)))
    assert len({cell.digest() for cell in (a, b, fork, join, path)}) == 5


def test_the_provenance_does_not_count_in_the_digest():
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    assert Cell(cell.nodes, cell.edges, {"seed": 1}).digest() == cell.digest()
