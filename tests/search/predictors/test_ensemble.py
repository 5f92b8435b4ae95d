import numpy as np
import pytest
from encoded import encoded
from scipy.stats import kendalltau

from search.core.types import SearchError
from search.predictors import build_predictor
from search.predictors.acquisition import upper_confidence_bound


@pytest.fixture(scope="module")
def sample():
    """200 cells with vectors [200, 6], scores with a long tail of bad ones, and the scores without their noise."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 6)).astype(np.float32)
    smooth = vectors[:, 0] - 0.5 * vectors[:, 1] ** 2
    scores = 0.9 - 0.05 * np.exp(-smooth)
    return encoded(vectors), scores + rng.normal(scale=0.002, size=200), scores


def test_it_ranks_unseen_vectors_in_the_scores_units_and_tells_where_it_knows_less(sample):
    x, scores, smooth = sample
    predictor = build_predictor("ensemble", trees=150)
    predictor.fit(x[:100], scores[:100], seed=0)
    predicted = predictor.predict(x[100:])
    assert kendalltau(predicted, smooth[100:]).statistic > 0.7
    assert np.median(np.abs(predicted - smooth[100:])) < 0.02
    far, near = (predictor.predict_with_std(some)[1].mean() for some in (encoded(x.vectors[100:] * 10), x[:100]))
    assert far > 2 * near


@pytest.mark.parametrize("settings", [{"type": "ensemble", "trees": 40}, {"type": "bagged", "members": 3}])
def test_optimism_lies_above_the_prediction_by_what_is_not_known(sample, settings):
    x, scores, smooth = sample
    predictor = build_predictor(**settings)
    predictor.fit(x[:100], scores[:100], seed=0)
    mean, deviation = predictor.predict_with_std(x)
    assert kendalltau(mean[100:], smooth[100:]).statistic > 0.5
    assert np.array_equal(predictor.predict(x), mean)
    assert np.allclose(predictor.ucb(x, 0.0), mean)
    above = predictor.ucb(x, 1.0) - mean
    assert above.min() > 0
    assert kendalltau(above, deviation).statistic > 0.5
    assert np.array_equal(upper_confidence_bound(predictor, 1.0)(x), predictor.ucb(x, 1.0))
    assert np.array_equal(upper_confidence_bound(predictor, 0.0)(x), mean)


def test_bagged_predictors_are_told_by_their_members(sample):
    x, scores, _ = sample
    members = {"predictor": {"type": "mlp", "steps": 20}, "members": 4}
    found = []
    for seed in (1, 1, 2):
        found.append(build_predictor("bagged", **members))
        found[-1].fit(x[:50], scores[:50], seed)
    told = [predictor.predict_with_std(x) for predictor in found]
    assert np.array_equal(told[0], told[1])
    assert not np.array_equal(told[0], told[2])
    with pytest.raises(RuntimeError, match="fit first"):
        build_predictor("bagged").predict(x)
    with pytest.raises(SearchError, match="mode: expected one of retrain, finetune, found 'learn'"):
        build_predictor("bagged", predictor={"type": "mlp", "mode": "learn"})
    with pytest.raises(SearchError, match="members: expected a whole number from 2, found 1"):
        build_predictor("bagged", members=1)


def test_the_same_seed_gives_the_same_and_the_subset_decides_the_process_alone(sample):
    x, scores, _ = sample
    found = []
    for seed in (1, 1, 2):
        predictor = build_predictor("ensemble", trees=20, subset=50)
        predictor.fit(x, scores, seed)
        found.append(predictor.predict(x))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_equal_scores_and_wrong_input(sample):
    x, scores, _ = sample
    predictor = build_predictor("ensemble", trees=5)
    with pytest.raises(RuntimeError, match="fit first"):
        predictor.predict(x)
    predictor.fit(x[:20], np.full(20, 0.5), seed=0)
    assert np.allclose(predictor.predict(x), 0.5)
    for wrong, told in ((scores[:-1], "as many"), (np.where(np.arange(200) == 3, np.nan, scores), "finite")):
        with pytest.raises(ValueError, match=told):
            predictor.fit(x, wrong, seed=0)
    with pytest.raises(SearchError, match="trees"):
        build_predictor("ensemble", trees=0)
