"""One description of a setting refuses what does not fit, with its name, its value and what is expected."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch

from gemnet.cli.arguments import number, whole
from gemnet.core.errors import UserError
from gemnet.core.settings import REQUIRED, Setting, check_settings, markdown, settings_of, shown

WHOLE = Setting("count", int, at_least=1, at_most=8)
RATE = Setting("rate", float, above=0, below=1)
NAMES = Setting("files", list, item=Setting("", str))


@pytest.mark.parametrize("value", [0, 9, 2.5, 3.0, True, "3", None, math.nan, math.inf, 10**400, [3], np.float64(3), b"3"])
def test_what_is_no_whole_number_of_the_range_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"^encoder: dim: expected a whole number from 1 to 8, found "):
        check_settings({"dim": WHOLE}, {"dim": value}, "encoder")


def test_a_whole_number_has_64_bits() -> None:
    assert Setting("", int).check("seed", 2**63 - 1) == 2**63 - 1
    with pytest.raises(UserError, match="seed"):
        Setting("", int).check("seed", 2**63)


def test_a_fraction_that_is_whole_is_told_how_to_write_it() -> None:
    with pytest.raises(UserError, match=r"found 3\.0; write 3$"):
        WHOLE.check("dim", 3.0)


@pytest.mark.parametrize("value", [0, 1, -0.5, True, "0.5", None, math.nan, math.inf, -math.inf, 10**400, [0.5]])
def test_what_is_no_number_of_the_range_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"^lr: expected a number above 0 to below 1, found "):
        RATE.check("lr", value)


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_scalars_of_arrays_are_numbers(value: Any) -> None:
    assert type(WHOLE.check("dim", value)) is int
    assert type(Setting("", float).check("lr", np.float32(0.5))) is float
    assert Setting("", bool).check("flip", np.bool_(True)) is True


@pytest.mark.parametrize("value", [0, 1, "True", None, np.int64(1)])
def test_a_switch_is_true_or_false(value: object) -> None:
    with pytest.raises(UserError, match="flip: expected True or False, found"):
        Setting("", bool).check("flip", value)


def test_a_text_is_no_list() -> None:
    with pytest.raises(UserError, match=r"cells: expected a list of texts, found 'a\.json'; write \['a\.json'\]"):
        NAMES.check("cells", "a.json")
    assert NAMES.check("cells", ("a.json",)) == ["a.json"]


def test_a_value_of_a_list_is_named_by_its_place() -> None:
    with pytest.raises(UserError, match="cells: value 2: expected a text, found 3"):
        NAMES.check("cells", ["a.json", 3])


@pytest.mark.parametrize("value", [[0.1], [0.1, 0.2, 0.3], 0.5, {"low": 0.1}])
def test_a_list_has_its_length(value: object) -> None:
    pair = Setting("", list, item=RATE, length=(2, 2))
    with pytest.raises(UserError, match="density: expected a list of 2 numbers above 0 to below 1, found"):
        pair.check("density", value)


def test_true_is_not_the_choice_1() -> None:
    stride = Setting("", int, choices=(1, 2))
    assert stride.check("stride", 2) == 2
    for value in (True, 1.0, 3, "1", []):
        with pytest.raises(UserError, match="stride: expected 1 or 2, found"):
            stride.check("stride", value)


def test_words_and_none_are_taken_where_they_are_described() -> None:
    workers = Setting("", int, at_least=1, also=("auto",), optional=True)
    assert [workers.check("", value) for value in ("auto", None, 4)] == ["auto", None, 4]
    with pytest.raises(UserError, match="expected a whole number from 1, or 'auto', or None, found 'aut'"):
        workers.check("workers", "aut")


@pytest.mark.parametrize("value", ["", "a\0b", 3, None])
def test_a_path_is_a_text(value: object) -> None:
    with pytest.raises(UserError, match="root: expected a path, found"):
        Setting("", Path).check("root", value)
    assert Setting("", Path).check("root", Path("a/b")) == "a/b"


def test_a_typing_error_is_told_the_nearest_name() -> None:
    with pytest.raises(UserError, match="encoder: unknown setting 'iteration'; did you mean 'iterations'"):
        check_settings({"iterations": WHOLE, "dim": WHOLE}, {"iteration": 3}, "encoder")


@pytest.mark.parametrize("name", [3, None, ("a",), "x" * 10_000])
def test_a_name_that_is_none_is_told_on_one_short_line(name: Any) -> None:
    with pytest.raises(UserError, match="unknown setting") as told:
        check_settings({"dim": WHOLE}, {name: 3}, "encoder")
    assert len(str(told.value)) < 200


def test_a_required_setting_that_is_missing_is_told_with_its_meaning() -> None:
    with pytest.raises(UserError, match="data: setting 'root' is missing: folder of images; expected a path"):
        check_settings({"root": Setting("folder of images", Path)}, {}, "data")


@pytest.mark.parametrize("given", ["dim=3", 3, None, [("dim", 3)]])
def test_settings_are_given_by_name(given: Any) -> None:
    with pytest.raises(UserError, match="encoder: expected settings by name, found"):
        check_settings({"dim": WHOLE}, given, "encoder")


def test_settings_within_settings_are_checked_by_their_own_names() -> None:
    latency = Setting("how", dict, fields={"threads": Setting("", int, 1, at_least=1)})
    assert latency.check("latency", {"threads": 2}) == {"threads": 2}
    with pytest.raises(UserError, match="search: latency: threads: expected a whole number from 1, found 0"):
        latency.check("search: latency", {"threads": 0})


def test_a_value_is_shown_on_one_short_line_whatever_it_is() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    endless: list[Any] = []
    endless.append(endless)
    for value in (10**5000, "x" * 10**6, "a\nb", Broken(), endless, list(range(10**5)), {1: {2: {3: {}}}}):
        assert len(shown(value)) < 200
        assert "\n" not in shown(value)


class Base:
    def __init__(self, space: object, dim: Annotated[int, Setting("length", at_least=1)] = 50) -> None: ...


class Part:
    def __init__(
        self,
        space: object,
        h: Annotated[int, Setting("iterations", at_least=0)],
        mode: Annotated[Literal["a", "b"], Setting("which")] = "a",
        **more: Annotated[Any, Base],
    ) -> None: ...


@dataclass(frozen=True)
class Plan:
    lr: Annotated[float | None, Setting("rate", above=0, unit="1")] = 1e-4
    density: Annotated[tuple[float, float], Setting("share", item=RATE, length=(2, 2))] = (0.1, 0.5)
    cells: Annotated[Sequence[str], Setting("files")] = ()
    latency: Annotated[Mapping[str, Any], Setting("how")] = field(default_factory=dict)


def test_settings_are_those_of_the_signature_and_of_the_part_that_takes_the_rest() -> None:
    found = settings_of(Part)
    assert list(found) == ["h", "mode", "dim"]
    assert (found["h"].default, found["mode"].default, found["dim"].default) == (REQUIRED, "a", 50)
    assert (found["h"].type, found["mode"].choices) == (int, ("a", "b"))


def test_settings_of_a_dataclass_have_its_types_and_defaults() -> None:
    found = settings_of(Plan)
    assert [(s.type, s.optional) for s in found.values()] == [(float, True), (list, False), (list, False), (dict, False)]
    assert [s.default for s in found.values()] == [1e-4, (0.1, 0.5), (), {}]


def test_a_table_has_a_row_for_each_setting() -> None:
    assert markdown(settings_of(Plan), "plan.") == [
        "| setting | type | range | unit | default | meaning |",
        "|---|---|---|---|---|---|",
        "| `plan.lr` | float, or None | above 0 | 1 | `0.0001` | rate |",
        "| `plan.density` | list of float | above 0 to below 1 |  | `[0.1, 0.5]` | share |",
        "| `plan.cells` | list of str |  |  | `[]` | files |",
        "| `plan.latency` | dict |  |  | `{}` | how |",
    ]


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "2.5", "3.0", "", "three", "1e3"])
def test_a_whole_number_of_a_command_line_is_checked(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=whole(1))
    with pytest.raises(SystemExit):
        parser.parse_args(["--count", text])
    assert "argument --count: expected a whole number from 1, found" in capsys.readouterr().err
    assert parser.parse_args(["--count", "3"]).count == 3


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "1e999", "three"])
def test_a_number_of_a_command_line_is_checked(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--macs", type=number(above=0))
    with pytest.raises(SystemExit):
        parser.parse_args(["--macs", text])
    assert "argument --macs: expected a number above 0, found" in capsys.readouterr().err
    assert parser.parse_args(["--macs", "3e8"]).macs == 3e8
