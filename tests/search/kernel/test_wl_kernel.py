from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gemnet.cell import Cell
from search.core.types import CellArrays, SearchError
from search.kernel import wl_labels
from search.kernel.wl import DIRECTIONS, wl_gram, wl_kernel
from search.spaces.dag import DagSpace, prune


def random_cells(count: int, num_nodes: int = 30, seed: int = 0, operators=("conv1x1", "sepconv3x3")) -> CellArrays:
    return prune(DagSpace(num_nodes, operators).sample(np.random.default_rng(seed), count))


def similar_cells(count: int, num_nodes: int, seed: int) -> CellArrays:
    """Cells that share many labels: sparse, of one operator."""
    return prune(DagSpace(num_nodes, ("conv1x1",), density=(0.05, 0.2)).sample(np.random.default_rng(seed), count))


def with_operators(cells: CellArrays, count: int, rng: np.random.Generator) -> CellArrays:
    """The same graphs, their operators drawn from `count`."""
    drawn = rng.integers(1, count + 1, cells.operators.shape, dtype=np.int8)
    return CellArrays(cells.adjacency, np.where(cells.operators > 0, drawn, cells.operators))


def shuffled(cells: CellArrays, rng: np.random.Generator) -> CellArrays:
    """Each cell with its nodes in a random order of its own, in general not a topological one."""
    adjacency, operators = np.empty_like(cells.adjacency), np.empty_like(cells.operators)
    for b in range(len(cells)):
        order = rng.permutation(cells.operators.shape[1])
        adjacency[b], operators[b] = cells.adjacency[b][np.ix_(order, order)], cells.operators[b][order]
    return CellArrays(adjacency, operators)


def reference(a: CellArrays, b: CellArrays, h: int, direction: str) -> np.ndarray:
    """The definition, in plain Python: labels are numbered by a dictionary that is keyed by what makes them."""
    values = []
    for i in range(len(a)):
        graphs = [(c.adjacency[i], {v: int(k) for v, k in enumerate(c.operators[i]) if k >= 0}) for c in (a, b)]
        value = 0
        for t in range(h + 1):
            if t:
                numbers: dict[tuple, int] = {}
                graphs = [(g, _next_labels(g, labels, direction, numbers)) for g, labels in graphs]
            first, second = (Counter(labels.values()) for _, labels in graphs)
            value += sum(first[label] * second[label] for label in first)
        values.append(value)
    return np.array(values)


def _next_labels(adjacency: np.ndarray, labels: dict[int, int], direction: str, numbers: dict[tuple, int]) -> dict[int, int]:
    def around(neighbours: np.ndarray) -> tuple[int, ...]:
        return tuple(sorted(labels[v] for v in np.flatnonzero(neighbours).tolist()))

    keys = {
        v: (
            labels[v],
            around(adjacency[:, v]) if direction != "out" else (),
            around(adjacency[v]) if direction != "in" else (),
        )
        for v in labels
    }
    return {v: numbers.setdefault(key, len(numbers)) for v, key in keys.items()}


def grakel_gram(cells: CellArrays, h: int, transpose: bool, normalize: bool) -> np.ndarray:
    grakel = pytest.importorskip("grakel", reason="grakel has no wheel for this Python")
    graphs = []
    for adjacency, operators in zip(cells.adjacency, cells.operators):
        matrix = adjacency.T if transpose else adjacency
        nodes = np.flatnonzero(operators >= 0).tolist()
        edges = {v: np.flatnonzero(matrix[v]).tolist() for v in nodes}
        graphs.append(grakel.Graph(edges, node_labels={v: int(operators[v]) for v in nodes}))
    return grakel.WeisfeilerLehman(n_iter=h, normalize=normalize).fit_transform(graphs)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("num_nodes", [2, 7, 30, 33, 64, 65, 130])
def test_the_kernel_equals_its_definition_with_exact_labels(direction, num_nodes):
    count = 70 if num_nodes <= 30 else 8  # more pairs than are compared at once
    for make in (random_cells, similar_cells):
        a, b = make(count, num_nodes, seed=1), make(count, num_nodes, seed=2)
        for h in (0, 1, 3):
            assert np.array_equal(wl_kernel(a, b, h, direction, normalize=False), reference(a, b, h, direction))


@pytest.mark.parametrize(("direction", "transpose"), [("out", False), ("in", True)])
@pytest.mark.parametrize("h", [1, 3])
def test_the_gram_matrix_equals_that_of_grakel(direction, transpose, h):
    cells = random_cells(25)
    assert np.array_equal(wl_gram(cells, h=h, direction=direction, normalize=False), grakel_gram(cells, h, transpose, False))
    np.testing.assert_allclose(wl_gram(cells, h=h, direction=direction), grakel_gram(cells, h, transpose, True), rtol=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_gram_matrix_holds_the_kernels_of_all_pairs(direction):
    a, b = random_cells(9, 12, seed=1), similar_cells(14, 12, seed=2)
    rows, columns = (index.ravel() for index in np.indices((9, 14)))
    for normalize in (True, False):
        pairs = wl_kernel(a[rows], b[columns], 3, direction, normalize).reshape(9, 14)
        assert np.array_equal(wl_gram(a, b, 3, direction, normalize), pairs)
        both = CellArrays.concatenate([a, b])
        square = wl_gram(both, None, 3, direction, normalize)
        assert np.array_equal(square, wl_gram(both, both, 3, direction, normalize))
        assert np.array_equal(square[:9, 9:], pairs)


def test_many_operators_which_do_not_fit_into_one_sum_are_exact_too():
    rng = np.random.default_rng(0)
    a, b = (with_operators(random_cells(20, seed=seed), 100, rng) for seed in (1, 2))
    assert np.array_equal(wl_kernel(a, b, normalize=False), reference(a, b, 3, "both"))
    assert np.array_equal(wl_kernel(a, a, normalize=False), reference(a, a, 3, "both"))


@pytest.mark.parametrize(("first", "second"), [([1, 1], [14]), ([1] + 16 * [12], [1])])
def test_operators_whose_counts_share_a_place_in_the_sum_are_told_apart(first, second):
    # With 30 nodes, operator k is counted from bit 5 k on, modulo 64: one 14 looks like two 1, and sixteen 12 vanish.
    def fan(*operators: int) -> CellArrays:
        cell = CellArrays(np.zeros((1, 30, 30), bool), np.full((1, 30), -1, np.int8))
        last = len(operators) + 1
        cell.operators[0, : last + 1] = 0, *operators, 2
        cell.adjacency[0, 0, 1:last] = cell.adjacency[0, 1:last, last] = True
        return cell

    a, b = fan(*first), fan(*second)
    for x, y in ((a, b), (b, a)):
        assert np.array_equal(wl_kernel(x, y, 1, "in", normalize=False), reference(x, y, 1, "in"))


@pytest.fixture(scope="module")
def colliding(tmp_path_factory):
    """`search.kernel.wl_labels` with one code for all labels: every sum of as many codes collides."""
    source, code = Path(wl_labels.__file__).read_text(), "return (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)"
    head, tail = source.split("def _code(")
    assert code in tail.split("@njit")[0]
    path = tmp_path_factory.mktemp("colliding") / "colliding_labels.py"
    path.write_text(f"{head}def _code({tail.replace(code, 'return np.uint64(12345)', 1)}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


@pytest.mark.long
@pytest.mark.parametrize("num_operators", [1, 40])
def test_a_collision_of_codes_changes_nothing(monkeypatch, colliding, num_operators):
    # 40 operators overflow their places in the first iteration's sums as well.
    rng = np.random.default_rng(0)
    a, b = (with_operators(similar_cells(4, 9, seed), num_operators, rng) for seed in (1, 2))
    gram = wl_gram(a, b, normalize=False)
    for name in ("count_pairs", "count_gram"):
        monkeypatch.setattr(f"search.kernel.wl.{name}", getattr(colliding, name))
    assert np.array_equal(wl_kernel(a, b, normalize=False), reference(a, b, 3, "both"))
    assert np.array_equal(wl_gram(a, b, normalize=False), gram)


def test_any_byte_but_zero_is_an_edge():
    cells = random_cells(5, 12)
    odd = CellArrays((cells.adjacency.view(np.uint8) * 2).view(bool), cells.operators)
    assert (wl_kernel(cells, odd) == 1).all()


@pytest.mark.parametrize(
    ("adjacency", "operators", "message"),
    [
        (np.zeros((3, 2, 2), bool), np.zeros((3, 8), np.int8), "expected adjacency"),
        (np.zeros((1, 8, 8), bool), np.zeros((3, 8), np.int8), "expected adjacency"),
        (np.zeros((3, 0, 0), bool), np.zeros((3, 0), np.int8), "expected adjacency"),
        (np.zeros((3, 8, 8), bool), np.full((3, 8), -2, np.int8), "expected operators from -1 to 127, found -2"),
        (np.zeros((3, 8, 8), bool), np.full((3, 8), 300), "expected operators from -1 to 127, found 300"),
    ],
)
def test_arrays_that_are_no_cells_are_refused(adjacency, operators, message):
    cells = CellArrays(adjacency, operators)
    for kernel in (wl_gram, lambda cells: wl_kernel(cells, cells)):
        with pytest.raises(ValueError, match=message):
            kernel(cells)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_order_of_nodes_does_not_matter(direction):
    a, b = random_cells(40, seed=1), random_cells(40, seed=2)
    rng = np.random.default_rng(3)
    values = wl_kernel(a, b, direction=direction, normalize=False)
    assert np.array_equal(wl_kernel(shuffled(a, rng), shuffled(b, rng), direction=direction, normalize=False), values)
    assert (wl_kernel(a, shuffled(a, rng), direction=direction) == 1).all()


def test_dropped_nodes_and_their_edges_are_no_part_of_a_cell():
    space = DagSpace()
    drawn = space.sample(np.random.default_rng(1), 40)
    pruned = prune(drawn)
    compact = space.from_cells([cell.pruned() for cell in space.to_cells(drawn)])
    edges_of_dropped_nodes = CellArrays(drawn.adjacency, pruned.operators)
    assert (pruned.operators[:, :-1] < 0).any(), "no cell has a dropped node before another"
    others = random_cells(40, seed=2)
    for cells in (compact, edges_of_dropped_nodes):
        assert np.array_equal(wl_kernel(cells, others, normalize=False), wl_kernel(pruned, others, normalize=False))
        assert np.array_equal(wl_gram(cells, normalize=False), wl_gram(pruned, normalize=False))


def test_golden_values_of_two_chains():
    # input -> conv1x1 -> conv1x1 and input -> conv1x1, worked out by hand.
    space = DagSpace(3)
    long = space.from_cells([Cell(("input", "conv1x1", "conv1x1"), ((0, 1), (1, 2)))])
    short = space.from_cells([Cell(("input", "conv1x1"), ((0, 1),))])
    kernel = {(d, h): int(wl_kernel(long, short, h, d, normalize=False)[0]) for d in DIRECTIONS for h in (0, 1, 2)}
    assert kernel == {
        ("both", 0): 3, ("both", 1): 4, ("both", 2): 4,
        ("in", 0): 3, ("in", 1): 5, ("in", 2): 7,
        ("out", 0): 3, ("out", 1): 5, ("out", 2): 6,
    }  # fmt: skip
    assert wl_kernel(long, short, 2)[0] == pytest.approx(4 / np.sqrt(11 * 6))


def test_the_normalised_gram_matrix_is_positive_semidefinite_with_ones_on_the_diagonal():
    gram = wl_gram(random_cells(200))
    assert (np.diag(gram) == 1).all()
    assert np.array_equal(gram, gram.T)
    assert (gram > 0).all()
    assert (gram <= 1).all()
    assert np.linalg.eigvalsh(gram).min() > -1e-10


def test_no_cells_have_no_kernels():
    none = random_cells(3)[:0]
    assert wl_kernel(none, none).shape == (0,)
    assert wl_gram(none).shape == (0, 0)
    assert wl_gram(none, random_cells(3)).shape == (0, 3)


def test_mistakes_are_named():
    cells = random_cells(3)
    with pytest.raises(SearchError, match="h >= 0, found -1"):
        wl_kernel(cells, cells, h=-1)
    with pytest.raises(SearchError, match="'sideways'; expected one of both, in, out"):
        wl_gram(cells, direction="sideways")
    with pytest.raises(ValueError, match="found 3 and 2"):
        wl_kernel(cells, cells[:2])
    with pytest.raises(ValueError, match=r"found \[30, 8\] places"):
        wl_gram(cells, random_cells(3, 8))
    with pytest.raises(ValueError, match="at least one node"):
        wl_gram(CellArrays(cells.adjacency, np.full_like(cells.operators, -1)))
