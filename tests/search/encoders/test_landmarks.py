"""The kernel as inner products, and how high cosines can get."""

import numpy as np
import pytest
import torch

from search.core.types import SearchError
from search.encoders import build_encoder, load_encoder, save_encoder
from search.encoders.landmarks import LandmarkEncoder, highest_r_squared
from search.kernel.wl import wl_gram, wl_kernel
from search.spaces.dag import DagSpace, prune
from search.spaces.node_order import random_order

SPACE = DagSpace(12)


@pytest.fixture(scope="module")
def encoder():
    encoder = LandmarkEncoder(SPACE)
    encoder.fit(0)
    return encoder


def drawn(seed, count):
    return prune(SPACE.sample(np.random.default_rng(seed), count))


def test_inner_products_are_the_kernels_of_unseen_cells(encoder):
    a, b = drawn(5, 300), drawn(6, 300)
    found, kernel = encoder.similarity(encoder.embed(a), encoder.embed(b)), wl_kernel(a, b)
    assert 1 - ((found - kernel) ** 2).mean() / kernel.var() > 0.99
    assert encoder.metrics["R^2"] > 0.99
    assert encoder.metrics["Spearman"] > 0.99
    assert encoder.metrics["kernel variance"] == pytest.approx(kernel.var(), rel=0.3)


def test_among_as_many_landmarks_as_dimensions_it_is_exact():
    exact = LandmarkEncoder(SPACE, dim=60, landmarks=60)
    exact.fit(0)
    cells = prune(SPACE.sample(np.random.default_rng((0, 0)), 60))  # the landmarks themselves
    vectors = exact.embed(cells).astype(np.float64)
    assert np.allclose(vectors @ vectors.T, wl_gram(cells), atol=1e-4)


def test_isomorphic_cells_embed_alike_and_no_vector_is_longer_than_1(encoder):
    cells = drawn(7, 100)
    vectors = encoder.embed(cells)
    assert np.allclose(encoder.embed(random_order(cells, np.random.default_rng(0))), vectors, atol=1e-5)
    assert np.linalg.norm(vectors, axis=1).max() <= 1 + 1e-5
    assert encoder.metrics["private share"] == pytest.approx(1 - (vectors**2).sum(1).mean(), abs=0.05)


@pytest.mark.long
def test_no_cosines_of_few_numbers_follow_the_kernel_further_than_the_bound(encoder):
    """The best ones for one Gram matrix are sought by gradient: they come near to the bound, and not above."""
    cells = drawn(8, 400)
    kernel = torch.from_numpy(wl_gram(cells))
    off = ~torch.eye(len(cells), dtype=torch.bool)
    for dim in (4, 50, 80):
        torch.manual_seed(0)
        vectors = torch.randn(len(cells), dim, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([vectors], 0.05)
        for _ in range(300):
            unit = torch.nn.functional.normalize(vectors)
            loss = ((unit @ unit.T - kernel)[off] ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        reached = 1 - loss.item() / kernel[off].var().item()
        bound = highest_r_squared(encoder.metrics, dim)
        assert reached < bound
        assert dim < 50 or bound < reached + 0.1


def test_where_all_kernels_are_equal_there_is_no_bound():
    same = LandmarkEncoder(DagSpace(2, ("conv1x1",), (1.0, 1.0)))
    assert highest_r_squared(same.fit(0), 3) == 1


def test_it_is_saved_and_comes_back_and_others_are_refused(encoder, tmp_path):
    save_encoder(tmp_path, encoder)
    cells = drawn(9, 50)
    loaded = load_encoder(tmp_path, SPACE)
    assert np.array_equal(loaded.embed(cells), encoder.embed(cells))
    assert loaded.metrics == encoder.metrics
    weights = {"adjacency": np.zeros((500, 12, 12)), "operators": np.zeros((500, 12)), "projection": np.zeros((500, 50))}

    for name, change in (("operators", 7.0), ("adjacency", 0.5)):
        wrong = {key: torch.from_numpy(value.astype(np.float32)) for key, value in weights.items()}
        wrong[name][0, -1] = change
        with pytest.raises(RuntimeError, match="not those of cells of the space"):
            LandmarkEncoder(SPACE).load_weights(wrong)
    with pytest.raises(RuntimeError, match=r"expected .*found"):
        LandmarkEncoder(SPACE, dim=10).load_weights({k: torch.from_numpy(v) for k, v in weights.items()})
    with pytest.raises(RuntimeError, match="call fit first"):
        LandmarkEncoder(SPACE).embed(cells)
    with pytest.raises(RuntimeError, match="call fit first"):
        save_encoder(tmp_path, LandmarkEncoder(SPACE))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "dim: expected a whole number from 1 to 65536, found 0"),
        ({"h": -1}, "h: expected a whole number from 0, found -1"),
        ({"landmarks": 2.5}, r"landmarks: expected a whole number from 1, found 2\.5"),
        ({"dim": 50, "landmarks": 40}, r"dim: expected at most as many as landmarks \(40\), found 50"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(SearchError, match=message):
        build_encoder("landmarks", SPACE, **settings)


def test_a_space_of_few_cells_needs_fewer_dimensions():
    tiny = DagSpace(2)
    encoder = LandmarkEncoder(tiny, dim=50, landmarks=100)
    encoder.fit(0)
    cells = prune(tiny.sample(np.random.default_rng(1), 40))
    vectors = encoder.embed(cells).astype(np.float64)
    assert np.allclose(vectors @ vectors.T, wl_gram(cells), atol=1e-3)
