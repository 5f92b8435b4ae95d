"""What tools/benchmark.py measures of the kernel; how fast it is, is no test's business."""

import json

import pytest

from gemnet.drawing.palette import adaptive_svg
from search.experiments import speed


def test_costs_are_told_for_each_number_of_pairs_and_of_iterations_in_both_forms():
    costs = speed.kernel_costs((2, 4), iterations=4, num_nodes=5, repeats=2)
    points = {(2, 3), (4, 3), *((4, h) for h in range(5))}
    assert set(costs) == {(direction, *point) for direction in ("both", "out") for point in points}
    assert all(0 < time.fastest <= time.median <= time.slowest for time in costs.values())


def test_costs_are_written_with_the_picture_that_is_made_of_them(tmp_path):
    costs = speed.kernel_costs((2, 4), iterations=1, num_nodes=5, repeats=1)
    (tmp_path / "docs/results").mkdir(parents=True)
    speed.write_kernel_costs(tmp_path, costs)
    written = json.loads((tmp_path / speed.KERNEL_TIMES).read_text())["seconds"]
    assert [(time["neighbours"], time["pairs"], time["h"], time["median"]) for time in written] == [
        (*key, time.median) for key, time in costs.items()
    ]
    assert (tmp_path / speed.KERNEL_PICTURE).read_text() == adaptive_svg(speed.kernel_picture(written))


def test_grakel_is_timed_on_the_first_pairs_and_has_the_same_values():
    pytest.importorskip("grakel")
    times, difference = speed.kernel(pairs=30, grakel_pairs=20, num_nodes=8, repeats=1)
    assert set(times) == {"both", "out", "grakel"}
    assert difference < 1e-12


def test_without_pairs_for_grakel_ours_are_timed_alone():
    times, difference = speed.kernel(pairs=30, grakel_pairs=0, num_nodes=8, repeats=1)
    assert set(times) == {"both", "out"}
    assert difference is None
