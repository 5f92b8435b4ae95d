"""Benchmarks as spaces: drawing, the way to Cells and back, and which row a cell is."""

import networkx
import numpy as np
import pytest
from made_tables import MADE_CELLS
from networkx.algorithms.isomorphism import categorical_node_match

from gemnet.cell import Cell, CellError
from gemnet.complexity import fit
from gemnet.drawing import draw_cell
from search.core.types import CellArrays, SearchError
from search.encoders import build_encoder
from search.spaces.dag import build_space, prune
from search.spaces.isomorphism import isomorphism_hash
from search.spaces.nasbench101 import NasBench101Space, pruned_both_ways
from search.spaces.nasbench201 import NasBench201Space

SAME_OPERATOR = categorical_node_match("operator", None)


def relabelled(cell, rng):
    """The same cell with its nodes in another topological order."""
    order, free = [], {0}
    while free:
        v = int(rng.choice(sorted(free)))
        order.append(v)
        free = {
            w
            for w in range(len(cell.nodes))
            if w not in order and cell.predecessors[w] and set(cell.predecessors[w]) <= {*order}
        }
    place = {v: i for i, v in enumerate(order)}
    return Cell(tuple(cell.nodes[v] for v in order), tuple((place[u], place[v]) for u, v in cell.edges))


def random_cell(rng, inner):
    """A cell of NAS-Bench-101's operators without dangling nodes, at most `inner` nodes between input and output."""
    while True:
        nodes = ("input", *rng.choice(["conv3x3", "conv1x1", "maxpool3x3"], inner).tolist(), "output")
        edges = [(u, v) for v in range(1, inner + 2) for u in range(v) if rng.random() < 0.4]
        try:
            cell = pruned_both_ways(Cell(nodes, tuple(edges)))
        except CellError:
            continue
        if cell is not None:
            return cell


def as_arrays(cells, space):
    return CellArrays.concatenate([space.from_cells([cell]) for cell in cells])


def test_cells_are_drawn_evenly_from_the_evaluated_rows(made101):
    space = NasBench101Space(made101)
    drawn = space.sample(np.random.default_rng(0), 5000)
    counts = np.bincount([space.table.row(drawn[i : i + 1]) for i in range(1000)], minlength=10)
    assert 60 < counts.min() < counts.max() < 140  # 100 each, spread 9.5
    again = space.sample(np.random.default_rng(0), 5000)
    assert np.array_equal(drawn.adjacency, again.adjacency)


def test_the_whole_table_is_drawn_from_where_the_pool_is_all(made101):
    space = NasBench101Space(made101, pool="all")
    drawn = space.sample(np.random.default_rng(0), 200)
    assert {space.table.row(drawn[i : i + 1]) for i in range(200)} == set(range(len(MADE_CELLS)))
    with pytest.raises(SearchError, match="pool: expected one of evaluated, all, found 'some'"):
        NasBench101Space(made101, pool="some")


@pytest.mark.parametrize("space", ["made101", "made201"])
def test_cells_come_back_from_arrays_and_find_their_row(space, request):
    space = build_space({"made101": "nasbench101", "made201": "nasbench201"}[space], data=request.getfixturevalue(space))
    cells = space.to_cells(space.table.cells)
    back = space.from_cells(cells)
    assert np.array_equal(back.adjacency, space.table.adjacency)
    assert np.array_equal(back.operators, space.table.operators)
    assert [space.row(cell) for cell in cells] == list(range(len(cells)))
    assert len({cell.digest() for cell in cells}) == len(cells)
    pruned = prune(space.table.cells)
    assert np.array_equal(pruned.adjacency, space.table.adjacency)  # nothing is dropped: every node is reached


@pytest.mark.parametrize("space", ["made101", "made201"])
def test_a_cell_with_its_nodes_in_another_order_is_the_same_row(space, request):
    space = build_space({"made101": "nasbench101", "made201": "nasbench201"}[space], data=request.getfixturevalue(space))
    rng = np.random.default_rng(0)
    orders = 0
    for row, cell in enumerate(space.to_cells(space.table.cells[:60])):
        for _ in range(5):
            other = relabelled(cell, rng)
            orders += other != cell
            assert space.row(other) == row
    assert orders > 5


def test_hashes_are_equal_exactly_for_cells_that_networkx_finds_isomorphic(made101):
    space, rng = NasBench101Space(made101), np.random.default_rng(1)
    space.checked = lambda cell: cell  # random cells with any number of edges
    cells = [random_cell(rng, int(rng.integers(1, 4))) for _ in range(150)]
    cells += [relabelled(cell, rng) for cell in cells[:50]] + [random_cell(rng, 5) for _ in range(50)]
    cells += [relabelled(cell, rng) for cell in cells[-50:]]
    hashes = isomorphism_hash(as_arrays(cells, space))
    graphs = [cell.to_networkx() for cell in cells]
    same = 0
    for i in range(len(cells)):
        for j in range(i):
            if len(cells[i].nodes) == len(cells[j].nodes) and len(cells[i].edges) == len(cells[j].edges):
                isomorphic = networkx.is_isomorphic(graphs[i], graphs[j], SAME_OPERATOR)
                assert (hashes[i] == hashes[j]) == isomorphic
                same += isomorphic
            else:
                assert hashes[i] != hashes[j]
    assert same > 150


def test_dangling_nodes_are_pruned_as_the_benchmark_does(made101):
    space = NasBench101Space(made101)
    cell = Cell(
        ("input", "conv3x3", "conv1x1", "conv3x3", "output", "maxpool3x3"),
        ((0, 1), (0, 3), (1, 4), (2, 4), (3, 5), (4, 5)),  # 2 is not reached, 3 and 5 lead nowhere
    )
    assert space.checked(cell) == Cell(("input", "conv3x3", "output"), ((0, 1), (1, 2)))
    assert space.row(cell) == 3


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        (("input", "conv3x3"), ((0, 1),), "no path leads from the input to the node 'output'"),
        (("input", "conv3x3", "output"), ((0, 1),), "no path leads"),
        (("input", "sepconv3x3", "output"), ((0, 1), (1, 2)), "the operator 'sepconv3x3'; expected conv3x3"),
        (
            ("input", *["conv3x3"] * 6, "output"),
            tuple((v, v + 1) for v in range(7)),
            "8 nodes, 7 edges; expected at most 7 and 9",
        ),
        (("input", *["conv1x1"] * 4, "output"), tuple((u, v) for v in range(6) for u in range(v)), "6 nodes, 15 edges"),
    ],
)
def test_cells_outside_the_space_are_refused(nodes, edges, message, made101):
    with pytest.raises(SearchError, match=message):
        NasBench101Space(made101).from_cells([Cell(nodes, edges)])


def test_cells_that_are_not_nasbench201s_are_refused(made201):
    space = NasBench201Space(made201)
    (cell,) = space.to_cells(space.table.cells[:1])
    with pytest.raises(SearchError, match="its edges are not those that all cells"):
        space.from_cells([Cell(cell.nodes, cell.edges[:-1])])
    with pytest.raises(SearchError, match="expected 6 of none, skip_connect"):
        space.from_cells([Cell(("input", *["conv3x3"] * 6, "output"), cell.edges)])
    codes = {tuple(row) for row in space.table.operators[:, 1:-1].tolist()}
    absent = next(ops for ops in np.ndindex(5, 5, 5, 5, 5, 5) if tuple(i + 1 for i in ops) not in codes)
    names = [space.operators[i] for i in absent]
    with pytest.raises(SearchError, match=r"is not in .*nasbench201\.npz"):
        space.row(Cell(("input", *names, "output"), cell.edges))


def test_a_benchmarks_cell_is_drawn_and_saved_but_no_network_is_built_of_it(made101, made201, tmp_path):
    for space in (NasBench101Space(made101), NasBench201Space(made201)):
        for cell in space.to_cells(space.table.cells[7:9]):
            draw_cell(cell, tmp_path / "cell.png")
            cell.save(tmp_path / "cell.json")
            assert Cell.load(tmp_path / "cell.json") == cell
            assert not cell.buildable
            with pytest.raises(CellError, match=r"NAS-Bench-[12]01.*builds no network of it; expected operators conv1x1"):
                fit(cell, 300e6)


@pytest.mark.parametrize("kind", ["adjacency", "autoencoder", "kernel_guided"])
@pytest.mark.parametrize("space", ["made101", "made201"])
def test_every_encoder_embeds_the_cells(kind, space, request):
    space = build_space({"made101": "nasbench101", "made201": "nasbench201"}[space], data=request.getfixturevalue(space))
    settings = {} if kind == "adjacency" else {"dim": 6, "hidden": [16], "iterations": 30}
    encoder = build_encoder(kind, space, **settings)
    figures = encoder.fit(0)
    vectors = encoder.embed(prune(space.sample(np.random.default_rng(0), 20)))
    assert vectors.shape == (20, encoder.dim)
    assert np.isfinite(vectors).all()
    assert np.isfinite(list(figures.values())).all()


def test_all_cells_of_nasbench101_have_a_hash_of_their_own(real101):
    table = real101.table
    assert len(table) == 423_624
    assert len(table.evaluated) == 20_001
    assert len(np.unique(isomorphism_hash(table.cells))) == len(table)


def test_cells_of_nasbench101_find_their_row_in_any_order(real101):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.integers(20_001, size=60), rng.integers(20_001, len(real101.table), size=20)])
    for row, cell in zip(rows, real101.to_cells(real101.table.cells[rows])):
        assert real101.row(cell) == real101.row(relabelled(cell, rng)) == row


def test_all_15625_cells_of_nasbench201_are_there_once(real201):
    table = real201.table
    assert len(table) == len(table.evaluated) == len(np.unique(isomorphism_hash(table.cells))) == 15_625
