"""The encoder that reads counts and is guided from behind a head."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from gemnet.cell import Cell
from search.core.cosines import cosines
from search.core.types import SearchError
from search.encoders import build_encoder, load_encoder, save_encoder
from search.kernel.wl import wl_kernel
from search.spaces.dag import DagSpace, prune
from search.spaces.node_order import random_order

SPACE = DagSpace(10)
QUICK = {"hidden": [128], "iterations": 500, "sample": 4000}


@pytest.fixture(scope="module")
def cells():
    return prune(SPACE.sample(np.random.default_rng(7), 300))


@pytest.fixture(scope="module")
def trained():
    return fitted(SPACE)


@pytest.fixture(scope="module")
def unguided():
    return fitted(SPACE, similarity_weight=0.0)


def fitted(space, seed=0, **settings):
    encoder = build_encoder("guided_counts", space, **QUICK | settings)
    encoder.fit(seed)
    return encoder


def test_behind_the_head_cosines_follow_the_kernel_of_cells_that_were_not_trained_on(trained, unguided, cells):
    a, b = cells[:150], cells[150:]
    kernel = wl_kernel(a, b)
    found = trained.similarity(trained.embed(a), trained.embed(b))
    assert r2_score(kernel, found) == pytest.approx(trained.metrics["R^2"], abs=0.1)
    assert spearmanr(kernel, found).statistic == pytest.approx(trained.metrics["Spearman"], abs=0.05)
    assert trained.metrics["R^2"] > 0.6 > 0 > unguided.metrics["R^2"]


def test_similarities_are_cosines_behind_the_head_of_vectors_of_any_precision(trained, cells):
    vectors = trained.embed(cells)
    with torch.inference_mode():
        behind = trained.net["head"](torch.from_numpy(vectors)).double().numpy()
    behind /= np.linalg.norm(behind, axis=1, keepdims=True)
    expected = (behind[:150] * behind[150:]).sum(1)
    assert trained.similarity(vectors[:150].astype(np.float64), vectors[150:]) == pytest.approx(expected, abs=1e-5)
    assert trained.uses_cosine
    assert not build_encoder("landmarks", SPACE).uses_cosine


def test_without_a_head_the_vectors_own_cosines_follow_the_kernel(trained, cells):
    headless = fitted(SPACE, head=False)
    x, y = headless.embed(cells[:150]), headless.embed(cells[150:])
    assert np.array_equal(headless.similarity(x, y), cosines(x, y))
    assert headless.metrics["R^2"] > 0.6 > 0 > r2_score(wl_kernel(cells[:150], cells[150:]), plain_cosines(trained, cells))


def plain_cosines(encoder, cells):
    return cosines(encoder.embed(cells[:150]), encoder.embed(cells[150:]))


def test_the_kernel_costs_little_of_what_the_vectors_tell_of_the_counts(trained, unguided):
    assert unguided.metrics["counts reconstructed"] > 0.9
    assert trained.metrics["counts reconstructed"] > unguided.metrics["counts reconstructed"] - 0.05


def test_what_is_reconstructed_is_the_share_of_the_counts_variance(trained, cells):
    counts = trained.counts.embed(cells)
    seen = trained.counts.embed(prune(SPACE.sample(np.random.default_rng(8), 4000)))
    counts = counts.clip(-4 * seen.std(0), 4 * seen.std(0)) / np.sqrt(seen.var(0).mean())
    with torch.inference_mode():
        told = trained.net["decoder"](torch.from_numpy(trained.embed(cells))).numpy()
    share = 1 - ((told - counts) ** 2).mean() / counts.var(0).mean()
    assert share == pytest.approx(trained.metrics["counts reconstructed"], abs=0.03)


def test_isomorphic_cells_embed_alike_and_others_do_not(trained, cells):
    vectors, again = (trained.embed(c) for c in (cells, random_order(cells, np.random.default_rng(0))))
    np.testing.assert_allclose(vectors, again, atol=1e-4)
    assert np.abs(vectors[0] - vectors[1:]).max(1).min() > 1e-3
    assert trained.embed(cells[:0]).shape == (0, 50)


def test_a_cell_unlike_all_others_does_not_embed_far_from_them(trained, cells):
    chain = Cell(("input", *["conv1x1"] * 9), tuple((v, v + 1) for v in range(9)))
    vectors = trained.embed(cells)
    (odd,) = trained.counts.embed(prune(SPACE.from_cells([chain])))
    assert (np.abs(odd) / trained.counts.embed(cells).std(0).clip(1e-3)).max() > 10
    (vector,) = trained.embed(prune(SPACE.from_cells([chain])))
    assert (np.abs(vector - vectors.mean(0)) / vectors.std(0)).max() < 10


def test_training_is_deterministic_by_seed_and_leaves_the_global_generator_alone(cells):
    few = {"iterations": 20, "sample": 200}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two, other = (fitted(SPACE, seed, **few).embed(cells) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("head", [True, False])
def test_a_saved_encoder_comes_back_with_its_counts_and_similarity(cells, tmp_path, head):
    settings = {"lr": 1e-3, "batch": 16, "h": 2, "similarity_weight": 3.0, "head": head, "dropped": ["conv1x1"]}
    encoder = fitted(SPACE, iterations=5, sample=100, **settings)
    save_encoder(tmp_path, encoder)
    again = load_encoder(tmp_path, SPACE)
    assert again.settings == encoder.settings
    assert {name: again.settings[name] for name in settings} == settings
    vectors = encoder.embed(cells)
    assert np.array_equal(again.embed(cells), vectors)
    assert np.array_equal(again.similarity(vectors[:150], vectors[150:]), encoder.similarity(vectors[:150], vectors[150:]))
    assert again.metrics == encoder.metrics
    plain = fitted(SPACE, iterations=5, sample=100)
    assert not np.array_equal(plain.counts.embed(cells), again.counts.embed(cells))


def test_an_encoder_that_is_not_trained_says_so(cells, tmp_path):
    encoder = build_encoder("guided_counts", SPACE)
    vectors = np.zeros((1, 50), np.float32)
    for use in (
        lambda: encoder.embed(cells),
        lambda: encoder.similarity(vectors, vectors),
        lambda: save_encoder(tmp_path, encoder),
    ):
        with pytest.raises(RuntimeError, match="call fit first"):
            use()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bound", None, "bound: expected 391 numbers"),
        ("bound", torch.ones(2), "bound: expected 391 numbers"),
        ("bound", -torch.ones(391), "bound: expected 391 numbers of at least 0"),
        ("counts.mean", torch.zeros(3), "expected mean and scale of 391 values"),
        ("counts.scale", None, "expected mean and scale of 391 values"),
        ("head.0.weight", None, r"Missing key.*head\.0\.weight"),
        ("decoder.0.weight", torch.zeros(2, 2), r"size mismatch for decoder\.0\.weight"),
        ("another", torch.zeros(1), "Unexpected key.*another"),
    ],
)
def test_weights_that_are_not_this_encoder_s_are_refused(trained, tmp_path, name, value, message):
    save_encoder(tmp_path, trained)
    file = tmp_path / "encoder.safetensors"
    weights = load_file(file)
    weights.pop(name, None)
    save_file(weights | ({} if value is None else {name: value}), file)
    with pytest.raises(SearchError, match=r"encoder\.safetensors: not the weights of this encoder: .*" + message):
        load_encoder(tmp_path, SPACE)


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0},
        {"hidden": [0]},
        {"iterations": 0},
        {"lr": -1},
        {"h": -1},
        {"h": 1.5},
        {"similarity_weight": -1},
        {"similarity_weight": float("nan")},
        {"similarity_weight": float("inf")},
        {"lr": float("inf")},
        {"sample": 1},
        {"dropped": ["conv9x9"]},
        {"device": "abacus"},
        {"head": "linear"},
        {"order": "canonical"},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(SearchError, match=rf"encoder: ({next(iter(settings))}: |unknown setting 'order')"):
        build_encoder("guided_counts", SPACE, **settings)
