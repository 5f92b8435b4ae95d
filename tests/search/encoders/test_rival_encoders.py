"""The encoders of NAO (LSTM), NGE (GCN) and GATES."""

import numpy as np
import pytest
import torch

from gemnet.cell import Cell
from search.core.types import CellArrays, SearchError, Space
from search.encoders import build_encoder, load_encoder, save_encoder
from search.encoders.node_rows import node_rows
from search.spaces.dag import DagSpace, prune
from search.spaces.node_order import random_order

SPACE = DagSpace(7)
QUICK = {
    "lstm": {"dim": 16, "iterations": 40, "score_iterations": 40, "batch": 32},
    "gcn": {"dim": 16, "iterations": 60, "batch": 32},
    "gates": {"dim": 16, "epochs": 30, "batch": 32},
}


@pytest.fixture(scope="module")
def cells():
    return prune(SPACE.sample(np.random.default_rng(7), 120))


@pytest.fixture(scope="module")
def scores(cells):
    """A number of each cell that follows from its graph: nodes, and edges a little."""
    return cells.sizes + 0.1 * cells.adjacency.sum((1, 2))


def fitted(name, cells, scores, seed=0, space=SPACE, **settings):
    encoder = build_encoder(name, space, **QUICK[name] | settings)
    encoder.fit(seed)
    if encoder.learns_scores:
        encoder.fit_scores(cells, scores, seed)
    return encoder


@pytest.fixture(scope="module", params=QUICK)
def trained(request, cells, scores):
    return fitted(request.param, cells, scores)


def test_node_rows_are_what_each_node_reads_and_its_kind():
    cell = Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 2)))
    (rows,) = node_rows(
        DagSpace(4, operators=["conv1x1", "sepconv3x3"]), CellArrays.of([cell], 5, ("input", "conv1x1", "sepconv3x3"))
    )
    assert rows.tolist() == [
        [0, 0, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_vectors_do_not_depend_on_where_places_without_a_node_are(trained, cells):
    vectors = trained.embed(cells)
    assert vectors.shape == (len(cells), trained.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(trained.embed(cells.compact()), vectors, atol=1e-6)
    np.testing.assert_allclose(trained.embed(cells.padded(9)), vectors, atol=1e-6)
    assert trained.embed(cells[:0]).shape == (0, trained.dim)


def test_isomorphic_cells_embed_alike_with_gates_and_not_with_the_others(trained, cells):
    again = trained.embed(random_order(cells, np.random.default_rng(0)))
    gap = np.abs(again - trained.embed(cells)).max()
    assert (gap < 1e-4) == (trained.name == "gates")


def test_gates_hand_information_on_as_a_loop_over_nodes_does(cells, scores):
    encoder = fitted("gates", cells, scores, layers=3)
    weights = {name.removeprefix("encoder."): value.numpy() for name, value in encoder.weights().items()}
    for cell, vector in zip(SPACE.to_cells(cells[:10]), encoder.embed(cells[:10])):
        kinds = [("input", *SPACE.operators).index(name) for name in cell.nodes]
        h = [weights["start"][min(v, 1)] @ weights["first.weight"].T + weights["first.bias"] for v in range(len(kinds))]
        for i in range(3):
            values = [weights[f"layers.{i}.value.weight"] @ x for x in h]
            for v, kind in enumerate(kinds):
                embedded = weights["kind.weight"][:, kind]
                gate = 1 / (1 + np.exp(-(weights[f"layers.{i}.gate.weight"] @ embedded + weights[f"layers.{i}.gate.bias"])))
                arrived = sum((values[a] for a, b in cell.edges if b == v), np.zeros(16))
                h[v] = gate * arrived + values[v] + weights[f"layers.{i}.bias"]
                h[v] = np.maximum(h[v], 0) if i < 2 else h[v]
        np.testing.assert_allclose(np.mean(h[1:], axis=0), vector, atol=1e-4)


def test_graph_convolutions_are_products_of_dense_matrices(cells):
    encoder = fitted("gcn", cells, None)
    weights = {name.removeprefix("encoder.layers."): value.numpy() for name, value in encoder.weights().items()}
    n, kinds = SPACE.num_nodes, 1 + len(SPACE.operators)
    for cell, vector in zip(SPACE.to_cells(cells[:10]), encoder.embed(cells[:10])):
        matrix = np.eye(len(cell.nodes))
        for u, v in cell.edges:
            matrix[u, v] = matrix[v, u] = 1
        half = np.diag(matrix.sum(1) ** -0.5)
        h = np.zeros((len(cell.nodes), n + kinds))
        for v, name in enumerate(cell.nodes):
            h[v, v] = h[v, n + ("input", *SPACE.operators).index(name)] = 1
        for i in range(3):
            h = half @ matrix @ half @ (h @ weights[f"{i}.weight"].T + weights[f"{i}.bias"])
            h = np.maximum(h, 0) if i < 2 else h
        np.testing.assert_allclose(h.mean(0), vector, atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "gcn"])
def test_training_on_cells_lowers_the_loss_and_edges_are_reconstructed(name):
    losses = []
    encoder = build_encoder(name, SPACE, **QUICK[name] | {"iterations": 100})
    figures = encoder.fit(0, lambda done, total, note: losses.append(float(note.split()[1])))
    assert losses[-1] < 0.9 * losses[0]
    assert (
        figures["edges reconstructed"]
        > build_encoder(name, SPACE, **QUICK[name] | {"iterations": 1}).fit(0)["edges reconstructed"]
    )


@pytest.mark.parametrize(("name", "settings"), [("lstm", {"lr": 1e-2}), ("gates", {"lr": 1e-3, "epochs": 60})])
def test_training_on_scores_lowers_the_loss_and_ranks_unseen_cells(name, settings, cells, scores):
    losses = []
    encoder = build_encoder(name, SPACE, **QUICK[name] | settings)
    encoder.fit(0)
    encoder.fit_scores(cells[:80], scores[:80], 0, lambda done, total, note: losses.append(float(note.split()[1])))
    assert losses[-1] < losses[0]
    told = encoder.predict_scores(encoder.embed(cells[80:]))
    assert told.dtype == np.float64
    assert np.corrcoef(told, scores[80:])[0, 1] > 0.5


def test_scores_of_nao_are_told_in_their_own_unit(cells, scores):
    encoder = fitted("lstm", cells, scores)
    far = fitted("lstm", cells, 1000 + 50 * scores)
    vectors = encoder.embed(cells)
    assert scores.min() <= encoder.predict_scores(vectors).min() <= encoder.predict_scores(vectors).max() <= scores.max()
    np.testing.assert_allclose(far.predict_scores(far.embed(cells)), 1000 + 50 * encoder.predict_scores(vectors), rtol=1e-2)


@pytest.mark.parametrize("name", QUICK)
def test_training_is_deterministic_by_seed_and_leaves_the_global_generator_alone(name, cells, scores):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two, other = (fitted(name, cells, scores, seed).embed(cells) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_saved_encoder_comes_back_with_what_it_learned(trained, cells, tmp_path):
    save_encoder(tmp_path, trained)
    again = load_encoder(tmp_path, SPACE)
    assert type(again) is type(trained)
    assert again.settings == trained.settings
    assert np.array_equal(again.embed(cells), trained.embed(cells))
    if trained.learns_scores:
        vectors = trained.embed(cells)
        assert np.array_equal(again.predict_scores(vectors), trained.predict_scores(vectors))


@pytest.mark.parametrize("name", QUICK)
def test_cells_and_spaces_that_cannot_be_read_are_told(name, cells, scores):
    encoder = fitted(name, cells, scores)
    with pytest.raises(SearchError, match="a graph has 9 nodes; the space allows 7"):
        encoder.embed(prune(DagSpace(9, density=[1.0, 1.0]).sample(np.random.default_rng(0), 5)))
    strange = CellArrays(cells.adjacency, np.where(cells.operators > 0, 9, cells.operators).astype(np.int8))
    with pytest.raises(SearchError, match=f"a cell has operator 9; the encoder's space has {len(SPACE.operators)}"):
        encoder.embed(strange)
    bare = Space()
    bare.num_nodes, bare.operators = 1, ()
    with pytest.raises(
        SearchError, match=f"encoder: {name} reads cells of 2 or more nodes with operators; the space has 1 and 0"
    ):
        build_encoder(name, bare)


@pytest.mark.parametrize("name", QUICK)
def test_an_encoder_that_is_not_trained_says_what_to_call(name, cells):
    encoder = build_encoder(name, SPACE)
    with pytest.raises(RuntimeError, match=f"call {'fit_scores' if name == 'gates' else 'fit'} first"):
        encoder.embed(cells)


def test_scores_that_do_not_fit_the_cells_are_refused(cells, scores):
    encoder = build_encoder("gates", SPACE, **QUICK["gates"])
    for wrong in (scores[:-1], np.where(scores == scores.max(), np.nan, scores)):
        with pytest.raises(ValueError, match="expected finite scores of 2 or more cells"):
            encoder.fit_scores(cells, wrong, 0)
    with pytest.raises(NotImplementedError, match="GCNEncoder learns from cells alone"):
        build_encoder("gcn", SPACE).fit_scores(cells, scores, 0)
