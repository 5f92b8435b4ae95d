"""Checks of settings."""

import pytest

from search.core.checks import check_whole
from search.core.types import SearchError


@pytest.mark.parametrize("value", [2, 5, 7])
def test_whole_numbers_within_the_bounds_pass(value):
    check_whole("encoder", 2, 7, dim=value)


def test_without_an_upper_bound_any_number_of_64_bits_passes():
    check_whole("data", 0, seed=2**63 - 1)
    with pytest.raises(SearchError, match="data: seed: expected a whole number from 0, found"):
        check_whole("data", 0, seed=2**63)


@pytest.mark.parametrize("value", [1, 8, True, 3.0, "3", None])
def test_others_are_told_by_name_with_the_bounds(value):
    with pytest.raises(SearchError) as told:
        check_whole("encoder", 2, 7, layers=3, dim=value)
    assert str(told.value) == f"encoder: dim: expected a whole number from 2 to 7, found {value!r}" + "; write 3" * (
        value == 3.0
    )


def test_the_owner_may_be_left_out():
    with pytest.raises(SearchError) as told:
        check_whole("", 1, batch=0)
    assert str(told.value) == "batch: expected a whole number from 1, found 0"
