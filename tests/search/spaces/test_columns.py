"""NAS-Bench-201's cells with the accuracies of other data sets: `space.column`."""

from pathlib import Path

import numpy as np
import pytest
from made_tables import compact201

from gemnet.cell import Cell
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import SearchError
from search.encoders import build_encoder
from search.pipeline import run_search
from search.predictors import build_predictor
from search.spaces.nasbench201 import NasBench201Space

CONFIG = Path(__file__).parents[3] / "configs/search/nasbench201.py"
SMALL = {"encoder.sample": 200, "predictor.trees": 20, "search.start": 20, "search.rounds": 2, "search.draws": 500}
OTHERS = compact201()
REVERSED = (100 - OTHERS["cifar10_val"]).astype(np.float32)


def written(tmp_path, **columns):
    path = tmp_path / "nasbench201.npz"
    np.savez(path, **compact201(**columns))
    return path


def test_a_column_gives_its_validation_test_and_params(tmp_path):
    params = np.arange(1, 301, dtype=np.int32)
    path = written(tmp_path, cifar100_val=REVERSED, cifar100_test=REVERSED - 1, cifar100_params=params)
    table = NasBench201Space(path, column="cifar100").table
    assert table.validation_accuracy == pytest.approx(REVERSED / 100)
    assert table.test_accuracy() == pytest.approx((REVERSED - 1) / 100)
    assert table.params.tolist() == params.tolist()
    assert NasBench201Space(path).table.validation_accuracy == pytest.approx(OTHERS["cifar10_val"] / 100)


def test_ones_own_accuracies_need_no_other_column_and_no_other_name(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, ops=OTHERS["ops"], op_names=OTHERS["op_names"], leaves=REVERSED)
    space = NasBench201Space(path, column="leaves")
    assert space.table.validation_accuracy == pytest.approx(REVERSED / 100)
    assert np.array_equal(space.table.params, space.count(space.table.cells).params)
    with pytest.raises(SearchError, match="'leaves_test' is missing"):
        space.table.test_accuracy()


def test_cells_without_an_accuracy_are_not_in_the_pool(tmp_path):
    some = np.where(np.arange(300) < 40, REVERSED, np.nan).astype(np.float32)
    space = NasBench201Space(written(tmp_path, leaves=some), column="leaves")
    assert space.pool.tolist() == list(range(40))
    with pytest.raises(SearchError, match="no cell has a validation accuracy"):
        NasBench201Space(written(tmp_path, leaves=some * np.float32(np.nan)), column="leaves")


@pytest.mark.parametrize("column", ["cifar100", "cifar10_test", "leaves_test", "ops", "leaves_val", "../x"])
def test_a_column_that_is_not_there_is_an_error_that_lists_those_that_are(column, tmp_path):
    path = written(tmp_path, leaves_val=REVERSED, leaves_test=REVERSED, bark=REVERSED)
    with pytest.raises(SearchError, match=rf"space\.column: expected one of cifar10, leaves, bark, found '{column}'"):
        NasBench201Space(path, column=column)


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        (REVERSED[:-1], "leaves: expected as many as ops"),
        (REVERSED + 100, "leaves, row 0: expected percent"),
        (REVERSED / 100, "leaves: expected percent; found none above 1, as shares would be"),
        (np.arange(300), "leaves: expected 1 dimensions of kind 'f', found 1 of 'i'"),
    ],
)
def test_a_broken_column_is_refused_by_name(leaves, message, tmp_path):
    with pytest.raises(SearchError, match=message):
        NasBench201Space(written(tmp_path, leaves=leaves), column="leaves")


def test_a_cell_that_is_there_twice_is_refused_as_the_benchmark_writes_it(tmp_path):
    ops = OTHERS["ops"].copy()
    ops[9] = ops[4] = [3, 0, 1, 4, 2, 3]
    name = r"\|nor_conv_3x3~0\|\+\|none~0\|skip_connect~1\|\+\|avg_pool_3x3~0\|nor_conv_1x1~1\|nor_conv_3x3~2\|"
    with pytest.raises(SearchError, match=rf"ops: the cell {name} is there twice, in rows 4 and 9; expected each once"):
        NasBench201Space(written(tmp_path, ops=ops))


def test_a_cell_that_is_missing_is_refused_as_the_benchmark_writes_it(tmp_path):
    space = NasBench201Space(written(tmp_path))
    (cell,) = space.to_cells(space.table.cells[:1])
    there = {tuple(ops) for ops in OTHERS["ops"].tolist()}
    ops = next(ops for ops in np.ndindex(5, 5, 5, 5, 5, 5) if ops not in there)
    missing = Cell(("input", *(space.operators[i] for i in ops), "output"), cell.edges)
    begin = rf"the cell \|{space.operators[ops[0]]}~0\|\+\|{space.operators[ops[1]]}~0\|"
    with pytest.raises(SearchError, match=rf"{begin}.* is not in .*nasbench201\.npz"):
        space.row(missing)


def test_networks_of_other_data_sets_are_priced_with_their_classes_and_images(tmp_path):
    path = written(tmp_path, **{"ImageNet16-120_val": REVERSED, "cifar100_val": REVERSED})
    usual, hundred, small = (NasBench201Space(path, column=c) for c in ("cifar10", "cifar100", "ImageNet16-120"))
    cells = usual.table.cells
    one, two, three = (space.count(cells) for space in (usual, hundred, small))
    assert (two.params - one.params == 65 * 90).all()
    assert (two.macs - one.macs == 64 * 90).all()
    assert (three.macs - 64 * 120 == (one.macs - 640) // 4).all()


@pytest.mark.long
def test_a_search_and_a_predictor_follow_the_column(tmp_path):
    path = written(tmp_path, leaves_val=REVERSED)
    settings = load_settings(CONFIG, {"space.data": str(path), "space.column": "leaves", **SMALL})
    records = run_search(settings, tmp_path / "run", Display(quiet=True))
    first, later = ([r.accuracy for r in records if (r.round > 0) == late] for late in (False, True))
    assert np.mean(later) > np.mean(first) + 0.03
    space = NasBench201Space(path, column="leaves")
    encoder, predictor = build_encoder("statistics", space, dropped=["none"]), build_predictor("ensemble", trees=30)
    encoder.fit(0)
    seen = encoder.encode(space.table.cells)
    predictor.fit(seen[:150], space.table.validation_accuracy[:150], 0)
    assert np.corrcoef(predictor.predict(seen[150:]), REVERSED[150:])[0, 1] > 0.8


def test_the_real_tables_own_column_is_found_by_name(real201):
    with pytest.raises(SearchError, match=r"expected one of cifar10, cifar10_train, found 'cifar100'"):
        NasBench201Space(real201.table.source, column="cifar100")
    train = NasBench201Space(real201.table.source, column="cifar10_train").table.validation_accuracy
    assert train.max() > real201.table.validation_accuracy.max()
