import numpy as np
import pytest
from scipy.stats import kendalltau

from search.core.types import SearchError
from search.encoders.svge.training import Plan
from search.experiments.svge.prediction import (
    SparseGaussianProcess,
    agreement,
    expected_improvement,
    fine_tuned,
    gaussian_process_figures,
    network_figures,
)


def smooth(vectors):
    return 3 + np.sin(vectors[:, 0]) + 0.5 * vectors[:, 1]


def test_the_sparse_process_learns_a_smooth_function_from_few_inducing_points_and_knows_where_it_does_not():
    rng = np.random.default_rng(0)
    x, new, far = rng.uniform(-2, 2, (400, 3)), rng.uniform(-2, 2, (100, 3)), np.full((1, 3), 40.0)
    process = SparseGaussianProcess(inducing=60).fit(x, smooth(x) + 0.01 * rng.standard_normal(400))
    mean, deviation = process.predict(new)
    assert np.sqrt(((mean - smooth(new)) ** 2).mean()) < 0.05
    assert deviation.max() < 0.2
    assert process.predict(far)[1][0] > 5 * deviation.max()
    assert abs(process.predict(far)[0][0] - 3) < 1  # back to about the mean
    again = SparseGaussianProcess(inducing=60).fit(x, smooth(x) + 0.01 * np.random.default_rng(0).standard_normal(400))
    assert again.predict(new)[0].shape == (100,)


def test_the_sparse_process_does_not_hang_on_units():
    rng = np.random.default_rng(1)
    x, new = rng.uniform(-2, 2, (120, 2)), rng.uniform(-2, 2, (20, 2))
    plain = SparseGaussianProcess(50).fit(x, smooth(x)).predict(new)
    scaled = SparseGaussianProcess(50).fit(100 * x + 7, 1000 * smooth(x)).predict(100 * new + 7)
    assert np.allclose(scaled[0] / 1000, plain[0], atol=1e-3)
    assert np.allclose(scaled[1] / 1000, plain[1], atol=1e-2)


def test_the_sparse_process_is_not_misled_by_a_few_outliers():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((400, 20))
    signal = 0.5 * np.sin(x[:, :2]).sum(1)
    y = signal + 0.2 * rng.standard_normal(400)
    y[rng.permutation(300)[:3]] -= 25  # the ascent of the likelihood then ends at a constant
    mean, _ = SparseGaussianProcess(300).fit(x[:300], y[:300]).predict(x[300:])
    assert np.ptp(mean) > 1
    assert np.corrcoef(mean, signal[300:])[0, 1] > 0.3


def test_expected_improvement_is_what_drawing_gives():
    rng = np.random.default_rng(0)
    for mean, deviation in ((0.0, 1.0), (0.5, 0.1), (-1.0, 0.5)):
        drawn = np.maximum(0, mean + deviation * rng.standard_normal(400_000) - 0.4).mean()
        assert expected_improvement(np.array([mean]), np.array([deviation]), 0.4)[0] == pytest.approx(drawn, abs=3e-3)


def test_agreement_is_counted_by_hand():
    predicted, measured = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    found = agreement(predicted, measured, deviation=2.0)
    assert found["RMSE"] == pytest.approx(np.sqrt(5 / 3) / 2)
    assert found["Pearson"] == pytest.approx(np.corrcoef(predicted, measured)[0, 1])
    assert found["Kendall"] == pytest.approx(kendalltau(predicted, measured).statistic) == pytest.approx(1 / 3)
    assert agreement(np.ones(3), measured, deviation=1.0) == {"RMSE": pytest.approx((5 / 3) ** 0.5), "Pearson": 0, "Kendall": 0}


def test_both_predictors_learn_the_accuracies_of_a_made_space(task, model, tuned):
    for figures in (gaussian_process_figures(model, task, 0, inducing=500, cells=20_000), network_figures(tuned, task)):
        assert set(figures) == {"RMSE", "Pearson", "Kendall"}
        assert figures["Pearson"] > 0.6


def test_fine_tuning_leaves_the_model_as_it_was_and_goes_on_from_its_checkpoint(task, model, tmp_path):
    before = model.embed(task.graphs)
    one, again = (fine_tuned(model, task, 0, cells=20, plan=Plan(2, 10, 1e-2), directory=tmp_path) for _ in range(2))
    assert np.array_equal(model.embed(task.graphs), before)
    assert not np.array_equal(one.embed(task.graphs), before)
    assert np.array_equal(one.predict(one.embed(task.graphs)), again.predict(again.embed(task.graphs)))


@pytest.mark.parametrize(
    ("vectors", "values", "message"),
    [
        (np.zeros((3, 2)), np.zeros(2), r"expected vectors \[N, d\] and values \[N\]"),
        (np.zeros((1, 2)), np.zeros(1), "N from 2"),
        (np.array([[0.0, np.nan], [1, 2]]), np.zeros(2), "finite"),
        (np.zeros((2, 2)), np.array([0, np.inf]), "finite"),
    ],
)
def test_vectors_and_values_that_make_no_sense_are_refused(vectors, values, message):
    with pytest.raises(SearchError, match=message):
        SparseGaussianProcess().fit(vectors, values)
    with pytest.raises(SearchError, match="inducing"):
        SparseGaussianProcess(1)
