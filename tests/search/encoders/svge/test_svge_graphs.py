import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small_space import CELLS, SMALL, random_graphs, same, slowly_valid

from search.core.types import CellArrays, SearchError
from search.encoders.svge.graph_files import read_enas
from search.encoders.svge.graph_spaces import (
    cell_space,
    cells_of_graphs,
    enas_space,
    graphs_of_cells,
    graphs_of_table,
    nasbench101_space,
    nasbench201_space,
)
from search.encoders.svge.graphs import GraphSpace, split
from search.encoders.svge.network import GraphEncoder
from search.encoders.svge.repair import in_order_of_enumeration
from search.spaces import nasbench101, nasbench201
from search.spaces.dag import prune

DATA = Path(os.environ.get("GEMNET_DATA", Path(__file__).parents[5] / "shared" / "data"))


def real(name):
    if not (DATA / name).is_file():
        pytest.skip(f"needs {name}: set GEMNET_DATA to the folder that holds it")
    return DATA / name


def test_validity_is_that_of_the_definition_graph_by_graph(graphs):
    found = CellArrays.concatenate([random_graphs(0, 3000, 4, 5), graphs])
    expected = [slowly_valid(t.tolist(), a.tolist(), SMALL.end) for t, a in zip(found.operators, found.adjacency)]
    assert SMALL.valid(found).tolist() == expected
    assert len(graphs) < sum(expected) < len(found)


def test_keys_are_equal_where_graphs_are_the_same_whatever_their_padding():
    found = random_graphs(1, 200, 3, 3)
    keys, padded = found.keys(5), found.padded(6).keys(5)
    assert (keys == padded).all()
    expected = [[same(found[i], found[j]) for j in range(200)] for i in range(200)]
    assert (keys[:, None] == keys[None, :]).tolist() == expected


def test_rules_of_the_benchmarks_spaces():
    wiring, space = nasbench201.ADJACENCY, nasbench201_space()
    types = np.array([[0, 1, 2, 3, 4, 5, 1, 6]], np.int8)
    assert space.valid(CellArrays(wiring[None], types)).all()
    more = wiring.copy()
    more[0, 7] = True
    assert not space.valid(CellArrays(more[None], types)).any()

    space, chain = enas_space(), np.eye(8, k=1, dtype=bool)
    types = np.array([[0, 1, 2, 3, 4, 5, 6, 7]], np.int8)
    skip, to_output, broken = chain.copy(), chain.copy(), chain.copy()
    skip[0, 4] = to_output[3, 7] = broken[0, 3] = broken[1, 3] = True
    broken[2, 3] = False
    broken[2, 4] = True
    found = [space.valid(CellArrays(adjacency[None], types)).item() for adjacency in (chain, skip, to_output, broken)]
    assert found == [True, True, False, False]
    assert not enas_space(5).valid(CellArrays(chain[None], types)).any()
    assert not enas_space(12).valid(CellArrays(chain[None], types)).any()

    space, dense = nasbench101_space(), np.triu(np.ones((1, 5, 5), bool), 1)  # 10 edges
    types = np.array([[0, 1, 2, 3, 4]], np.int8)
    fewer = dense.copy()
    fewer[0, 0, 4] = False
    assert [space.valid(CellArrays(edges, types)).item() for edges in (dense, fewer)] == [False, True]


@pytest.mark.parametrize(
    "space", [enas_space(), nasbench101_space(), nasbench201_space(), cell_space(CELLS)], ids=lambda space: space.name
)
def test_spaces_reach_other_processes_with_their_rules(space, graphs):
    again, padded = pickle.loads(pickle.dumps(space)), graphs.padded(space.max_nodes)
    assert (again.name, again.types, again.max_nodes) == (space.name, space.types, space.max_nodes)
    assert (again.rule(padded) == space.rule(padded)).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"types": ("input", "output"), "max_nodes": 4}, "3 to 127 distinct types"),
        ({"types": ("input", "a", "a", "output"), "max_nodes": 4}, "3 to 127 distinct types"),
        ({"types": SMALL.types, "max_nodes": 1}, "max_nodes from 2, found 1"),
        ({"types": SMALL.types, "max_nodes": 4, "min_nodes": 5}, "min_nodes from 2 to 4, found 5"),
        ({"types": SMALL.types, "max_nodes": 4, "min_nodes": 1}, "min_nodes from 2 to 4, found 1"),
    ],
)
def test_spaces_that_cannot_be_are_told(settings, told):
    with pytest.raises(SearchError, match=f"space odd: expected {told}"):
        GraphSpace("odd", **settings)


def test_cells_become_graphs_and_come_back():
    cells = prune(CELLS.sample(np.random.default_rng(0), 200))
    found = graphs_of_cells(CELLS, cells)
    space = cell_space(CELLS)
    assert space.valid(space.check(found)).all()
    assert found.operators.shape == (200, 7)
    back = CELLS.to_cells(cells_of_graphs(CELLS, found))
    assert [cell.digest() for cell in back] == [cell.digest() for cell in CELLS.to_cells(cells)]
    leaf_and_more = CellArrays(found.adjacency.copy(), found.operators.copy())
    leaf_and_more.adjacency[np.arange(200), 0, found.sizes - 1] = True  # the input is no leaf
    assert not space.valid(leaf_and_more).any()


GOOD_LINE = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302"


def test_enas_lines_are_read_as_written(tmp_path):
    (tmp_path / "enas.txt").write_text(GOOD_LINE)
    found, accuracies = read_enas(tmp_path / "enas.txt", burn_in=0)
    assert accuracies.tolist() == [0.7302]
    assert found.operators.tolist() == [[0, 2, 5, 6, 1, 3, 4, 7]]
    edges = {(i, i + 1) for i in range(7)} | {(0, 4), (1, 4), (2, 4), (0, 5), (1, 5), (2, 5), (3, 5), (4, 6)}
    assert set(map(tuple, np.argwhere(found.adjacency[0]).tolist())) == edges


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[[1]], 0.7",
        GOOD_LINE[:-8],
        GOOD_LINE.replace("0.7302", "7.3"),
        GOOD_LINE.replace("0.7302", "NaN"),
        GOOD_LINE.replace("0.7302", "1" + "0" * 400),
        GOOD_LINE.replace("0.7302", "true"),
        GOOD_LINE.replace("0.7302", '"0.7"'),
        GOOD_LINE.replace("[1]", "[6]"),
        GOOD_LINE.replace("[4, 0]", "[4, 2]"),
        GOOD_LINE.replace("[4, 0]", "[4, true]"),
        GOOD_LINE.replace("[4, 0]", "4"),
        GOOD_LINE + ", 3",
        "__import__('os')",
        "[" * 100_000,
    ],
)
def test_a_malformed_enas_line_is_told_with_its_file_and_number(tmp_path, line):
    (tmp_path / "enas.txt").write_text(f"{GOOD_LINE}\n{line}\n{GOOD_LINE}\n")
    with pytest.raises(SearchError, match=r"enas\.txt, line 2: expected"):
        read_enas(tmp_path / "enas.txt", burn_in=0)


@pytest.mark.parametrize("reader", [read_enas, nasbench101.load_table, nasbench201.load_table])
def test_a_file_that_is_missing_or_something_else_is_told(tmp_path, reader):
    with pytest.raises(SearchError, match="nowhere"):
        reader(tmp_path / "nowhere")
    (tmp_path / "other").write_bytes(b"\xff\xfe0")
    with pytest.raises(SearchError, match="other"):
        reader(tmp_path / "other")
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    with pytest.raises(SearchError, match=r"arrays\.npz"):
        reader(tmp_path / "arrays.npz")


def read_nasbench101(path):
    table = nasbench101.load_table(path)
    return graphs_of_table(table), table.test_accuracy()


def read_nasbench201(path):
    table = nasbench201.load_table(path)
    return graphs_of_table(table), table.validation_accuracy


@pytest.mark.parametrize(
    ("name", "reader", "space", "count", "distinct"),
    [
        ("enas_final_structures6.txt", read_enas, enas_space(), 19_020, 19_015),
        ("nasbench101.npz", read_nasbench101, nasbench101_space(), 423_624, 423_624),
        ("nasbench201.npz", read_nasbench201, nasbench201_space(), 15_625, 15_625),
    ],
    ids=["ENAS", "NAS-Bench-101", "NAS-Bench-201"],
)
def test_every_graph_of_the_real_files_is_valid_in_its_space(name, reader, space, count, distinct):
    found, accuracies = reader(real(name))
    found = space.check(found)
    assert len(found) == len(accuracies) == count
    assert space.valid(found).all()
    assert len(np.unique(found.keys(space.max_nodes))) == distinct
    assert 0 < accuracies.min() < accuracies.max() < 1
    if space.name == "nasbench101":
        assert (in_order_of_enumeration(found).keys(7) == found.keys(7)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("exchange", "sharing"), [(False, 1224), (True, 0)])
def test_how_many_real_cells_share_their_vector_with_another(exchange, sharing):
    found = nasbench101_space().check(read_nasbench101(real("nasbench101.npz"))[0])
    torch.manual_seed(0)
    encoder = GraphEncoder(5, 4, 32, 2, exchange).double()
    with torch.inference_mode():
        parts = [
            encoder(torch.from_numpy(part.operators).long(), torch.from_numpy(part.adjacency).double())[0]
            for part in (found[start : start + 8192] for start in range(0, len(found), 8192))
        ]
    vectors = torch.cat(parts).numpy()
    vectors = vectors[np.argsort(vectors[:, 0])]
    same = np.abs(np.diff(vectors, axis=0)).max(1) < 1e-11
    assert (np.r_[False, same] | np.r_[same, False]).sum() == sharing


def test_a_split_leaves_nothing_out_and_has_nothing_twice():
    train, test = split(19_020)
    assert (len(train), len(test)) == (17_118, 1_902)
    assert sorted([*train, *test]) == list(range(19_020))
    assert (split(19_020)[0] == train).all()
    assert not (split(19_020, seed=1)[0] == train).all()
