"""Graph networks: equal for isomorphic cells, and of use where counts and targets are of the graph."""

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from search.core.types import CellArrays, SearchError
from search.encoders import build_encoder, load_encoder
from search.encoders.packing import SHARES, PackedCells, pack, packed_size, unpack
from search.predictors.graph_network import predict, train
from search.predictors.mlp import build_predictor
from search.spaces.dag import DagSpace, prune

SPACE = DagSpace(7, ("conv1x1", "sepconv3x3"), (0.3, 0.6))


@pytest.fixture(scope="module")
def cells():
    return prune(SPACE.sample(np.random.default_rng(0), 260))


@pytest.fixture(scope="module")
def scores(cells):
    """The longest path, an edge more or less counting a little."""
    n = cells.operators.shape[1]
    longest = np.zeros((len(cells), n))
    for v in range(1, n):
        longest[:, v] = np.where(cells.adjacency[:, :v, v], longest[:, :v] + 1, 0).max(1)
    return np.round(0.8 + 0.02 * longest.max(1) + 0.002 * cells.adjacency.sum((1, 2)), 6)


@pytest.fixture(scope="module")
def inputs(cells):
    """Numbers and packed cells, as the networks take them."""
    return unpack(encoded(cells))


def encoded(cells):
    encoder = build_encoder("statistics", SPACE, cells=True)
    encoder.fit(0)
    return encoder.embed(cells)


def taken(inputs, rows):
    numbers, packed = inputs
    return numbers[rows], packed[rows]


def test_packed_cells_come_back_behind_whatever_is_before_them(cells):
    rng = np.random.default_rng(0)
    edges = cells.adjacency * rng.integers(1, 4, cells.adjacency.shape)
    nodes = rng.normal(size=(*cells.operators.shape, SHARES)).astype(np.float32)
    packed = pack(PackedCells(CellArrays(edges, cells.operators), nodes))
    assert packed.shape == (len(cells), packed_size(7))
    before = rng.normal(size=(len(cells), 3)).astype(np.float32)
    for parts in ([packed], [before, packed]):
        rest, found = unpack(np.concatenate(parts, axis=1))
        assert np.array_equal(found.cells.adjacency, edges)
        assert np.array_equal(found.cells.operators, cells.operators)
        assert np.array_equal(found.nodes, nodes)
        assert rest.shape == (len(cells), 3 * (len(parts) - 1))


@pytest.mark.parametrize(
    ("column", "value"), [(-1, 8), (-1, np.nan), (-1, 0), (-20, 0.5), (-20, -1), (-3, 1.5), (-3, -2), (-3, 200), (-90, np.inf)]
)
def test_vectors_that_hold_no_cells_are_refused(cells, column, value):
    vectors = encoded(cells[:4])
    vectors[1 if column != -1 else slice(None), column] = value
    with pytest.raises(ValueError, match="the vectors hold no cells"):
        unpack(vectors)


def test_a_network_ranks_unseen_cells_and_is_equal_for_isomorphic_ones(cells, scores, inputs):
    y = (scores - scores.mean()) / scores.std()
    network = train(*taken(inputs, slice(180)), y[:180], seed=0, width=32, layers=2)
    found = predict(network, *taken(inputs, slice(180, None)))
    assert kendalltau(found, scores[180:]).statistic > 0.75
    numbers, packed = taken(inputs, slice(180, None))
    for seed in range(3):
        order = np.array([[0, *(1 + np.random.default_rng((seed, b)).permutation(6))] for b in range(len(numbers))])
        nodes = np.take_along_axis(packed.nodes, order[:, :, None], axis=1)
        turned = PackedCells(packed.cells.reordered(order), nodes)
        assert np.allclose(predict(network, numbers, turned), found, atol=1e-5)


def test_a_network_learns_from_the_graph_where_the_numbers_say_nothing(scores, inputs):
    numbers, packed = inputs
    nothing = np.random.default_rng(0).normal(size=(len(numbers), 4))
    y = (scores - scores.mean()) / scores.std()
    network = train(nothing[:180], packed[:180], y[:180], seed=0, width=32, layers=2)
    assert kendalltau(predict(network, nothing[180:], packed[180:]), scores[180:]).statistic > 0.6


def test_a_training_is_repeated_bit_for_bit_and_leaves_the_random_state(scores, inputs):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b, c = (predict(train(*taken(inputs, slice(40)), scores[:40], s, 16, 1, 2), *inputs) for s in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(("epochs", "width"), [(1, 16), (5, 16), (10, 16), (2, 8)])
def test_trainings_of_few_steps_and_networks_without_hidden_matrices_work(scores, inputs, epochs, width):
    """40 cells are 2 steps an epoch; of 8 units no matrix is Muon's."""
    network = train(*taken(inputs, slice(40)), scores[:40], 0, width, 1, epochs)
    assert np.isfinite(predict(network, *inputs)).all()


def test_an_operator_that_training_lacked_is_none(scores, inputs):
    numbers, packed = taken(inputs, slice(40))
    plain = PackedCells(CellArrays(packed.cells.adjacency, np.minimum(packed.cells.operators, 1)), packed.nodes)
    network = train(numbers, plain, scores[:40], 0, 16, 1, 1)
    assert np.isfinite(predict(network, *inputs)).all()


@pytest.fixture(scope="module")
def vectors(cells):
    return encoded(cells)


def test_the_encoder_keeps_numbers_and_cells_apart_and_comes_back_from_disk(cells, vectors, tmp_path):
    counts = build_encoder("statistics", SPACE)
    counts.fit(0)
    rest, found = unpack(vectors)
    assert np.array_equal(rest, counts.embed(cells))
    assert np.array_equal(found.cells.adjacency, cells.adjacency)
    encoder = build_encoder("statistics", SPACE, cells=True)
    encoder.fit(0)
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path, SPACE)
    assert loaded.dim == vectors.shape[1]
    assert loaded.groups == encoder.groups
    assert np.array_equal(loaded.embed(cells), vectors)


def test_networks_weigh_more_the_more_cells_there_are(scores, vectors):
    """The prediction lies between those of the ensemble and of the networks, nearer to the networks where cells are many."""
    shares = []
    for size in (30, 200):
        settings = {"trees": 30, "networks": 1, "epochs": 5, "width": 16, "layers": 1}
        both = build_predictor("graph_ensemble", **settings)
        both.fit(vectors[:size], scores[:size], seed=0)
        numbers, rest = unpack(vectors)
        alone = build_predictor("ensemble", trees=30)
        alone.fit(numbers[:size], scores[:size], seed=0)
        normal = both._mean(vectors) - alone._mean(numbers)
        network = predict(both._nets[0], numbers, rest) - alone._mean(numbers)
        shares.append(float(normal @ network / (network @ network)))
        assert np.allclose(normal, shares[-1] * network, atol=1e-6)
        assert both.query(vectors).shape == (len(vectors),)
        mean, deviation = both.opinion(vectors)
        assert np.array_equal(mean, both.query(vectors))
        assert (deviation > 0).all()
    assert 0 < shares[0] < shares[1] < 1


def test_what_it_cannot_take_is_told(vectors, scores):
    with pytest.raises(SearchError, match="epochs: expected a whole number from 1, found 0"):
        build_predictor("graph_ensemble", epochs=0)
    with pytest.raises(ValueError, match="the vectors hold no cells"):
        build_predictor("graph_ensemble").fit(vectors[:, :-1], scores, 0)
    with pytest.raises(RuntimeError, match="not trained yet"):
        build_predictor("graph_ensemble").query(vectors)
