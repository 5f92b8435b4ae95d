import numpy as np
import pytest
import torch
from encoded import encoded
from scipy.stats import kendalltau

from search.core.types import EncodedCells, SearchError
from search.predictors import build_predictor
from search.predictors.cross_validation import cross_validated_predictions
from search.predictors.mlp import MLPPredictor


@pytest.fixture(scope="module")
def sample():
    """300 cells with vectors [300, 10] and a score that is a smooth function of two of their dimensions."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 10)).astype(np.float32)
    return encoded(vectors), 0.7 + 0.05 * np.tanh(vectors[:, 0]) - 0.03 * vectors[:, 1] ** 2


def test_a_trained_predictor_ranks_unseen_vectors(sample):
    x, scores = sample
    predictor = MLPPredictor()
    predictor.fit(x[:200], scores[:200], seed=0)
    assert kendalltau(predictor.predict(x[200:]), scores[200:]).statistic > 0.6


def test_the_same_seed_gives_the_same_predictions_and_leaves_the_global_generator_alone(sample):
    x, scores = sample
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = MLPPredictor(steps=30), MLPPredictor(steps=30), MLPPredictor(steps=30)
    one.fit(x, scores, 1)
    assert torch.equal(torch.rand(1), expected)
    two.fit(x, scores, 1)
    other.fit(x, scores, 2)
    assert np.array_equal(one.predict(x), two.predict(x))
    assert not np.array_equal(one.predict(x), other.predict(x))


def test_fine_tuning_goes_on_from_what_was_learned_and_retraining_does_not(sample):
    x, scores = sample
    errors = {}
    for mode in ("finetune", "retrain"):
        predictor = MLPPredictor(steps=200, mode=mode)
        predictor.fit(x, scores, 0)
        predictor.steps = 4  # of which fine-tuning takes one: what is known then was known before
        predictor.fit(x, scores, 0)
        errors[mode] = np.abs(predictor.predict(x) - scores).mean()
    assert errors["finetune"] < 0.5 * errors["retrain"]


def test_fine_tuning_keeps_predictions_when_the_spread_of_the_scores_changes(sample):
    x, scores = sample
    predictor = MLPPredictor(steps=200, mode="finetune")
    predictor.fit(x, scores, 0)
    before = predictor.predict(x)
    predictor.lr, predictor.weight_decay = 1e-12, 0.0  # training that changes nothing
    predictor.fit(x, 10 * scores - 3, 0)
    assert np.allclose(predictor.predict(x), before, atol=1e-4)


def test_the_lipschitz_constant_bounds_differences_and_eq_13_holds(sample):
    x, scores = sample
    predictor = MLPPredictor()
    predictor.fit(x, scores, 0)
    bound = predictor.lipschitz_bound(x)
    vectors = x.vectors
    a, b = vectors[:150].astype(float), vectors[150:].astype(float)
    slopes = np.abs(predictor.predict(encoded(a)) - predictor.predict(encoded(b))) / np.linalg.norm(a - b, axis=1)
    near = a + 1e-3 * np.random.default_rng(1).normal(size=a.shape)
    local = np.abs(predictor.predict(encoded(a)) - predictor.predict(encoded(near))) / np.linalg.norm(a - near, axis=1)
    assert 0 < max(slopes.max(), local.max()) <= bound.lipschitz
    assert bound.variance == pytest.approx(predictor.predict(x).var())
    assert bound.input_variance == pytest.approx(np.trace(np.cov(vectors.T, bias=True)), rel=1e-5)
    assert predictor.summary(x) == bound.as_dict()
    assert bound.variance <= bound.bound == pytest.approx(bound.lipschitz**2 * bound.input_variance)


@pytest.mark.long
def test_cross_validation_predicts_each_score_without_having_seen_it(sample):
    x, scores = sample
    predicted = cross_validated_predictions(MLPPredictor, x[:100], scores[:100], seed=0)
    assert kendalltau(predicted, scores[:100]).statistic > 0.3
    noise = np.random.default_rng(2).normal(size=100)  # nothing to learn: a leak would show as agreement
    assert abs(kendalltau(cross_validated_predictions(MLPPredictor, x[:100], noise, 0), noise).statistic) < 0.25


def test_equal_scores_and_constant_dimensions_are_no_trouble():
    x = encoded(np.ones((5, 3), np.float32))
    predictor = MLPPredictor(steps=10)
    predictor.fit(x, np.full(5, 0.4), 0)
    assert np.allclose(predictor.predict(x), 0.4, atol=1e-6)


def test_bad_samples_and_settings_are_refused():
    predictor = MLPPredictor()
    with pytest.raises(RuntimeError, match="call fit first"):
        predictor.predict(encoded(np.zeros((1, 3))))
    with pytest.raises(ValueError, match="at least 2"):
        predictor.fit(encoded(np.zeros((1, 3))), np.zeros(1), 0)
    with pytest.raises(ValueError, match="finite"):
        predictor.fit(encoded(np.zeros((3, 3))), np.array([0, np.nan, 1]), 0)
    with pytest.raises(SearchError, match="predictor: mode: expected one of retrain, finetune, found 'both'"):
        build_predictor(mode="both")
    with pytest.raises(SearchError, match="unknown predictor 'forest'; expected one of mlp"):
        build_predictor("forest")
    with pytest.raises(SearchError, match="depth"):
        build_predictor(depth=3)


def test_one_that_does_not_know_how_sure_it_is_says_so(sample):
    x, scores = sample
    predictor = MLPPredictor(steps=1)
    predictor.fit(x, scores, 0)
    assert not predictor.has_std
    for ask in (predictor.predict_with_std, lambda x: predictor.ucb(x, 0.5)):
        with pytest.raises(NotImplementedError, match="MLPPredictor predicts no standard deviations"):
            ask(x)


def test_as_many_vectors_as_cells_are_encoded_and_rows_are_taken_of_both(sample):
    x, _ = sample
    some = x[np.array([5, 3])]
    assert np.array_equal(some.vectors, x.vectors[[5, 3]])
    assert len(some.cells) == len(some) == 2
    with pytest.raises(ValueError, match=r"expected vectors \[2, d\], one of each cell; found \[3, 10\]"):
        EncodedCells(some.cells, x.vectors[:3])
