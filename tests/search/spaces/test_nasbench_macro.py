"""NAS-Bench-Macro: stacks as cells and back, the table, its networks' cost, a search and a predictor on it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_tables import compact_macro
from scipy.stats import kendalltau

from gemnet.cell import Cell
from gemnet.drawing import draw_cell
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import SearchError
from search.encoders import build_encoder
from search.experiments.convert.conversion import convert_nasbench_macro
from search.pipeline import run_search
from search.predictors import build_predictor
from search.spaces.dag import build_space
from search.spaces.nasbench_macro import NasBenchMacroSpace, canonical, cell_of, stack_of

CONFIG = Path(__file__).parents[3] / "configs/search/nasbench_macro.py"
SMALL = {"encoder.sample": 200, "predictor.trees": 20, "search.start": 20, "search.rounds": 2, "search.draws": 500}


@pytest.fixture
def space(made_macro):
    return build_space("nasbench_macro", data=made_macro)


def test_a_stack_is_a_chain_of_its_layers_without_idle_identities():
    cell = cell_of("01200210")
    assert cell.nodes == (
        "input",
        "identity_stage1_stride2",
        "mb3_k3_stage1",
        "mb6_k5_stage2_stride2",
        "mb6_k5_stage3_stride2",
        "mb3_k3_stage3",
        "output",
    )
    assert cell.edges == tuple((v, v + 1) for v in range(len(cell.nodes) - 1))


def test_stacks_that_differ_in_the_place_of_an_idle_identity_are_one_network():
    assert canonical(np.array([[0, 1, 2, 0, 0, 2, 0, 1]])).tolist() == [[0, 1, 2, 0, 0, 2, 1, 0]]
    assert cell_of("01200201") == cell_of("01200210") != cell_of("01200012")
    assert stack_of(cell_of("01200201")) == "01200210"


def test_the_6561_stacks_are_3969_rows_and_each_finds_its_own(space):
    assert len(space.table) == len(space.table.evaluated) == 3969
    cells = space.to_cells(space.table.cells)
    assert len({cell.digest() for cell in cells}) == 3969
    assert all(cell_of(stack_of(cell)) == cell for cell in cells)
    assert [space.row(cell) for cell in cells[::400]] == list(range(0, 3969, 400))
    assert space.row(cell_of("11101110")) == space.row(cell_of("11110110"))


def test_a_search_sees_the_first_training_and_is_scored_by_the_others(space):
    row = space.row(cell_of("12000000"))
    assert space.table.validation_accuracy[row] == pytest.approx(0.51)
    assert space.table.test_accuracy()[row] == pytest.approx(0.49)


def test_cells_that_are_no_stack_are_refused_with_the_reason(space):
    chain = cell_of("11111111")
    broken = {
        "no chain": Cell(chain.nodes, (*chain.edges, (0, 2))),
        "expected the first layer of stage 1": Cell(("input", *chain.nodes[2:]), chain.edges[:-1]),
        "expected the first layer of stage 2": Cell((*chain.nodes[:3], *chain.nodes[2:]), (*chain.edges, (9, 10))),
        "expected the output alone": Cell((*chain.nodes[:9], *chain.nodes[8:]), (*chain.edges, (9, 10))),
    }
    for message, cell in broken.items():
        with pytest.raises(SearchError, match=f"outside NAS-Bench-Macro: .*{message}"):
            space.from_cells([cell])
    for stack in ("", "0120", "012001203", "01200120x"):
        with pytest.raises(SearchError, match="expected 8 digits"):
            cell_of(stack)


STACKS = compact_macro()["arch"]
ACCURACY = compact_macro()["test_acc"]
OTHER = ACCURACY.copy()
OTHER[3**3] += 1  # 00001000
DOUBLE = STACKS.copy()
DOUBLE[40] = DOUBLE[7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": DOUBLE}, "arch: the stack 00000021 is there twice, in rows 7 and 40; expected each once"),
        (
            {name: values[2:] for name, values in compact_macro().items() if name != "op_names"},
            "arch: the stack 00000000 and 1 more is missing; expected all 6,561 stacks",
        ),
        ({"test_acc": OTHER}, "the stacks 00001000 and 00010000 are one network, but their accuracies or params differ"),
        ({"test_acc": np.where(np.arange(6561)[:, None] == 5, np.nan, ACCURACY)}, "test_acc, row 5: expected percent"),
        ({"test_acc": ACCURACY[:, :2]}, "test_acc, params: expected as many as arch"),
        ({"arch": STACKS + 1}, r"arch, row 0|arch, row 2: expected digits up to 2"),
        ({"params": None}, "the array 'params' is missing"),
        ({"op_names": np.array(["a", "b", "c"])}, "op_names: expected Identity, MB3_K3, MB6_K5"),
    ],
)
def test_a_broken_table_is_refused_by_name(changes, message, tmp_path):
    path = tmp_path / "nasbench_macro.npz"
    np.savez(path, **compact_macro(**changes))
    with pytest.raises(SearchError, match=f"^{re.escape(str(path))}: .*{message}"):
        NasBenchMacroSpace(path)


def test_a_cell_is_drawn_and_saved_but_no_network_is_built_of_it(tmp_path):
    cell = cell_of("12012012")
    draw_cell(cell, tmp_path / "cell.png")
    cell.save(tmp_path / "cell.json")
    assert Cell.load(tmp_path / "cell.json") == cell
    assert not cell.buildable


def published(arrays):
    return {
        "".join(map(str, stack)): {"test_acc": accuracies, "mean_acc": 0.0, "std": 0.0, "params": params, "flops": flops}
        for stack, accuracies, params, flops in zip(*(arrays[n].tolist() for n in ("arch", "test_acc", "params", "flops")))
    }


def test_the_published_file_becomes_the_table(made_macro, tmp_path):
    source, target = tmp_path / "nas-bench-macro_cifar10.json", tmp_path / "nasbench_macro.npz"
    source.write_text(json.dumps(published(compact_macro())))
    assert convert_nasbench_macro(source, target, lambda *_: None) == {"stacks": 6561}
    one, other = NasBenchMacroSpace(target).table, NasBenchMacroSpace(made_macro).table
    for name in ("adjacency", "operators", "params", "curves"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(one.test_accuracy(), other.test_accuracy())


def test_a_published_file_that_is_broken_is_refused_by_the_name_of_the_stack(tmp_path):
    source, target = tmp_path / "published.json", tmp_path / "out.npz"
    whole = published(compact_macro())
    text = json.dumps(whole)
    entry = whole["00000000"]
    for content, message in (
        (text[:-1] + ', "00000012": ' + json.dumps(entry) + "}", "the stack 00000012 is there twice"),
        (json.dumps({k: v for k, v in whole.items() if k != "00120012"}), "the stack 00120012 is missing"),
        (json.dumps({**whole, "00000001": {}}), "'00000001': not as NAS-Bench-Macro has it .*test_acc"),
        (json.dumps({**whole, "00000001": {**entry, "test_acc": [1, 2]}}), "'00000001': .*expected 3 accuracies, found 2"),
        (json.dumps({**whole, "00000001": {**entry, "params": 1.5}}), "'00000001': .*expected whole numbers above 0"),
        (json.dumps({"0000000": entry}), "'0000000': .*expected 8 digits"),
        ("[]", "expected an object"),
        ("{}", "expected an object"),
        (text[:-5], "cannot be read as JSON"),
    ):
        source.write_text(content)
        with pytest.raises(SearchError, match=message):
            convert_nasbench_macro(source, target, lambda *_: None)
        assert not target.exists()
    with pytest.raises(SearchError, match=r"does not exist; To make it: download nas-bench-macro_cifar10\.json"):
        convert_nasbench_macro(tmp_path / "none.json", target, lambda *_: None)


@pytest.mark.long
def test_a_search_finds_good_stacks(made_macro, tmp_path):
    settings = load_settings(CONFIG, {"space.data": str(made_macro), **SMALL})
    records = run_search(settings, tmp_path / "run", Display(quiet=True))
    first, later = ([r.accuracy for r in records if (r.round > 0) == late] for late in (False, True))
    assert len({r.digest for r in records}) == 40
    assert np.mean(later) > np.mean(first) + 0.02


def taus(space, seed=0):
    """Kendall's tau of an ensemble on counts that saw 100 networks, on the others."""
    encoder = build_encoder("statistics", space)
    encoder.fit(seed)
    order = np.random.default_rng(seed).permutation(len(space.table))
    seen, others = order[:100], order[100:1100]
    predictor = build_predictor("ensemble", trees=50)
    predictor.fit(encoder.encode(space.table.cells[seen]), space.table.validation_accuracy[seen], seed)
    return kendalltau(predictor.predict(encoder.encode(space.table.cells[others])), space.table.test_accuracy()[others])[0]


def test_a_predictor_learns_of_a_hundred_networks(space):
    assert taus(space) > 0.8


def test_params_and_macs_of_the_real_table_are_counted_exactly(real_macro):
    cost = real_macro.count(real_macro.table.cells)
    assert np.array_equal(cost.params, real_macro.table.params)
    with np.load(real_macro.table.source) as stored:
        flops = {"".join(map(str, stack)): value for stack, value in zip(stored["arch"].tolist(), stored["flops"].tolist())}
    assert cost.macs.tolist() == [flops[stack_of(cell)] for cell in real_macro.to_cells(real_macro.table.cells)]


@pytest.mark.long
def test_predictors_and_searches_work_on_the_real_table(real_macro, tmp_path):
    assert taus(real_macro) > 0.8
    settings = load_settings(CONFIG, {"space.data": str(real_macro.table.source), **SMALL})
    records = run_search(settings, tmp_path / "run", Display(quiet=True))
    assert max(r.accuracy for r in records) > 0.925
