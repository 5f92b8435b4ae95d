"""Units are done once, whatever stops a run."""

import json
import os
from pathlib import Path

import pytest
from commands import forked_workers

from search.core.display import Display
from search.core.types import SearchError
from search.experiments.paper.base import Context, Measured, Part, Unit
from search.experiments.paper.runner import FILE, open_results, run

QUIET = Display(quiet=True)


def square(unit, context):
    """Leaves a trace of each call; stops at the setting in the file `stop`, if there is one."""
    trace = context.directory / "calls"
    trace.mkdir(exist_ok=True)
    stop = context.directory / "stop"
    if stop.exists() and int(stop.read_text()) == unit.setting:
        raise KeyboardInterrupt
    (trace / f"{unit.setting}_{os.getpid()}_{len(list(trace.iterdir()))}").touch()
    return Measured({"square": float(unit.setting**2)}, {"all": list(range(unit.setting))})


def die(unit, context):
    os._exit(9)


def part(measure):
    return Part("made", "", "", 1, lambda seeds, quick: [], measure, lambda summary: "", lambda canvas, results: None)


def units(count):
    return [Unit("made", "row", setting, 0, {"n": setting}) for setting in range(count)]


def calls(directory):
    return sorted(int(path.name.split("_")[0]) for path in (directory / "calls").iterdir())


def squares(directory, count, jobs=1, measure=square):
    with open_results(directory) as store:
        results = run(part(measure), units(count), store, Context(None, directory), jobs, QUIET)
    return [result.measured.figures["square"] for result in results]


def test_a_unit_that_is_done_is_not_done_again(tmp_path):
    assert squares(tmp_path, 3) == [0, 1, 4]
    assert squares(tmp_path, 5) == [0, 1, 4, 9, 16]
    assert calls(tmp_path) == [0, 1, 2, 3, 4]


def test_what_was_done_before_an_interrupt_is_kept(tmp_path):
    (tmp_path / "stop").write_text("2")
    with pytest.raises(KeyboardInterrupt):
        squares(tmp_path, 4)
    (tmp_path / "stop").unlink()
    assert squares(tmp_path, 4) == [0, 1, 4, 9]
    assert calls(tmp_path) == [0, 1, 2, 3]


def test_several_processes_give_what_one_gives(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    with forked_workers():
        assert squares(one, 4) == squares(two, 4, jobs=2)
    assert len({path.name.split("_")[1] for path in (one / "calls").iterdir()} & {str(os.getpid())}) == 1
    assert str(os.getpid()) not in {path.name.split("_")[1] for path in (two / "calls").iterdir()}


def test_a_process_that_dies_is_told(tmp_path):
    with forked_workers(), pytest.raises(SearchError, match="a process died"):
        squares(tmp_path, 2, jobs=2, measure=die)


def test_a_line_that_was_cut_off_is_dropped_and_its_unit_done_again(tmp_path):
    squares(tmp_path, 3)
    path = tmp_path / FILE
    whole = path.read_bytes()
    for cut in (1, 2, 40):
        path.write_bytes(whole[:-cut])
        assert squares(tmp_path, 3) == [0, 1, 4]
        assert [json.loads(line)["setting"] for line in path.read_text().splitlines()] == [0, 1, 2]
    assert calls(tmp_path) == [0, 1, 2, 2, 2, 2]


def test_series_and_recipe_come_back_as_they_were(tmp_path):
    squares(tmp_path, 3)
    with open_results(tmp_path) as store:
        result = store.rows[units(3)[2].key]
    assert result.measured.series == {"all": [0, 1]}
    assert result.unit == units(3)[2]


def test_any_other_line_that_is_no_result_is_named(tmp_path):
    squares(tmp_path, 2)
    path = tmp_path / FILE
    first, second = path.read_text().splitlines()
    for wrong in ("{", "[]", "{}", first.replace('"seed"', '"sead"')):
        path.write_text(f"{first}\n{wrong}\n{second}\n")
        with pytest.raises(SearchError, match="line 2 is not a result"):
            squares(tmp_path, 2)


def test_a_work_directory_in_use_is_refused(tmp_path):
    with open_results(tmp_path), pytest.raises(SearchError, match="in use"):
        open_results(tmp_path)


def test_a_unit_is_another_one_under_another_recipe_and_the_same_in_any_order_of_its_keys():
    unit = Unit("made", "row", 1, 0, {"a": 1, "b": 2})
    assert unit.key == Unit("made", "row", 1, 0, {"b": 2, "a": 1}).key
    others = [Unit("made", "row", 1, 0, {"a": 1, "b": 3}), Unit("made", "row", 1, 1, {"a": 1, "b": 2})]
    assert len({unit.key, *(other.key for other in others)}) == 3


def test_a_failure_of_a_unit_is_not_hidden(tmp_path):
    def broken(unit, context):
        raise SearchError(f"{Path('x')}: missing")

    with pytest.raises(SearchError, match="x: missing"):
        squares(tmp_path, 1, measure=broken)
