"""Sums over seeds, and what is told of them."""

import math

import pytest

from search.experiments.paper.base import Comparison
from search.experiments.paper.summary import grid, seeds_text, summarized
from search.experiments.paper.verdicts import verdicts

A = [0.1, 0.2, 0.6]
B = [0.2, 0.1, 0.3]


@pytest.fixture
def summary(result):
    results = [result("a", 10, seed, tau=tau) for seed, tau in enumerate(A)]
    results += [result("b", 10, seed, tau=tau) for seed, tau in enumerate(B)]
    results += [result("a", 20, 7, tau=0.5)]
    return summarized(results, [Comparison("b", "a", "tau")])


def test_mean_and_sample_deviation_over_the_seeds(summary):
    a = summary["rows"][0]
    assert (a["row"], a["setting"], a["count"]) == ("a", 10, 3)
    assert a["figures"]["tau"]["mean"] == pytest.approx(0.3)
    assert a["figures"]["tau"]["deviation"] == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2), rel=1e-5)


def test_one_seed_has_no_deviation(summary):
    assert summary["rows"][2]["figures"]["tau"] == {"mean": 0.5, "deviation": None}


def test_differences_are_paired_by_seed(summary):
    (pair,) = summary["paired"]
    assert pair["mean"] == pytest.approx(-0.1)
    assert pair["deviation"] == pytest.approx(math.sqrt((0.2**2 + 0 + 0.2**2) / 2), rel=1e-5)
    assert (pair["larger"], pair["count"], pair["setting"]) == (1, 3, 10)


def test_the_grid_has_others_figures_ours_and_the_differences(summary):
    assert grid(summary, "tau", "n", {"peer": {20: 0.25}}, digits=2).splitlines() == [
        "| n | 10 | 20 |",
        "|---|---|---|",
        "| peer |  | 0.25 |",
        "| **a** | 0.30 ± 0.26 | 0.50 |",
        "| **b** | 0.20 ± 0.10 |  |",
        "| b - a, paired | -0.10 ± 0.20 (1 of 3 larger) |  |",
    ]


def test_seeds_and_time_are_told(summary):
    assert seeds_text(summary) == (
        "Seeds 0 to 7; mean ± standard deviation over them; 0.5 to 0.5 s for a row, setting and seed."
    )


@pytest.mark.parametrize(("lower", "told"), [(False, "yes, +3.5 (3 seeds)"), (True, "**no**, -3.5 (3 seeds)")])
def test_a_row_is_ahead_where_it_is_by_two_standard_errors_of_the_paired_difference(result, lower, told):
    pairs = [(0.5, 0.3), (0.6, 0.5), (0.7, 0.4)]  # differences of 0.2, 0.1, 0.3: a mean of 0.2, an error of 0.1 / sqrt(3)
    results = [result(row, 10, seed, tau=pair[i]) for seed, pair in enumerate(pairs) for i, row in enumerate("ab")]
    results += [result(row, 20, 0, tau=pairs[0][i]) for i, row in enumerate("ab")]
    summary = summarized(results, [Comparison("a", "b", "tau")])
    assert f"| a ahead of b | {told} | not known (1 seed) |" in verdicts(summary, "tau", ["b"], lower=lower)


def test_a_row_of_fewer_seeds_says_so(result):
    results = [result("all", 10, seed, tau=0.5) for seed in range(4)] + [result("some", 10, seed, tau=0.5) for seed in range(2)]
    told = grid(summarized([*results, result("none", 10, 0, tau=0.5)]), "tau", "x")
    assert "| **all** |" in told
    assert "| **some**, 2 seeds |" in told
    assert "| **none** |" in told  # nothing that a seed changes
