"""Two detectors agree where their boxes are the same or a choice hangs on the last digits; anything else is a mistake."""

import json
from pathlib import Path

import torch

from gemnet.core.tables import between
from gemnet.deploy.detector_records import DATA, MARKS, PAGE, table
from gemnet.deploy.proof import Agreement, Found, Limits, compare

ROOT = Path(__file__).parents[3]
LIMITS = Limits(score=0.05, overlap=0.5, most=10)


def found(*rows):
    """Rows of x1, y1, x2, y2, score, label."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Found(values[:, :4], values[:, 4], values[:, 5].long())


BOX = (10.0, 10.0, 60.0, 60.0)
OTHER = (100.0, 100.0, 130.0, 160.0)


def test_the_same_boxes_agree_in_any_order():
    agreed = compare(found((*BOX, 0.9, 0), (*OTHER, 0.3, 1)), found((*OTHER, 0.3001, 1), (10, 10, 60, 60.01, 0.9, 0)), LIMITS)
    assert (agreed.photos, agreed.boxes, agreed.ties, agreed.mistake) == (1, 2, 0, "")
    assert 0.9997 < agreed.overlap < 0.9999
    assert 0.9e-4 < agreed.score < 1.1e-4
    assert str(agreed) == "2 boxes on 1 photos as the detector's own: IoU at least 0.99980, scores within 1e-04"


def test_a_box_that_is_moved_scored_or_named_otherwise_is_a_mistake():
    own = found((*BOX, 0.9, 0))
    for other in ((10, 10, 60, 61, 0.9, 0), (*BOX, 0.898, 0), (*BOX, 0.9, 1)):
        agreed = compare(own, found(other), LIMITS, "a.jpg")
        expected = (
            "a.jpg: the detector finds a box (10.0, 10.0, 60.0, 60.0) of class 0 with score 0.9000 that the file does not"
        )
        assert agreed.mistake == f"{expected}; 1 and 1 boxes have no partner"


def test_a_box_too_few_or_too_many_is_a_mistake():
    both, one = found((*BOX, 0.9, 0), (*OTHER, 0.3, 1)), found((*BOX, 0.9, 0))
    assert "the detector finds" in compare(both, one, LIMITS).mistake
    assert "the file finds a box (100.0, 100.0, 130.0, 160.0)" in compare(one, both, LIMITS).mistake
    assert compare(one, found(), LIMITS).mistake
    assert compare(found(), one, LIMITS).mistake


def test_nothing_on_both_sides_agrees_and_is_told_as_such():
    agreed = compare(found(), found(), LIMITS)
    assert not agreed.mistake
    assert str(agreed) == "no box on 1 photos, and so in the file"


def test_a_box_at_the_threshold_of_scores_is_a_tie():
    one = found((*BOX, 0.9, 0))
    assert compare(found((*BOX, 0.9, 0), (*OTHER, 0.050001, 0)), one, LIMITS).ties == 1
    assert compare(found((*BOX, 0.9, 0), (*OTHER, 0.0511, 0)), one, LIMITS).mistake


def test_the_last_of_as_many_boxes_as_are_kept_is_a_tie():
    limits = Limits(0.05, 0.5, 2)
    first, second = (*BOX, 0.9, 0), (*OTHER, 0.2, 0)
    third = (300.0, 300.0, 310.0, 310.0, 0.200001, 0)
    agreed = compare(found(first, second), found(first, third), limits)
    assert (agreed.boxes, agreed.ties, agreed.mistake) == (1, 2, "")
    assert compare(found(first, second), found(first, (*third[:4], 0.3, 0)), limits).mistake


def half_over(box, share):
    """A box with the IoU `share` with another of 50 pixels, to its right."""
    x1, y1, x2, y2 = box
    step = (x2 - x1) * (1 - share) / (1 + share)
    return (x1 + step, y1, x2 + step, y2)


def test_a_box_that_overlaps_a_better_one_by_the_threshold_is_a_tie_and_frees_another():
    better = (*BOX, 0.9, 0)
    at_limit = half_over(BOX, 0.5)
    agreed = compare(found(better, (*at_limit, 0.8, 0)), found(better), LIMITS)
    assert (agreed.ties, agreed.mistake) == (1, "")
    assert compare(found(better, (*half_over(BOX, 0.4), 0.8, 0)), found(better), LIMITS).mistake
    assert compare(found(better, (*at_limit, 0.8, 1)), found(better), LIMITS).mistake  # another class
    suppressed_by_it = half_over(at_limit, 0.7)
    agreed = compare(found(better, (*at_limit, 0.8, 0)), found(better, (*suppressed_by_it, 0.7, 0)), LIMITS)
    assert (agreed.boxes, agreed.ties, agreed.mistake) == (1, 2, "")


def test_two_boxes_that_overlap_and_are_as_good_are_a_tie_whichever_is_kept():
    other = half_over(BOX, 0.7)
    agreed = compare(found((*BOX, 0.8, 0)), found((*other, 0.8, 0)), LIMITS)
    assert (agreed.boxes, agreed.ties, agreed.mistake) == (0, 2, "")
    assert compare(found((*BOX, 0.8, 0)), found((*other, 0.801, 0)), LIMITS).mistake  # it is better
    assert compare(found((*BOX, 0.8, 0)), found((*other, 0.8, 1)), LIMITS).mistake  # another class
    assert compare(found((*BOX, 0.8, 0)), found((*half_over(BOX, 0.3), 0.8, 0)), LIMITS).mistake  # both would be kept
    assert compare(found((*BOX, 0.8, 0)), found((*half_over(BOX, 0.95), 0.8, 0)), LIMITS).mistake  # it is moved


def test_the_same_box_twice_needs_a_partner_each():
    twice = found((*BOX, 0.9, 0), (*BOX, 0.9, 0))
    assert compare(twice, twice, LIMITS).boxes == 2
    assert compare(twice, found((*BOX, 0.9, 0)), LIMITS).mistake


def test_boxes_thinner_than_a_pixel_are_the_same_where_their_corners_are():
    thin = found((10, 10, 10, 60, 0.9, 0))
    for near in (10, 10.002):
        assert compare(thin, found((10, 10, near, 60, 0.9, 0)), LIMITS) == Agreement(1, 1, 1.0, 0.0, 0, "")
    assert compare(thin, found((10, 10, 10.2, 60, 0.9, 0)), LIMITS).mistake


def test_agreements_are_summed_up_by_their_worst():
    total = Agreement(1, 5, 0.999, 1e-5, 1) + Agreement(2, 3, 0.995, 1e-6, 0, "b.jpg: ...")
    assert total == Agreement(3, 8, 0.995, 1e-5, 1, "b.jpg: ...")


def test_the_page_of_exports_has_the_recorded_figures_and_all_of_them_are_proofs():
    rows = json.loads((ROOT / DATA).read_text(encoding="utf-8"))
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert between(MARKS, page, table(rows), PAGE) == page
    assert {row["name"] for row in rows} >= {f"rtmdet_gemnet_{arch}" for arch in "ab"} | {
        "retinanet_gemnet_a",
        "faster_rcnn_gemnet_a",
    }
    for row in rows:
        assert row["boxes"] > 0
        assert row["overlap"] > 0.99
        assert row["score_difference"] <= 1e-3
        assert row["ties"] <= row["boxes"] / 100
