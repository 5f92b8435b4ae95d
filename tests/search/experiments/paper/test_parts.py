"""What the parts measure, on made tables."""

import numpy as np
import pytest

from search.core.types import SearchError
from search.encoders.svge.graph_spaces import cell_space, cells_of_graphs, graphs_of_cells
from search.experiments.paper import (
    encoder,
    figure1,
    figure4,
    figure5,
    figure6,
    protocols,
    published,
    ranking,
    tables34,
    tabular_search,
)
from search.experiments.paper.base import Measured, Result, Unit
from search.experiments.paper.cells import Conv3x3Space, benchmark_space, trained_encoder, training_rows
from search.experiments.paper.evolution import evolve, mutated
from search.experiments.paper.methods import search_history
from search.experiments.paper.output import write_files
from search.experiments.paper.parts import PARTS
from search.experiments.paper.rows import searches
from search.spaces.dag import prune
from search.spaces.nasbench101 import NasBench101Space, pruned_both_ways

KERNEL = {"type": "kernel_guided", "dim": 4, "hidden": [8], "iterations": 3, "batch": 8}
SMALL = {"encoder": {"type": "adjacency"}, "predictor": {"type": "mlp", "steps": 20}}
TEST = (29952 - np.arange(12) * 100) / 29952  # of made_tables, against the order of the validation accuracies
METHODS = {
    "random": {},
    "evolution": {"population": 3, "tournament": 2},
    "pipeline": {
        "config": "nasbench101_nasgem.py",
        "options": {
            "search.start": 4,
            "search.batch": 2,
            "encoder.iterations": 3,
            "encoder.dim": 4,
            "encoder.hidden": [8],
            "predictor.steps": 10,
            "search.draws": 50,
        },
    },
    "pipeline, bagged": {
        "config": "nasbench101_nasgem.py",
        "options": {
            "search.start": 4,
            "search.batch": 2,
            "encoder.type": "adjacency",
            "predictor.type": "bagged",
            "predictor.members": 2,
            "predictor.predictor": {"type": "mlp", "steps": 10},
            "search.draws": 50,
            "search.ucb_beta": 1.0,
            "search.measured_weight": 0.5,
        },
    },
    "pipeline, our config": {
        "config": "nasbench101.py",
        "options": {
            "search.start": 4,
            "search.batch": 2,
            "predictor.trees": 5,
            "search.draws": 50,
            "search.folds": 4,
            "search.repeats": 2,
        },
    },
    "pipeline, our config with graphs": {
        "config": "nasbench101_graphs.py",
        "options": {
            "search.start": 4,
            "search.batch": 2,
            "predictor.trees": 5,
            "predictor.epochs": 2,
            "search.draws": 50,
            "search.folds": 3,
            "search.repeats": 1,
        },
    },
}


def unit(setting, seed=0, **recipe):
    return Unit("made", "row", setting, seed, {**SMALL, **recipe})


def test_the_stand_in_for_nasgem_bench_has_the_cells_of_conv3x3_alone(folder):
    assert Conv3x3Space(folder).pool.tolist() == [0, 3, 9, 11]


def test_training_cells_have_validation_accuracy_and_are_nested(context):
    space = benchmark_space("nasbench101", context, "all")
    few, many = training_rows(space, 4, seed=1), training_rows(space, 10, seed=1)
    assert many[:4].tolist() == few.tolist()
    assert sorted(many) == list(range(10))
    assert training_rows(space, 10, seed=2).tolist() != many.tolist()


def test_more_training_cells_than_there_are_is_told(context):
    with pytest.raises(SearchError, match=r"11 cells are asked for, but only 10 of .*nasbench101.npz have validation accuracy"):
        training_rows(benchmark_space("nasbench101", context, "all"), 11, seed=0)


def test_an_encoder_is_trained_once_for_its_settings_seed_and_cells(context):
    space = benchmark_space("nasbench101", context, "all")
    first = trained_encoder(KERNEL, space, 0, context)
    stamps = {path: path.stat().st_mtime_ns for path in context.directory.rglob("encoder.json")}
    again = trained_encoder(KERNEL, space, 0, context)
    np.testing.assert_array_equal(first.embed(space.table.cells), again.embed(space.table.cells))
    assert {path: path.stat().st_mtime_ns for path in context.directory.rglob("encoder.json")} == stamps
    trained_encoder(KERNEL, space, 1, context)
    trained_encoder({**KERNEL, "dim": 5}, space, 0, context)
    trained_encoder(KERNEL, benchmark_space("nasbench101", context, "evaluated"), 0, context)
    assert len(list(context.directory.rglob("encoder.json"))) == 4


@pytest.mark.parametrize("name", ["nasbench101", "nasbench201"])
def test_svge_reads_the_cells_of_a_benchmark_with_their_own_output(context, name):
    space = benchmark_space(name, context, "all")
    graphs = graphs_of_cells(space, prune(space.table.cells))
    assert cell_space(space).valid(graphs).all()
    back = cells_of_graphs(space, graphs)
    np.testing.assert_array_equal(back.operators, space.table.operators)
    np.testing.assert_array_equal(back.adjacency, space.table.adjacency)


def test_tables_3_and_4_are_correlations_on_the_held_out_cells(context):
    found = tables34.measure(unit(100, drawn=4, training=2), context).figures
    assert abs(found["kendall"]) == 1.0  # of two cells
    assert found["pearson"] == pytest.approx(found["kendall"])
    with pytest.raises(SearchError, match="4 cells are conv3x3 alone; 1000 are to be drawn"):
        tables34.measure(unit(100, drawn=1000, training=600), context)


def test_tables_3_and_4_share_their_results():
    three, four = (PARTS[name].units([0, 1], False) for name in ("table3", "table4"))
    assert [u.key for u in three] == [u.key for u in four]
    assert len(three) == 2 * 13 * 6


def test_a_predictor_that_learns_validation_accuracies_ranks_tests_in_reverse_where_they_are_reversed(context):
    found = ranking.measure(unit(10, space="nasbench101", predictor={"type": "mlp", "steps": 300}), context).figures
    assert found["kendall"] < -0.5
    assert found["fit and predict, s"] > 0


def test_both_protocols_rank_the_predictions_of_one_fit(context):
    found = protocols.measure(unit(6, space="nasbench101", predictor={"type": "mlp", "steps": 300}), context).figures
    assert found[protocols.TEST] == pytest.approx(-found[protocols.VALIDATION])  # made tests fall where validations grow
    assert found[protocols.WITH_SEEN] > 0.5  # what was learned is among them
    noise = protocols.measure(Unit("made", protocols.NOISE, 6, 0, {"space": "nasbench101"}), context).figures
    assert list(noise.values()) == pytest.approx([-1] * 3)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", ["lstm", "gates"])
def test_an_encoder_that_learns_scores_learns_those_of_its_training_cells(context, name, own):
    settings = {"type": name, "dim": 8, **({"epochs": 60} if name == "gates" else {"iterations": 5, "score_iterations": 60})}
    recipe = {
        "space": "nasbench101",
        "encoder": settings,
        "predictor": {"type": "own"} if own else {"type": "mlp", "steps": 50},
    }
    assert ranking.measure(unit(10, **recipe), context).figures["kendall"] < -0.3  # the tests are in reverse


@pytest.mark.parametrize("setting", [5, 10])
def test_validation_accuracies_are_ranked_against_tests_where_they_are_known(context, setting):
    labels = Unit("made", ranking.LABELS, setting, 0, {"space": "nasbench101"})
    assert ranking.measure(labels, context).figures == {"kendall": pytest.approx(-1)}


def test_every_size_has_a_row_of_validation_accuracies_once():
    found = [u for u in PARTS["nasbench201"].units([3, 4], False) if u.row == ranking.LABELS]
    assert [(u.setting, u.seed) for u in found] == [(n, 3) for n in published.SIZES_201]


def test_the_bias_is_what_the_chosen_cell_lacks_of_the_best_one(context):
    found = figure5.measure(unit(10, draws=500), context).figures
    assert found["bias, %"] + found["test accuracy, %"] == pytest.approx(100 * TEST.max())
    assert np.isclose(found["test accuracy, %"], 100 * TEST).any()
    assert found["test accuracy, %"] <= 100 * TEST[6]  # the predictor has learnt the opposite order


def test_a_table_of_searches_without_a_predictor_has_no_tau(tmp_path):
    part = PARTS["search"]
    results = [Result(u, made_figures(part, u), 1.0) for u in part.units([0, 1], False)]
    without = [result for result in results if result.unit.recipe["method"] != "pipeline"]
    assert "tau" in write_files(part, results, tmp_path)[0].read_text()
    assert "tau" not in write_files(part, without, tmp_path)[0].read_text()


def test_similarity_and_difference_are_those_of_the_pairs(context):
    measured = figure1.measure(unit(40, encoder={"type": "adjacency"}, shown=15), context)
    assert -1 <= measured.figures["Spearman"] <= 1
    difference = np.array(measured.series["difference, %"])
    steps = difference / (100 * 100 / 9984)  # neighbours of the made table differ by 100 of 9,984 images
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
    assert steps.round().min() >= 1


def test_the_surface_covers_the_cells_drawn(context):
    measured = figure4.measure(unit(10, draws=300, penalty=0.1, bins=6), context)
    assert len(measured.series["score"]) == 36
    assert len(measured.series["x"]) == 7
    assert len(measured.series["cell score"]) == 10
    assert measured.figures["smoothness, R^2"] > 0.5  # 12 cells drawn again and again: neighbours are equals


def test_the_encoder_is_judged_for_its_nodes_and_dimension(context):
    measured = figure6.measure(unit(6, encoder={**KERNEL, "dim": 3}), context)
    assert set(measured.figures) == {"R^2", "Spearman", "similarity MSE", "highest R^2"}
    landmarks = figure6.measure(unit(6, encoder={"type": "landmarks", "dim": 10, "landmarks": 50}), context)
    assert landmarks.figures["R^2"] > measured.figures["R^2"]
    assert "highest R^2" not in landmarks.figures


def test_landmarks_are_judged_by_inner_products_and_isomorphic_ones_by_their_cosine_too(context):
    measured = encoder.measure(unit(8, encoder={"type": "landmarks", "landmarks": 50}), context)
    assert measured.figures["cosine of isomorphic cells"] == pytest.approx(1)
    assert max(measured.series["similarity of isomorphic cells"]) <= 1 + 1e-5
    assert min(measured.series["similarity of isomorphic cells"]) < 0.9  # the inner product lacks the private share


@pytest.mark.parametrize("order", ["given", "canonical"])
def test_the_encoder_is_judged_on_isomorphic_pairs_too(context, order):
    measured = encoder.measure(unit(6, encoder={**KERNEL, "iterations": 200, "order": order}), context)
    assert set(measured.figures) == set(encoder.FIGURES) - {"counts reconstructed"}
    isomorphic = np.array(measured.series["similarity of isomorphic cells"])
    assert len(isomorphic) == len(measured.series["kernel"]) == len(measured.series["similarity"])
    assert measured.figures["cosine of isomorphic cells"] == pytest.approx(isomorphic.mean(), abs=0.05)
    assert (isomorphic > 0.9999).mean() > 0.98 if order == "canonical" else (isomorphic < 0.999).mean() > 0.5


def test_an_encoder_of_counts_is_judged_by_the_cosines_behind_its_head(context):
    settings = {"type": "guided_counts", "dim": 8, "hidden": [16], "iterations": 100, "sample": 400}
    alone = figure6.measure(unit(6, encoder=settings), context).figures
    measured = encoder.measure(unit(6, encoder=settings), context)
    assert set(measured.figures) == set(encoder.FIGURES) - {"edges reconstructed"}
    shared = ("R^2", "Spearman", "highest R^2")
    assert [measured.figures[name] for name in shared] == [alone[name] for name in shared]
    assert measured.figures["cosine of isomorphic cells"] == pytest.approx(1)
    assert min(measured.series["similarity of isomorphic cells"]) > 0.9999


@pytest.mark.parametrize("method", METHODS)
def test_a_search_asks_for_distinct_cells_of_the_pool_and_chooses_among_them_without_tests(context, method, monkeypatch):
    space = benchmark_space("nasbench101", context, "evaluated")
    monkeypatch.setattr("search.spaces.tabular.Table.test_accuracy", lambda table: pytest.fail("a test accuracy was read"))
    recipe = tabular_search.with_settings({"method": method.split(",")[0], **METHODS[method]})
    rows, chosen, tau = search_history(space, 0, 8, recipe, context)
    assert len(rows) == len(set(rows)) == len(chosen) == 8
    assert set(rows) <= set(range(10))
    assert all(choice in rows[: query + 1] for query, choice in enumerate(chosen))
    again = search_history(space, 0, 8, recipe, context)
    assert again == (rows, chosen, tau)
    assert -1 <= tau <= 1 if recipe["method"] == "pipeline" else tau is None


def test_the_regret_is_that_of_the_chosen_cell(context):
    measured = tabular_search.measure(unit(10, method="random"), context)
    best = int(np.argmax(TEST[:10]))
    assert measured.figures["test accuracy, %"] == pytest.approx(100 * TEST[9])  # the best validation accuracy of the pool
    assert measured.series["regret"][-1] == pytest.approx(100 * (TEST[best] - TEST[9]), rel=1e-4)
    assert measured.figures["best asked for, %"] == pytest.approx(100 * TEST[best])


def test_more_queries_than_cells_are_told(context):
    space = benchmark_space("nasbench101", context, "evaluated")
    with pytest.raises(SearchError, match=r"11 queries are asked for, but the pool of .* has 10 cells"):
        search_history(space, 0, 11, {"method": "random"}, context)


def test_children_are_cells_of_the_space_as_the_benchmark_has_them(folder):
    space = NasBench101Space(folder, pool="all")
    for row in range(len(space.table)):
        children = mutated(space.table.cells[row : row + 1], np.random.default_rng(row), 200)
        assert len(children) > 20
        for cell in space.to_cells(children):
            assert pruned_both_ways(cell) == cell
            assert space.checked(cell) == cell


def test_children_resemble_their_parent(folder):
    space = NasBench101Space(folder, pool="all")
    parent = space.table.cells[8:9]  # 7 nodes: nothing is added but by mutation
    children = mutated(parent, np.random.default_rng(0), 500)
    whole = children[(children.operators >= 0).all(1)]
    changed = (whole.adjacency != parent.adjacency).sum((1, 2)) + (whole.operators != parent.operators).sum(1)
    assert 0.8 < changed.mean() < 2.5  # 1 of 21 edges, 1 of 5 operators, which is the same again once in three times
    assert changed.max() > 2


def test_evolution_prefers_the_children_of_the_best(folder):
    space = NasBench101Space(folder)
    rows = evolve(space, np.random.default_rng(0), 10, lambda row: float(row), population=4, tournament=4)
    assert sorted(rows) == list(range(10))


@pytest.mark.long
def test_every_part_has_units_a_table_and_a_picture_of_made_results(tmp_path):
    for part in PARTS.values():
        results = [Result(u, made_figures(part, u), 1.0) for u in part.units([0, 1], False)]
        paths = write_files(part, results, tmp_path)
        table, rows = paths[0].read_text(), {u.row for u in part.units([0], False)}
        assert all(row in table for row in rows), part.name
        assert len(paths[1].read_text().splitlines()) == len(results) + 1
        assert "</svg>" in paths[-1].read_text()
        assert paths[-1].stat().st_size < 300_000


def made_figures(part, unit):
    """Figures and series in the form that the part's own measure gives."""
    value = 0.5 + 0.01 * unit.seed
    names = {
        "tables34": ["kendall", "pearson"],
        "fig1": ["Spearman", "Spearman of the kernel"],
        "fig4": ["smoothness, R^2", "variance in the plane"],
        "fig5": ["bias, %", "test accuracy, %"],
        "encoder": list(encoder.FIGURES),
        "protocols101": [protocols.TEST, protocols.VALIDATION, protocols.WITH_SEEN],
        "protocols201": [protocols.TEST, protocols.VALIDATION, protocols.WITH_SEEN],
        "fig6": ["R^2", "Spearman", "similarity MSE", *([] if "landmarks" in unit.row else ["highest R^2"])],
        "search": ["test accuracy, %", "test regret, %", "best asked for, %"],
    }.get(unit.group, ["kendall", "fit and predict, s"])
    series = {
        "fig1": {name: [0.1, 0.2] for name in ("cosine", "difference, %", "cosine of a bin", "median difference, %")},
        "encoder": {name: [0.8, 0.9] for name in ("kernel", "similarity", "similarity of isomorphic cells")},
        "search": {"regret": [1.0, 0.5], "rows": [0, 1]},
    }
    if unit.recipe.get("method") == "pipeline":
        names.append("held-out tau")
    if unit.group == "fig4":
        bins = unit.recipe["bins"]
        edges = list(range(bins + 1))
        series["fig4"] = {"x": edges, "y": edges, "score": [0.1, None] * (bins * bins // 2)}
        series["fig4"] |= {name: [1.0, 2.0] for name in ("cell x", "cell y", "cell score")}
    return Measured(dict.fromkeys(names, value), series.get(unit.group, {}))


def test_quick_searches_have_the_same_names():
    assert list(searches(True)) == list(searches(False))
