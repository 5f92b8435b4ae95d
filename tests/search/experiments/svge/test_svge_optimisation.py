import numpy as np
import pytest

from search.core.types import CellArrays, SearchError
from search.experiments.svge.optimisation import METHODS, Budget, Pool, curves, markdown, optimise, rows, summary

BUDGET = Budget(start=8, rounds=3, batch=6, candidates=300)


@pytest.fixture(scope="module")
def pool(task, model):
    return Pool(task, model)


def test_a_pool_finds_a_graph_in_any_order_of_its_nodes_and_no_other(task, pool):
    assert np.isfinite(pool.accuracies).all()
    assert 0 < len(pool) < len(task.graphs)
    assert pool.find(pool.graphs).tolist() == list(range(len(pool)))
    unknown = np.setdiff1d(np.arange(len(task.graphs)), pool.rows)
    assert (pool.find(task.graphs[unknown]) == -1).all()
    twins = np.flatnonzero((pool.graphs.sizes == 4) & ~pool.graphs.adjacency[:, 1, 2])
    order = [0, 2, 1, 3]
    turned = CellArrays(pool.graphs.adjacency[twins][:, order][:, :, order], pool.graphs.operators[twins][:, order])
    assert pool.find(turned).tolist() == twins.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_asks_for_new_cells_alone_and_the_same_ones_again(method, model, pool):
    seen = []
    trace = optimise(method, model, pool, 3, BUDGET, lambda *state: seen.append(state[:2]))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(set(trace.asked)) == len(trace.asked) <= 26
    assert trace.asked[:8] == optimise("random", model, pool, 3, BUDGET).asked[:8]  # all begin alike
    assert trace == optimise(method, model, pool, 3, BUDGET)
    if method == "expected improvement":
        assert trace.decoded > trace.unknown
    else:
        assert len(trace.asked) == 26
        assert trace.decoded == trace.unknown == 0


def test_methods_that_learn_find_better_cells_than_random_search(model, pool):
    mean = {
        method: np.mean([pool.accuracies[optimise(method, model, pool, seed, BUDGET).asked].max() for seed in range(3)])
        for method in METHODS
    }
    assert all(mean[method] > mean["random"] for method in METHODS[:-1])


def test_what_makes_no_sense_is_refused(model, pool):
    with pytest.raises(SearchError, match="unknown method 'guessing'; expected one of expected improvement, "):
        optimise("guessing", model, pool, 0, BUDGET)
    with pytest.raises(SearchError, match="550 queries are more than the"):
        optimise("random", model, pool, 0)


def test_curves_and_tables_are_what_was_asked(task):
    known = task.known(np.arange(len(task.graphs)))[:4]
    run = {"rows": known.tolist(), "decoded": 10, "unknown": 4}
    found = {"random": [run, {**run, "rows": known[:2].tolist()}]}
    best = task.accuracies[known]
    expected = [best[0], max(best[:2]), max(best[:3]), max(best)]
    assert curves(task, found["random"])[0].tolist() == expected
    assert np.isnan(curves(task, found["random"])[1, 2:]).all()
    told = summary(task, found)
    values = told["methods"]["random"]
    assert values["best accuracy"] == [max(best), max(best[:2])]
    assert values["test accuracy of the best"] == pytest.approx([1 - max(best), 1 - max(best[:2])])
    assert values["decoded without an answer"] == 0.4
    assert values["peers after as many queries"] == {"random": [max(best[:2]), max(best[:2])]}
    assert f"| random | 2 to 4 | {100 * np.mean(values['best accuracy']):.3f} ± " in markdown(told)
    assert [row["query"] for row in rows(task, found)] == [1, 2, 3, 4, 1, 2]
