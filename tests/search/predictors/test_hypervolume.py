"""Hypervolume improvement against areas and volumes counted by hand and by drawing points."""

import numpy as np
import pytest

from search.predictors.hypervolume import MARGIN, Front


def drawn_volume(points, count=400_000):
    """Of what `points` dominate above the reference point, by drawing: oracle for any number of objectives."""
    low, high = -MARGIN, 2.0
    drawn = np.random.default_rng(0).uniform(low, high, (count, points.shape[1]))
    inside = np.zeros(count, bool)
    for point in points:
        inside |= (point >= drawn).all(1)
    return inside.mean() * (high - low) ** points.shape[1]


def test_the_improvement_of_a_point_is_the_area_that_it_adds():
    front = Front(np.array([[0.0, 1.0], [1.0, 0.0]]))
    # by hand: the corner (0.5, 0.5) adds a square of 0.5 x 0.5; (1, 1) one of 1 x 1
    np.testing.assert_allclose(front.improvement(np.array([[0.5, 0.5], [1.0, 1.0]])), [0.25, 1.0])
    # beyond the ends: (1.2, 0.0) adds 0.2 wide by MARGIN high
    np.testing.assert_allclose(front.improvement(np.array([[1.2, 0.0]])), [0.2 * MARGIN])


@pytest.mark.parametrize("objectives", [2, 3])
def test_improvements_agree_with_drawn_volumes(objectives):
    rng = np.random.default_rng(objectives)
    known = rng.random((12, objectives))
    front = Front(known)
    scaled = (known - known.min(0)) / (known.max(0) - known.min(0))
    new = rng.random((4, objectives)) * 0.6 + 0.5
    points = (new - known.min(0)) / (known.max(0) - known.min(0))
    before = drawn_volume(scaled)
    for value, point in zip(front.improvement(new), points, strict=True):
        gain = drawn_volume(np.vstack([scaled, point])) - before
        assert max(value, 0) == pytest.approx(gain, abs=0.03)


def test_dominated_points_come_after_all_others_the_nearest_first():
    front = Front(np.array([[0.0, 1.0], [1.0, 0.0], [0.8, 0.8]]))
    near, far, equal, better = front.improvement(np.array([[0.75, 0.75], [0.3, 0.3], [0.8, 0.8], [0.85, 0.85]]))
    assert better > 0 == equal > near > far
    assert near == pytest.approx(-0.05)


def test_scales_of_the_objectives_do_not_matter():
    rng = np.random.default_rng(0)
    known, new, scale = rng.random((9, 2)), rng.random((30, 2)), np.array([1e-3, 1e6])
    np.testing.assert_allclose(Front(known).improvement(new), Front(known * scale + 5).improvement(new * scale + 5), atol=1e-9)


def test_cells_that_are_chosen_together_do_not_crowd():
    front = Front(np.array([[0.0, 1.0], [1.0, 0.0]]))
    values = np.array([[0.7, 0.7], [0.69, 0.69], [0.71, 0.68], [0.2, 0.95], [0.95, 0.2]])
    assert front.ranked(values, 3)[0] == 0
    assert set(front.ranked(values, 3)) == set(range(5))
    assert set(front.ranked(values, 3)[1:3]) == {3, 4}  # each by itself, 1 and 2 would add more than these
    alone = front.improvement(values)
    assert min(alone[1], alone[2]) > max(alone[3], alone[4])


@pytest.mark.parametrize("values", [np.zeros((0, 2)), np.array([[np.nan, 1.0]]), np.zeros(3)])
def test_values_that_make_no_front_are_told(values):
    with pytest.raises(ValueError, match="expected finite values"):
        Front(values)
