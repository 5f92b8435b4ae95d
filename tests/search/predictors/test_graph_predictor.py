"""Graph networks: equal for isomorphic cells, and of use where counts and targets are of the graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from search.core.types import CellArrays, SearchError
from search.encoders import build_encoder, load_encoder, save_encoder
from search.predictors import build_predictor
from search.predictors.graph_network import predict, train
from search.spaces.dag import DagSpace, prune
from search.spaces.node_order import random_order

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
def x(cells):
    return encoder().encode(cells)


def encoder(space=SPACE, **settings):
    found = build_encoder("statistics", space, **settings)
    found.fit(0)
    return found


@pytest.mark.long
def test_a_network_ranks_unseen_cells_and_is_equal_for_isomorphic_ones(scores, x):
    y, unseen = (scores - scores.mean()) / scores.std(), x[180:]
    network = train(x[:180], y[:180], seed=0, width=32, layers=2)
    found = predict(network, unseen)
    assert kendalltau(found, scores[180:]).statistic > 0.75
    for seed in range(3):
        turned = random_order(unseen.cells, np.random.default_rng(seed))
        assert not np.array_equal(turned.operators, unseen.cells.operators)
        assert np.allclose(predict(network, replace(unseen, cells=turned)), found, atol=1e-5)


def test_a_network_learns_from_the_graph_where_the_numbers_say_nothing(scores, x):
    nothing = replace(x, vectors=np.random.default_rng(0).normal(size=(len(x), 4)))
    y = (scores - scores.mean()) / scores.std()
    network = train(nothing[:180], y[:180], seed=0, width=32, layers=2)
    assert kendalltau(predict(network, nothing[180:]), scores[180:]).statistic > 0.6


def test_a_training_is_repeated_bit_for_bit_and_leaves_the_random_state(scores, x):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    small = {"width": 16, "layers": 1, "epochs": 2}
    a, b, c = (predict(train(x[:40], scores[:40], seed, **small), x) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(("epochs", "width"), [(1, 16), (5, 16), (10, 16), (2, 8)])
def test_trainings_of_few_steps_and_networks_without_hidden_matrices_work(scores, x, epochs, width):
    """40 cells are 2 steps an epoch; of 8 units no matrix is Muon's."""
    network = train(x[:40], scores[:40], 0, width=width, layers=1, epochs=epochs)
    assert np.isfinite(predict(network, x)).all()


def test_an_operator_that_training_lacked_is_none(scores, x):
    plain = replace(x, cells=CellArrays(x.cells.adjacency, np.minimum(x.cells.operators, 1)))
    network = train(plain[:40], scores[:40], 0, width=16, layers=1, epochs=1)
    assert np.isfinite(predict(network, x)).all()


def test_predictors_are_handed_the_cells_whether_older_configs_ask_for_them_or_not(cells, scores, x, tmp_path):
    asked = encoder(cells=True)
    save_encoder(tmp_path, asked)
    loaded, found = load_encoder(tmp_path, SPACE), asked.encode(cells)
    assert loaded.dim == asked.dim == encoder().dim == x.vectors.shape[1]
    assert loaded.groups == x.groups
    assert np.array_equal(found.vectors, x.vectors)
    assert np.array_equal(loaded.encode(cells).vectors, x.vectors)
    assert np.array_equal(found.cells.adjacency, cells.adjacency)
    assert np.array_equal(found.cells.operators, cells.operators)


def test_cells_are_read_as_the_encoder_simplifies_them(cells, x):
    simplified = encoder(dropped=["conv1x1"]).encode(cells)
    assert not (simplified.cells.operators == 1).any()
    assert simplified.cells.adjacency.sum() < x.cells.adjacency.sum()


@pytest.mark.parametrize("kind", ["adjacency", "landmarks"])
def test_any_encoder_will_do(cells, scores, kind):
    other = build_encoder(kind, SPACE)
    other.fit(0)
    predictor = build_predictor("graph_ensemble", trees=5, networks=1, epochs=10, width=16, layers=1)
    predictor.check_encoder(other)
    known = other.encode(cells)
    predictor.fit(known[:180], scores[:180], seed=0)
    assert kendalltau(predictor.predict(known[180:]), scores[180:]).statistic > 0.5


def test_networks_weigh_more_the_more_cells_there_are(scores, x):
    """The prediction lies between those of the ensemble and of the networks, nearer to the networks where cells are many."""
    shares = []
    for size in (30, 200):
        settings = {"trees": 30, "networks": 1, "epochs": 5, "width": 16, "layers": 1}
        both = build_predictor("graph_ensemble", **settings)
        both.fit(x[:size], scores[:size], seed=0)
        alone = build_predictor("ensemble", trees=30)
        alone.fit(x[:size], scores[:size], seed=0)
        normal = both._mean(x) - alone._mean(x)
        network = predict(both._nets[0], x) - alone._mean(x)
        shares.append(float(normal @ network / (network @ network)))
        assert np.allclose(normal, shares[-1] * network, atol=1e-6)
        assert both.predict(x).shape == (len(x),)
        mean, deviation = both.predict_with_std(x)
        assert np.array_equal(mean, both.predict(x))
        assert (deviation > 0).all()
    assert 0 < shares[0] < shares[1] < 1


def test_what_it_cannot_take_is_told(x):
    with pytest.raises(SearchError, match="epochs: expected a whole number from 1, found 0"):
        build_predictor("graph_ensemble", epochs=0)
    with pytest.raises(RuntimeError, match="not trained yet"):
        build_predictor("graph_ensemble").predict(x)
