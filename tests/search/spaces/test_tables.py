"""The compact files: found, read as files from outside, and their test columns left alone."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_tables import MADE_CELLS, compact101, compact201

from search.core.types import SearchError
from search.spaces.dag import build_space
from search.spaces.nasbench101 import NasBench101Space, load_table
from search.spaces.nasbench201 import NasBench201Space


def test_a_table_holds_what_its_file_holds(made101):
    table = load_table(made101)
    assert len(table) == len(MADE_CELLS)
    assert table.epochs == (4, 12, 36, 108)
    assert table.evaluated.tolist() == list(range(10))
    assert table.validation_accuracy[3] == (5000 + 20 * 108 + 300) / 9984
    assert np.isnan(table.validation_accuracy[10:]).all()
    for row, (inner, edges) in enumerate(MADE_CELLS):
        assert list(map(tuple, np.argwhere(table.adjacency[row]).tolist())) == sorted(edges)
        assert table.operators[row].tolist() == [0, *inner, 4] + [-1] * (5 - len(inner))


def test_a_table_is_found_by_setting_environment_or_in_data_of_the_working_directory(made101, monkeypatch, tmp_path):
    monkeypatch.setenv("GEMNET_DATA", str(made101.parent))
    assert load_table().source == made101
    monkeypatch.setenv("GEMNET_DATA", "/nowhere")
    assert load_table(made101).source == load_table(made101.parent).source == made101
    with pytest.raises(
        SearchError, match=r"/nowhere.* does not exist; name .* GEMNET_DATA, by space.data .*gemnet convert-benchmark"
    ):
        load_table()
    with pytest.raises(SearchError, match=r"nasbench201.npz does not exist.*NAS-Bench-201-v1_1"):
        build_space("nasbench201", data=made101.parent)
    monkeypatch.delenv("GEMNET_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=r"^data/nasbench101\.npz does not exist"):
        load_table()
    (tmp_path / "data").symlink_to(made101.parent)
    assert load_table().source == Path("data/nasbench101.npz")


def test_test_accuracies_are_not_read_before_they_are_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "nasbench101.npz"
    np.savez_compressed(path, **compact101(test_acc_num=None))
    table = NasBench101Space(path).table  # the columns are not even looked for
    with pytest.raises(SearchError, match="'test_acc_num' is missing"):
        table.test_accuracy()
    np.savez_compressed(path, **compact101())
    assert load_table(path).test_accuracy().tolist() == [(29952 - 100 * row) / 29952 for row in range(len(MADE_CELLS))]


BROKEN_101 = {
    "not all arrays": ({"val108_num": None}, "'val108_num' is missing; expected adj_bits"),
    "another version": ({"version": np.int32(2)}, "version: expected 1, found 2"),
    "floating params": ({"params": np.ones(12)}, "params: expected 1 dimensions of kind 'ui', found 1 of 'f'"),
    "too few rows": ({"params": np.ones(11, np.int32)}, "equally many"),
    "other operators": ({"op_names": np.array(["input", "conv"])}, "op_names: expected input, conv3x3-bn-relu"),
    "too many nodes": ({"n_nodes": np.full(12, 8, np.uint8)}, "n_nodes, row 0: expected 2 to 7"),
    "an edge to no node": (
        {"adj_bits": np.full(12, 2**21 - 1, np.uint32)},
        "adj_bits, row 0: expected edges between nodes alone",
    ),
    "a node without inputs": ({"adj_bits": np.zeros(12, np.uint32)}, "adj_bits, row 0: expected nodes on paths"),
    "operators beyond the output": ({"ops": np.zeros((12, 7), np.uint8)}, "ops, row 0: expected 255 beyond the output"),
    "more accuracies than cells": ({"val_subset_n": np.int32(13)}, "val_subset_n, val_den: expected 1 to 12"),
    "an accuracy above 1": ({"val_den": np.int32(5000)}, r"val4_num, row \d: expected a number from 0 to 5000"),
    "a negative accuracy": ({"val108_num": np.array([9000] * 7 + [-1] + [9000] * 2)}, "val108_num, row 7: expected a number"),
    "objects": ({"params": np.array([{}] * 12)}, "cannot be read whole as npz .*allow_pickle"),
}


@pytest.mark.parametrize("name", BROKEN_101)
def test_a_broken_file_is_an_error_that_names_the_file_and_what_was_expected(name, tmp_path):
    changes, message = BROKEN_101[name]
    path = tmp_path / "broken.npz"
    np.savez_compressed(path, **compact101(**changes))
    with pytest.raises(SearchError, match=f"^{re.escape(str(path))}: .*{message}"):
        load_table(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ops": np.full((300, 6), 5, np.uint8)}, "ops, row 0: expected ids up to 4"),
        ({"ops": np.zeros((300, 5), np.uint8)}, "ops: expected some rows of 6"),
        ({"cifar10_val": np.full(300, 101, np.float32)}, "cifar10_val, row 0: expected percent"),
        ({"cifar10_params": None}, "'cifar10_params' is missing"),
        ({"op_names": np.array(["a"])}, "op_names: expected none, skip_connect"),
    ],
)
def test_a_broken_file_of_nasbench201_is_an_error_likewise(changes, message, tmp_path):
    path = tmp_path / "broken.npz"
    np.savez_compressed(path, **compact201(**changes))
    with pytest.raises(SearchError, match=f"^{re.escape(str(path))}: .*{message}"):
        NasBench201Space(path)


def test_a_file_cut_off_or_damaged_anywhere_is_an_error(made101):
    content = made101.read_bytes()
    rng = np.random.default_rng(0)
    path = made101.with_name("cut.npz")
    for size in rng.integers(0, len(content), 30):
        path.write_bytes(content[:size])
        with pytest.raises(SearchError, match=re.escape(str(path))):
            load_table(path)
    for place in rng.integers(0, len(content), 150):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with contextlib.suppress(SearchError):  # another exception would fail; a bit that nobody reads may be wrong
            assert len(load_table(path)) == len(MADE_CELLS)
        os.unlink(path)


def test_a_file_with_more_than_a_table_can_have_is_refused_unread(made101, monkeypatch):
    monkeypatch.setattr("search.spaces.benchmark_files.MAX_BYTES", 1000)
    with pytest.raises(SearchError, match="its arrays are larger than"):
        load_table(made101)


def test_a_changed_file_is_read_anew(made101):
    before = load_table(made101).params[0]
    other = made101.with_name("other.npz")
    np.savez_compressed(other, **compact101(params=np.full(12, 7, np.int32)))
    shutil.move(other, made101)
    os.utime(made101, ns=(1, 1))
    assert before == 1_000_000
    assert load_table(made101).params[0] == 7
