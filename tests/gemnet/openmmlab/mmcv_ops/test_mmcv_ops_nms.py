"""NMS and soft NMS of the stand-in, against mmcv's compiled ones where they are there, and against oracles everywhere."""

import itertools
import math

import numpy as np
import pytest
import torch
from mmcv_ops_cases import (
    DTYPES,
    KINDS,
    METHODS,
    THRESHOLDS,
    draw_boxes,
    draw_scores,
    soft_nms,
)

from gemnet.openmmlab.mmcv_ops import EXTENSION, OPERATORS, Extension


# Not huge boxes with an offset: beyond 2^24 a float32 x2 + 1 is x2.
@pytest.mark.parametrize(
    ("kind", "offset"), [(kind, offset) for kind in KINDS for offset in (0, 1) if (kind, offset) != ("huge", 1)]
)
def test_nms_keeps_the_boxes_that_the_compiled_one_keeps(compiled, kind, offset):
    for seed, levels in itertools.product(range(12), (None, 4, 1)):
        count = (0, 1, 2, 16, 100, 400)[seed % 6]
        boxes, scores = draw_boxes(kind, count, seed), draw_scores(count, seed, levels)
        # The order of equal scores is any with the compiled operator, whose sort is stable up to 16 elements only.
        order = scores.sort(descending=True).indices
        for threshold in THRESHOLDS:
            told = compiled.nms(boxes, scores, iou_threshold=threshold, offset=offset)
            ours = order[OPERATORS["nms"](boxes[order], scores[order], iou_threshold=threshold, offset=offset)]
            assert ours.dtype == told.dtype
            assert ours.tolist() == told.tolist(), (seed, levels, threshold)
            if levels is None or count <= 16:
                assert OPERATORS["nms"](boxes, scores, threshold, offset).tolist() == told.tolist(), (seed, levels, threshold)


@pytest.mark.parametrize(
    ("settings", "count", "number"),
    [
        ({"type": "nms"}, 4000, 80),
        ({"type": "nms", "split_thr": 500}, 4000, 80),
        ({"type": "nms", "max_num": 100}, 4000, 80),
        ({"type": "nms", "score_threshold": 0.3}, 4000, 80),
        ({"type": "soft_nms"}, 500, 10),
        ({"type": "soft_nms", "split_thr": 100, "method": "gaussian"}, 500, 10),
    ],
)
@pytest.mark.parametrize("agnostic", [False, True])
def test_batched_nms_of_thousands_of_boxes_is_the_compiled_ones(compiled, use, agnostic, settings, count, number):
    from mmcv.ops import batched_nms

    for seed in range(3):
        boxes, scores = 13 * draw_boxes("spread", count, seed), draw_scores(count, seed)
        classes = torch.from_numpy(np.random.default_rng(seed).integers(0, number, count))
        use(compiled)
        dets, kept = batched_nms(boxes, scores, classes, {"iou_threshold": 0.5, **settings}, agnostic)
        use(Extension(EXTENSION))
        our_dets, our_kept = batched_nms(boxes, scores, classes, {"iou_threshold": 0.5, **settings}, agnostic)
        assert len(kept) > 50
        assert our_kept.tolist() == kept.tolist()
        # nms copies scores; soft_nms rounds products of weights, see below
        torch.testing.assert_close(our_dets, dets, rtol=1e-5 if settings["type"] == "soft_nms" else 0, atol=0)


# Not flat boxes with a gaussian and no offset: the compiled operator's IoU of two boxes without an area is 0 / 0, and the
# score NaN. Ours is tested below.
@pytest.mark.parametrize(
    ("kind", "offset", "method"),
    [case for case in itertools.product(KINDS, (0, 1), METHODS) if case != ("flat", 0, "gaussian")],
)
def test_soft_nms_orders_and_weighs_boxes_like_the_compiled_one(compiled, kind, offset, method):
    for seed, levels in itertools.product(range(15), (None, 3, 1)):
        count, min_score = (0, 1, 2, 16, 60)[seed % 5], (0.0, 1e-3, 0.3)[seed % 3]
        boxes, scores = draw_boxes(kind, count, seed), draw_scores(count, seed, levels)
        options = boxes, scores, (0.3, 1 / 3, 0.5)[seed // 3 % 3], 0.5, min_score, method, offset
        dets, kept = soft_nms(compiled.softnms, *options)
        our_dets, our_kept = soft_nms(OPERATORS["softnms"], *options)
        assert our_kept.dtype == kept.dtype
        assert our_kept.tolist() == kept.tolist(), (seed, levels)
        assert torch.equal(our_dets[:, :4], dets[:, :4])
        # exp may round the last place in two ways, and a score is a product of up to 60 of them
        torch.testing.assert_close(our_dets[:, 4], dets[:, 4], rtol=1e-5, atol=1e-30)


def ious(boxes, best, others, offset):
    low, high = np.maximum(boxes[best, :2], boxes[others, :2]), np.minimum(boxes[best, 2:], boxes[others, 2:])
    overlap = np.maximum(high - low + np.float32(offset), 0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2] + np.float32(offset)).prod(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(overlap / (area[best] + area[others] - overlap), nan=0)


def reference_nms(boxes, scores, threshold, offset):
    boxes, left, kept = boxes.numpy(), np.argsort(-scores.numpy(), kind="stable"), []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][~(ious(boxes, left[0], left[1:], offset) > np.float32(threshold))]
    return kept


def reference_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """One box at a time: the best (the first of the equal) goes out, and the last one fills the place of a dropped one."""
    boxes, left, taken = boxes.numpy(), list(enumerate(scores.tolist())), []
    while left:
        best = max(range(len(left)), key=lambda i: left[i][1])
        taken.append(left[best])
        left[best] = left[0]
        left = left[1:]
        place = 0
        while place < len(left):
            box, score = left[place]
            iou = float(ious(boxes, taken[-1][0], [box], offset)[0])
            if method == "gaussian":
                score *= math.exp(-iou * iou / sigma)
            elif iou >= np.float32(threshold):
                score *= 1 - iou if method == "linear" else 0
            if score < min_score:
                left[place] = left[-1]
                left.pop()
            else:
                left[place] = box, score
                place += 1
    return [box for box, _ in taken], [score for _, score in taken]


@pytest.mark.parametrize(
    ("kind", "offset"), [(kind, offset) for kind in KINDS for offset in (0, 1) if (kind, offset) != ("huge", 1)]
)
def test_nms_keeps_the_boxes_of_the_brute_force(kind, offset):
    for seed, levels in itertools.product(range(6), (None, 4, 1)):
        count = (0, 1, 2, 16, 100, 150)[seed]
        boxes, scores = draw_boxes(kind, count, seed), draw_scores(count, seed, levels)
        for threshold in THRESHOLDS[::2]:
            kept = OPERATORS["nms"](boxes, scores, threshold, offset)
            assert kept.dtype == torch.int64
            assert kept.tolist() == reference_nms(boxes, scores, threshold, offset), (seed, levels, threshold)


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_box_whose_iou_is_the_threshold_is_kept(dtype, threshold):
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, round(10 * threshold), 10]], dtype=dtype)
    assert OPERATORS["nms"](boxes, torch.tensor([0.9, 0.8]), threshold, 0).tolist() == [0, 1]
    assert OPERATORS["nms"](boxes, torch.tensor([0.9, 0.8]), threshold - 1e-6, 0).tolist() == [0]


@pytest.mark.parametrize("agnostic", [False, True])
def test_batched_nms_is_the_brute_force_of_each_class(use, agnostic):
    from mmcv.ops import batched_nms

    boxes, scores = draw_boxes("spread", 500, 0), draw_scores(500, 0)
    classes = torch.from_numpy(np.random.default_rng(0).integers(0, 5, 500))
    dets, kept = batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.5}, agnostic)
    groups = [torch.arange(500)] if agnostic else [torch.where(classes == name)[0] for name in range(5)]
    expected = [int(group[i]) for group in groups for i in reference_nms(boxes[group], scores[group], 0.5, 0)]
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_soft_nms_is_the_brute_force(kind, offset, method):
    for seed, levels in itertools.product(range(6), (None, 3, 1)):
        count, min_score = (0, 1, 8, 25, 25, 25)[seed], (0.0, 1e-3, 0.3)[seed % 3]
        boxes, scores = draw_boxes(kind, count, seed), draw_scores(count, seed, levels)
        options = boxes, scores, 0.4, 0.5, min_score, method, offset
        dets, kept = soft_nms(OPERATORS["softnms"], *options)
        expected, expected_scores = reference_soft_nms(*options)
        assert kept.dtype == torch.int64
        assert kept.tolist() == expected, (seed, levels)
        assert torch.equal(dets[:, :4], boxes[kept])
        # the oracle's scores are float64: up to 25 float32 products
        torch.testing.assert_close(dets[:, 4].double(), torch.tensor(expected_scores).double(), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("method", METHODS)
def test_boxes_without_an_area_do_not_lower_each_others_scores(method):
    boxes = torch.tensor([[5.0, 5.0, 5.0, 9.0], [7.0, 1.0, 7.0, 1.0], [7.0, 1.0, 7.0, 1.0]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    dets, kept = soft_nms(OPERATORS["softnms"], boxes, scores, 0.3, 0.5, 0.05, method, 0)  # gaussian: compiled, a NaN
    assert kept.tolist() == [1, 2, 0]
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


def test_soft_nms_leaves_its_input_as_it_is():
    boxes, scores = draw_boxes("spread", 30, 0), draw_scores(30, 0)
    before = boxes.clone(), scores.clone()
    soft_nms(OPERATORS["softnms"], boxes, scores, 0.3, 0.5, 0.1, "linear", 0)
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nms_in_half_precision_keeps_the_boxes_of_float32(use, dtype):
    import mmcv.ops

    boxes, scores = draw_boxes("spread", 200, 0).to(dtype), draw_scores(200, 0).to(dtype)
    dets, kept = mmcv.ops.nms(boxes, scores, 0.5)
    assert dets.dtype == dtype
    assert kept.tolist() == mmcv.ops.nms(boxes.float(), scores.float(), 0.5)[1].tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_soft_nms_in_half_precision_is_that_of_float32(use, method, dtype):
    import mmcv.ops

    boxes, scores = draw_boxes("spread", 60, 0).to(dtype), draw_scores(60, 0).to(dtype)
    dets, kept = mmcv.ops.soft_nms(boxes, scores, 0.5, method=method)
    exact, exact_kept = mmcv.ops.soft_nms(boxes.float(), scores.float(), 0.5, method=method)
    assert dets.dtype == dtype
    assert kept.tolist() == exact_kept.tolist()
    torch.testing.assert_close(dets.float(), exact, rtol=DTYPES[dtype], atol=0)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "huge"])
def test_nms_on_a_gpu_keeps_the_boxes_of_the_cpu(gpu, kind, offset):
    for seed, levels in itertools.product(range(6), (None, 4, 1)):
        count = (0, 1, 2, 16, 100, 3000)[seed]
        # A GPU rounds areas once less: of millions of float32 pairs one may be on the other side. Its threshold is a float32.
        boxes = draw_boxes(kind, count, seed).to(torch.float64 if count > 100 else torch.float32)
        scores = draw_scores(count, seed, levels)
        for threshold in (0.25, 0.5, 0.75):
            kept = OPERATORS["nms"](boxes.to(gpu), scores.to(gpu), threshold, offset)
            assert kept.tolist() == OPERATORS["nms"](boxes, scores, threshold, offset).tolist(), (seed, levels, threshold)


@pytest.mark.parametrize("method", METHODS)
def test_soft_nms_on_a_gpu_is_that_of_the_cpu(gpu, method):
    boxes, scores = draw_boxes("spread", 60, 0), draw_scores(60, 0)
    dets, kept = soft_nms(OPERATORS["softnms"], boxes, scores, 0.3, 0.5, 1e-3, method, 0)
    other, other_kept = soft_nms(OPERATORS["softnms"], boxes.to(gpu), scores.to(gpu), 0.3, 0.5, 1e-3, method, 0)
    assert other_kept.tolist() == kept.tolist()
    torch.testing.assert_close(other.cpu(), dets, rtol=1e-5, atol=0)
