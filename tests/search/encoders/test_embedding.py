import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import mean_squared_error, r2_score

from gemnet.cell import Cell
from search.core.types import CellArrays, SearchError
from search.encoders import build_encoder, load_encoder, save_encoder
from search.encoders.flat import features, num_features
from search.kernel.wl import wl_kernel
from search.spaces.dag import DagSpace, prune
from search.spaces.isomorphism import isomorphism_hash
from search.spaces.node_order import canonical_order, random_order

SPACE = DagSpace(10)
QUICK = {"dim": 50, "hidden": [128], "iterations": 400, "batch": 64}


@pytest.fixture(scope="module")
def cells():
    return prune(SPACE.sample(np.random.default_rng(7), 200))


@pytest.fixture(scope="module")
def trained():
    encoder = build_encoder("kernel_guided", SPACE, **QUICK)
    encoder.fit(seed=0)
    return encoder


def test_features_are_edges_then_operators_and_nothing_for_a_node_that_is_not_there():
    space = DagSpace(4)
    cell = Cell(("input", "sepconv3x3", "conv1x1", "conv1x1"), ((0, 1), (1, 3), (2, 3)))  # node 2 is not reached
    (vector,) = features(space, prune(space.from_cells([cell])))
    #                              01 02 03 12 13 23 | conv, sep of node 1 | of node 2 | of node 3
    assert vector.tolist() == [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    assert num_features(space) == 12


def test_training_on_pairs_makes_the_cosine_the_kernel_on_held_out_pairs(trained):
    untrained = build_encoder("kernel_guided", SPACE, **{**QUICK, "iterations": 1}).fit(seed=0)
    assert untrained["R^2"] < 0
    assert trained.metrics["R^2"] > 0.5
    assert trained.metrics["Spearman"] > 0.8


def test_the_figures_are_those_of_held_out_pairs_by_their_definitions(trained):
    rng = np.random.default_rng(99)
    a, b = (prune(SPACE.sample(rng, 4000)) for _ in range(2))
    x, y = trained.embed(a).astype(np.float64), trained.embed(b).astype(np.float64)
    cosine, kernel = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1), wl_kernel(a, b)
    assert r2_score(kernel, cosine) == pytest.approx(trained.metrics["R^2"], abs=0.06)
    assert mean_squared_error(kernel, cosine) == pytest.approx(trained.metrics["similarity MSE"], rel=0.1)
    assert spearmanr(kernel, cosine).statistic == pytest.approx(trained.metrics["Spearman"], abs=0.03)


def test_the_kernel_guides_better_than_reconstruction_alone(trained):
    autoencoder = build_encoder("autoencoder", SPACE, **QUICK)
    figures = autoencoder.fit(seed=0)
    assert figures["edges reconstructed"] > 0.85
    assert figures["R^2"] < trained.metrics["R^2"] - 0.3
    assert figures["Spearman"] < trained.metrics["Spearman"]


def test_a_random_order_is_another_cell_with_the_same_network(cells):
    again = random_order(cells, np.random.default_rng(0))
    names = ("input", *SPACE.operators)
    assert all(cells.cell(i, names).digest() == again.cell(i, names).digest() for i in range(len(cells)))
    assert (cells.adjacency != again.adjacency).any((1, 2)).mean() > 0.9
    assert not np.tril(again.adjacency).any()
    assert (again.operators[:, 0] == 0).all()


def test_the_canonical_order_is_the_same_for_isomorphic_cells_and_the_same_cell(cells):
    first, second = canonical_order(cells), canonical_order(random_order(cells, np.random.default_rng(0)))
    same = (first.adjacency == second.adjacency).all((1, 2)) & (first.operators == second.operators).all(1)
    assert same.mean() > 0.98
    assert not np.tril(first.adjacency).any()
    assert np.array_equal(isomorphism_hash(first), isomorphism_hash(cells))
    chain = CellArrays(np.eye(400, k=1, dtype=bool)[None], np.ones((1, 400), np.int8))  # deeper than a byte tells
    assert np.array_equal(canonical_order(chain).adjacency, chain.adjacency)


def test_an_encoder_of_canonical_order_embeds_isomorphic_cells_alike_as_others_do_not(trained, cells):
    canonical = build_encoder("kernel_guided", SPACE, **QUICK, order="canonical")
    figures = canonical.fit(seed=0)
    assert figures["cosine of isomorphic cells"] > 0.999 > 0.97 > trained.metrics["cosine of isomorphic cells"]
    assert figures["R^2"] > trained.metrics["R^2"] - 0.1
    x, y = (canonical.embed(c) for c in (cells, random_order(cells, np.random.default_rng(1))))
    assert np.isclose(x, y, atol=1e-5).all(1).mean() > 0.98


@pytest.mark.parametrize("name", ["autoencoder", "kernel_guided"])
def test_training_is_deterministic_by_seed_and_leaves_the_global_generator_alone(name, cells):
    def embedded(seed):
        encoder = build_encoder(name, SPACE, **{**QUICK, "iterations": 20})
        encoder.fit(seed)
        return encoder.embed(cells)

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one = embedded(0)
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(one, embedded(0))
    assert not np.array_equal(one, embedded(1))


def test_progress_reaches_the_number_of_iterations():
    seen = []
    build_encoder("autoencoder", SPACE, **{**QUICK, "iterations": 45}).fit(0, lambda *state: seen.append(state[:2]))
    assert seen == [(20, 45), (40, 45), (45, 45)]


@pytest.mark.parametrize("name", ["adjacency", "autoencoder", "kernel_guided"])
def test_a_saved_encoder_comes_back_and_embeds_alike(name, cells, tmp_path):
    encoder = build_encoder(name, SPACE, **({} if name == "adjacency" else {**QUICK, "iterations": 5}))
    encoder.fit(0)
    save_encoder(tmp_path, encoder)
    again = load_encoder(tmp_path, SPACE)
    assert type(again) is type(encoder)
    assert again.dim == encoder.dim == encoder.embed(cells).shape[1]
    assert np.array_equal(again.embed(cells), encoder.embed(cells))
    assert encoder.embed(cells).dtype == np.float32


def test_cells_are_embedded_each_by_itself_however_many_come_together(trained, cells):
    together = trained.embed(CellArrays.concatenate([cells] * 50))  # more than one chunk
    assert np.allclose(together[:200], trained.embed(cells), atol=1e-5)
    assert np.allclose(together[-1], trained.embed(cells[199:200])[0], atol=1e-5)
    assert trained.embed(cells[:0]).shape == (0, 50)


def test_an_encoder_that_is_not_trained_says_so(cells):
    with pytest.raises(RuntimeError, match="call fit first"):
        build_encoder("kernel_guided", SPACE).embed(cells)


def test_what_hangs_on_dropped_nodes_does_not_change_an_embedding(trained):
    live = Cell(("input", "conv1x1", "conv1x1", "sepconv3x3"), ((0, 1), (1, 3)))
    dead_edges = Cell(("input", "conv1x1", "sepconv3x3", "sepconv3x3"), ((0, 1), (1, 3), (2, 3)))
    one, two = (trained.embed(prune(SPACE.from_cells([cell]))) for cell in (live, dead_edges))
    assert np.array_equal(one, two)


def damaged(path, how):
    if how == "truncated weights":
        (path / "encoder.safetensors").write_bytes((path / "encoder.safetensors").read_bytes()[:100])
    elif how == "no weights":
        (path / "encoder.safetensors").unlink()
    elif how == "pickle as weights":
        torch.save({"encoder.0.weight": torch.zeros(3)}, path / "encoder.safetensors")
    elif how == "not finite":
        from safetensors.torch import load_file, save_file

        weights = load_file(path / "encoder.safetensors")
        weights["encoder.0.bias"][0] = float("nan")
        save_file(weights, path / "encoder.safetensors")
    elif how == "half precision":
        from safetensors.torch import load_file, save_file

        save_file({k: v.half() for k, v in load_file(path / "encoder.safetensors").items()}, path / "encoder.safetensors")
    elif how == "not JSON":
        (path / "encoder.json").write_text("{")
    else:
        text = json.loads((path / "encoder.json").read_text())
        text.update(how)
        (path / "encoder.json").write_text(json.dumps(text))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated weights", r"encoder\.safetensors: cannot be read"),
        ("no weights", r"encoder\.safetensors: cannot be read"),
        ("pickle as weights", r"encoder\.safetensors: cannot be read as safetensors"),
        ("not finite", r"encoder\.safetensors: encoder\.0\.bias: expected finite float32 values"),
        ("half precision", r"encoder\.safetensors: .*: expected finite float32 values"),
        ("not JSON", r"encoder\.json: cannot be read"),
        ({"version": 2}, r"encoder\.json: expected format 'gemnet\.encoder', version 1"),
        ({"settings": []}, r"encoder\.json: expected an object with"),
        ({"settings": {"dim": 17}}, r"encoder\.safetensors: not the weights of this encoder"),
        (
            {"settings": {"dim": 10**12}},
            r"encoder\.json: encoder: dim: expected a whole number from 1 to 65536, found 10",
        ),
        ({"settings": {"hidden": [65536] * 4}}, r"encoder\.safetensors: not the weights of this encoder"),
        ({"settings": {"dims": 16}}, r"encoder\.json: encoder: unknown setting 'dims'; did you mean 'dim'"),
        ({"settings": {"space": 1}}, r"encoder\.json: .*space"),
        ({"settings": {"name": 1}}, r"encoder\.json: .*name"),
        ({"type": "gnn"}, r"encoder\.json: unknown encoder 'gnn'; did you mean 'gcn'\? Expected one of adjacency, autoencoder"),
        ({"space": {"num_nodes": 9, "operators": []}}, "trained for the space"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(trained, tmp_path, how, message):
    save_encoder(tmp_path, trained)
    damaged(tmp_path, how)
    with pytest.raises(SearchError, match=message):
        load_encoder(tmp_path, SPACE)


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0},
        {"hidden": [0]},
        {"iterations": 1.5},
        {"lr": 0},
        {"order": "random"},
        {"h": -1},
        {"similarity_weight": 0},
        {"similarity_weight": float("inf")},
        {"device": "abacus"},
        {"device": "cuda:99"},
        {"width": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(SearchError, match=rf"encoder: ({next(iter(settings))}: |unknown setting 'width')"):
        build_encoder("kernel_guided", SPACE, **settings)
