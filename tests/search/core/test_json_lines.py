"""A store of JSON lines: what was added is there again, what was cut off is not, what is none is told by its line."""

import json

import pytest

from search.core.json_lines import LOCK, Format, Store
from search.core.types import SearchError
from search.record.study import take_lock


def parse(row):
    return row["n"], int(row["square"])


SQUARES = Format(parse, lambda row: row[0], ", line {number}: {reason}", lambda row: dict(zip(("n", "square"), row)))


@pytest.fixture
def path(tmp_path):
    store = Store(tmp_path / "made/squares.jsonl", SQUARES)
    for n in range(3):
        store.add((n, n * n))
    return store.path


def test_rows_come_back_by_their_key_in_their_order(path):
    assert Store(path, SQUARES).rows == {0: (0, 0), 1: (1, 1), 2: (2, 4)}
    assert [json.loads(line) for line in path.read_text().splitlines()][2] == {"n": 2, "square": 4}


def test_a_last_line_that_was_cut_off_is_removed_and_the_store_goes_on(path):
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    store = Store(path, SQUARES)
    assert list(store.rows) == [0, 1]
    store.add((2, 4))
    assert path.read_bytes() == content


@pytest.mark.parametrize(("line", "reason"), [("{", "Expecting"), ("[]", "list indices"), ('{"n": 1}', "'square' is missing")])
def test_any_other_line_that_is_no_row_is_told_by_its_number_and_nothing_is_written(path, line, reason):
    path.write_text(f"{path.read_text()}{line}\n")
    content = path.read_bytes()
    with pytest.raises(SearchError, match=rf"squares\.jsonl, line 4: {reason}"):
        Store(path, SQUARES, take_lock)
    assert path.read_bytes() == content
    path.write_text("")
    Store(path, SQUARES, take_lock).close()  # the failure let go of the lock


def test_of_several_rows_with_one_key_the_first_counts(path):
    path.write_text(path.read_text() + '{"n": 1, "square": 9}\n')
    assert Store(path, SQUARES).rows[1] == (1, 1)


def test_a_locked_store_is_open_once(path):
    with Store(path, SQUARES, take_lock), pytest.raises(SearchError, match="in use by process"):
        Store(path, SQUARES, take_lock)
    with Store(path, SQUARES, take_lock):
        assert (path.parent / LOCK).exists()
