"""The process against scikit-learn's, and what it learns of groups of dimensions."""

import numpy as np
import pytest
from encoded import encoded
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from search.core.types import SearchError
from search.predictors import build_predictor
from search.predictors.gaussian_process import GROUP_SPREAD, NOISE, GaussianProcess, _Objective, _squared_distances


@pytest.fixture(scope="module")
def sample():
    """Vectors [160, 9] in groups of 2, 4 and 3 dimensions, of which the last says nothing; values of deviation 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 9))
    y = np.sin(2 * x[:, 0]) + x[:, 1] + 0.2 * x[:, 2:6].sum(1) + rng.normal(scale=0.1, size=160)
    return x, (y - y.mean()) / y.std()


GROUPS = (2, 4, 3)


def test_it_predicts_what_scikit_learns_does_with_the_same_settings(sample):
    x, y = sample
    ours = GaussianProcess(GROUPS)
    ours.fit(x[:100], y[:100], seed=0)
    kernel = ConstantKernel(ours._amplitude, "fixed") * Matern(1.0, "fixed", nu=2.5) + WhiteKernel(ours._noise, "fixed")
    theirs = GaussianProcessRegressor(kernel, optimizer=None).fit(x[:100] * ours._scale, y[:100])
    means, deviations = theirs.predict(x * ours._scale, return_std=True)
    assert np.allclose(ours.predict(x), means, atol=1e-4)
    assert np.allclose(ours.deviation(x) ** 2, deviations**2 - ours._noise, atol=1e-6)


def test_the_density_is_scikit_learns_likelihood_and_lognormal_priors(sample):
    x, y = sample
    parts = np.split(x[:60], np.cumsum(GROUPS)[:-1], axis=1)
    distances = np.stack([_squared_distances(part, part) for part in parts])
    objective = _Objective(distances, y[:60])
    at = objective.start + np.random.default_rng(1).normal(scale=0.4, size=len(objective.start))
    value, gradient = objective(at)
    assert np.allclose(gradient, approx_fprime(at, lambda z: objective(z)[0], 1e-6), rtol=1e-3, atol=1e-3)
    weights, noise, amplitude = objective.settings(at)
    kernel = ConstantKernel(amplitude) * Matern(1.0, nu=2.5) + WhiteKernel(noise)
    scaled = x[:60] * np.repeat(np.sqrt(weights), GROUPS)
    likelihood = GaussianProcessRegressor(kernel, optimizer=None).fit(scaled, y[:60]).log_marginal_likelihood_value_
    outside = np.concatenate([at[:3] / GROUP_SPREAD, [at[3], at[4] - np.log(NOISE), at[5]]])
    assert value == pytest.approx(-likelihood - 60 / 2 * np.log(2 * np.pi) + (outside**2).sum() / 2, rel=1e-5)


def test_groups_that_matter_weigh_more_and_tell_unseen_values_better(sample):
    x, y = sample
    errors = {}
    for groups in (None, GROUPS):
        process = GaussianProcess(groups)
        process.fit(x[:100], y[:100], seed=0)
        errors[groups] = ((process.predict(x[100:]) - y[100:]) ** 2).mean()
    assert process.weights[0] > 1.3 * process.weights[1] > 1.3 * process.weights[2]
    assert errors[GROUPS] < 0.8 * errors[None]
    with pytest.raises(ValueError, match="groups of 8 dimensions in all; the vectors have 9"):
        GaussianProcess((5, 3)).fit(x, y, seed=0)


def test_few_or_equal_values_are_no_trouble(sample):
    x, y = sample
    for values in (y[:2], np.zeros(30), np.repeat(y[:5], 6)):
        process = GaussianProcess(GROUPS)
        process.fit(x[: len(values)], values, seed=0)
        assert np.isfinite(process.predict(x)).all()
        assert (process.deviation(x) > 0).all()
    same = np.repeat(x[:1], 20, axis=0)
    process.fit(same, y[:20], seed=0)
    assert np.allclose(process.predict(same), process.predict(same)[0])


def test_vectors_far_from_zero_are_no_trouble(sample):
    x, y = sample
    near, far = GaussianProcess(GROUPS), GaussianProcess(GROUPS)
    near.fit(x[:100], y[:100], seed=0)
    far.fit(x[:100] + 1e4, y[:100], seed=0)
    assert np.allclose(far.predict(x + 1e4), near.predict(x), atol=1e-2)


def test_values_without_noise_are_met(sample):
    x = np.random.default_rng(0).uniform(-1, 1, size=(400, 2))
    y = np.sin(2 * x[:, 0]) + x[:, 1] ** 2
    y = (y - y.mean()) / y.std()
    process = GaussianProcess()
    process.fit(x, y, seed=0)
    assert np.allclose(process.predict(x), y, atol=0.02)


@pytest.mark.parametrize("within", [{}, {"type": "bagged", "members": 2}])
def test_an_ensemble_weighs_the_groups_of_the_encoder_or_others_that_are_given(sample, within):
    x, y = sample
    found = []
    for kind, groups, of_encoder in (("ensemble", None, GROUPS), ("ensemble", list(GROUPS), None), ("ensemble", None, None)):
        settings = {"type": kind, "trees": 5, "groups": groups}
        predictor = build_predictor(**({**within, "predictor": settings} if within else settings))
        predictor.fit(encoded(x[:60], of_encoder), y[:60], 0)
        found.append(predictor.predict(encoded(x)))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_groups_that_are_not_of_the_encoders_vectors_are_refused_before_any_training():
    class Encoder:
        dim = 9

    for groups in (None, [5, 4], [9]):
        build_predictor("ensemble", groups=groups).check_encoder(Encoder)
    for settings in ({"type": "ensemble"}, {"type": "graph_ensemble"}):
        with pytest.raises(SearchError, match=r"groups: expected sizes of 9 dimensions in all, found \[5\]"):
            build_predictor(**settings, groups=[5]).check_encoder(Encoder)
        with pytest.raises(SearchError, match="groups: expected sizes of 9 dimensions in all"):
            build_predictor("bagged", predictor={**settings, "groups": [5]}).check_encoder(Encoder)
    for groups in (5, [9.0], [10, -1]):
        with pytest.raises(SearchError, match="predictor: groups"):
            build_predictor("ensemble", groups=groups)


def test_an_ensemble_tells_by_the_groups_what_it_cannot_without(sample):
    x, y = sample
    found = []
    for groups in (None, GROUPS):
        predictor = build_predictor("ensemble", trees=10, groups=groups)
        predictor.fit(encoded(x[:100]), y[:100], 0)
        found.append(np.corrcoef(predictor._process.predict(x[100:]), y[100:])[0, 1])
    assert found[1] > found[0]


def test_a_step_far_astray_gives_numbers():
    rng = np.random.default_rng(0)
    objective = _Objective(np.stack([np.abs(np.subtract.outer(v, v)) for v in rng.random((2, 9))]), rng.standard_normal(9))
    for step in (400.0, 1e4):
        for signs in ((1, 1, 1, 1, 1), (-1, -1, -1, 1, 1), (1, -1, 1, -1, 1)):
            value, gradient = objective(objective.start + step * np.array(signs))
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
