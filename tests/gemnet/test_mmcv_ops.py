"""The stand-in for mmcv's compiled operators, against the compiled ones where there are any, and against oracles everywhere.

The compiled sigmoid focal loss runs on no CPU ("implementation for device cpu not found"): oracles only.
"""

import importlib.util
import itertools
import math
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision

import gemnet
from gemnet.mmcv_ops import EXTENSION, OPERATORS, Extension, Finder

ROOT = Path(__file__).parents[2]
KINDS = ("spread", "grid", "identical", "flat", "inverted", "outside", "huge")
THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.7, 0.8, 0.9, 1.0)
METHODS = {"naive": 0, "linear": 1, "gaussian": 2}
DTYPES = {torch.float16: 2e-3, torch.bfloat16: 2e-2}  # a few units in the last place of 11 and 8 bits


def draw_boxes(kind, count, seed):
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 100, (count, 2)), rng.uniform(1, 50, (count, 2))
    match kind:
        case "grid":  # many IoUs are fractions like 3 / 10, and thresholds too
            low, size = low // 5, size // 5 + 1
        case "identical":
            low[:], size[:] = 10.5, 20.25
        case "flat":
            size *= rng.random((count, 2)) < 0.6
        case "inverted":
            size *= rng.choice([-1, 1], (count, 2))
        case "outside":
            low -= 300
        case "huge":
            scale = 10 ** rng.uniform(4, 17)
            low, size = low * scale, size * scale
    return torch.from_numpy(np.concatenate([low, low + size], 1)).float()


def draw_scores(count, seed, levels=None):
    """Scores above 0 up to 1, all different, or of so many levels."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, levels + 1, count) / levels if levels else (rng.permutation(count) + 1) / (count + 1)
    return torch.from_numpy(scores).float()


def draw_rois(kind, count, seed, images=3, side=64):
    """RoIs (image, x1, y1, x2, y2) for an image of `side` pixels."""
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 0.7 * side, (count, 2)), rng.uniform(1, 0.6 * side, (count, 2))
    match kind:
        case "outside":
            low += rng.choice([-3 * side, 3 * side], (count, 2))
        case "across the edge":
            low += rng.choice([-side / 2, side / 2], (count, 2))
        case "no size":
            size *= rng.random((count, 2)) < 0.3
        case "larger":
            low, size = -low, size + 2 * side
        case "pixels":
            low, size = low.round(), size.round()
    return torch.from_numpy(np.concatenate([rng.integers(0, images, (count, 1)), low, low + size], 1)).float()


ROI_KINDS = ("inside", "outside", "across the edge", "no size", "larger", "pixels")


def soft_nms(operator, boxes, scores, threshold, sigma, min_score, method, offset):
    dets = boxes.new_full((len(boxes), 5), math.nan)
    kept = operator(
        boxes, scores, dets, iou_threshold=threshold, sigma=sigma, min_score=min_score, method=METHODS[method], offset=offset
    )
    return dets[: len(kept)], kept


def roi_align(forward, backward, features, rois, size, scale, sampling_ratio, aligned, seed=0):
    """The output, a random gradient of it, and the gradient of the features."""
    options = {
        "aligned_height": size[0], "aligned_width": size[1], "spatial_scale": scale,
        "sampling_ratio": sampling_ratio, "pool_mode": 1, "aligned": aligned,
    }  # fmt: skip
    none = features.new_zeros(0)
    output = features.new_zeros(len(rois), features.shape[1], *size)
    forward(features, rois, output, none, none, **options)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output)
    grad_features = torch.zeros_like(features)
    backward(grad, rois, none, none, grad_features, **options)
    return output, grad, grad_features


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def compiled():
    extension = pytest.importorskip(EXTENSION)
    if isinstance(extension, Extension):
        pytest.skip("parity with mmcv's compiled operators: this mmcv was installed without them")
    return extension


@pytest.fixture
def use(monkeypatch):
    """Lets mmcv.ops run on an extension; on the stand-in from the start."""
    pytest.importorskip("mmcv.ops")

    def swap(extension):
        for name in ("nms", "roi_align", "focal_loss", "carafe"):
            monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", extension)

    swap(Extension(EXTENSION))
    return swap


# --- the compiled operators -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("kind", ROI_KINDS)
def test_roi_align_and_its_gradient_are_the_compiled_ones(compiled, kind, aligned, sampling_ratio):
    for seed, (size, scale) in itertools.product(range(4), [((7, 7), 0.25), ((3, 5), 1 / 16), ((1, 1), 1.0)]):
        features = torch.randn(3, 4, 16, 12, generator=torch.Generator().manual_seed(seed))
        rois = draw_rois(kind, (0, 1, 5, 12)[seed], seed)
        options = features, rois, size, scale, sampling_ratio, aligned
        told = roi_align(compiled.roi_align_forward, compiled.roi_align_backward, *options)
        ours = roi_align(OPERATORS["roi_align_forward"], OPERATORS["roi_align_backward"], *options)
        for mine, theirs in zip(ours, told, strict=True):
            # sums of up to some hundred float32 products of order 1 that cancel: the last places of the sum of magnitudes
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_roi_align_takes_a_gradient_of_any_strides_like_the_compiled_one(compiled):
    features, rois = torch.randn(3, 4, 16, 12), draw_rois("inside", 6, 0)
    none, options = features.new_zeros(0), (7, 7, 0.25, 2, 1, True)
    dense = torch.randn(6, 7, 7, 4).permute(0, 3, 1, 2)
    for grad in (dense, torch.ones(1, 1, 1, 1).expand(6, 4, 7, 7)):
        told, ours, flat = (torch.zeros_like(features) for _ in range(3))
        compiled.roi_align_backward(grad, rois, none, none, told, *options)
        OPERATORS["roi_align_backward"](grad, rois, none, none, ours, *options)
        OPERATORS["roi_align_backward"](grad.contiguous(), rois, none, none, flat, *options)
        torch.testing.assert_close(ours, told, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours, flat, rtol=0, atol=0)


# --- oracles: NMS -----------------------------------------------------------------------------------------------------


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


# --- oracles: RoIAlign ------------------------------------------------------------------------------------------------


def bilinear(image, y, x):
    """Of `image` [C, H, W] at (y, x): 0 from one pixel outside on, before that the nearest pixel inside."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = (1 - (x - left)) * image[:, top, left] + (x - left) * image[:, top, right]
    below = (1 - (x - left)) * image[:, down, left] + (x - left) * image[:, down, right]
    return (1 - (y - top)) * above + (y - top) * below


def reference_roi_align(features, rois, size, scale, sampling_ratio, aligned):
    output = np.zeros((len(rois), features.shape[1], *size))
    for roi, into in zip(rois.numpy(), output, strict=True):
        x1, y1, x2, y2 = roi[1:] * scale - 0.5 * aligned
        height, width = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1), max(x2 - x1, 1))
        bin_height, bin_width = height / size[0], width / size[1]
        rows, columns = sampling_ratio or math.ceil(bin_height), sampling_ratio or math.ceil(bin_width)
        samples = list(itertools.product(range(rows), range(columns)))
        for i, j in itertools.product(*map(range, size)):
            for row, column in samples:
                y = y1 + (i + (row + 0.5) / rows) * bin_height
                x = x1 + (j + (column + 0.5) / columns) * bin_width
                into[:, i, j] += bilinear(features[int(roi[0])].numpy(), y, x) / len(samples)
    return torch.from_numpy(output)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("kind", ROI_KINDS)
def test_roi_align_is_the_bilinear_average(kind, aligned, sampling_ratio):
    for seed, (size, scale) in enumerate([((4, 4), 0.25), ((3, 5), 0.125), ((1, 1), 0.25)]):
        features = torch.randn(3, 2, 16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        rois = draw_rois(kind, 3, seed).double()
        options = features, rois, size, scale, sampling_ratio, aligned
        output, grad, grad_features = roi_align(
            OPERATORS["roi_align_forward"], OPERATORS["roi_align_backward"], *options, seed=seed
        )
        torch.testing.assert_close(output, reference_roi_align(*options), rtol=1e-9, atol=1e-12)
        # it is linear in the features, and the gradient is its transpose
        assert float((grad_features * features).sum()) == pytest.approx(float((grad * output).sum()), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_aligns_gradient_is_that_of_finite_differences(use, aligned, sampling_ratio):
    import mmcv.ops

    features = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.cat([draw_rois(kind, 2, 0, images=2, side=12) for kind in ROI_KINDS]).double()
    assert torch.autograd.gradcheck(
        lambda x: mmcv.ops.roi_align(x, rois, (2, 3), 0.5, sampling_ratio, "avg", aligned), features
    )


def test_roi_align_of_no_rois_is_empty_and_its_gradient_zero(use):
    import mmcv.ops

    features = torch.randn(2, 3, 8, 8, requires_grad=True)
    output = mmcv.ops.RoIAlign((7, 7), 0.25)(features, torch.zeros(0, 5))
    assert output.shape == (0, 3, 7, 7)
    output.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_roi_align_reads_features_of_any_strides():
    rois, options = draw_rois("inside", 6, 0), ((7, 7), 0.25, 2, True)
    features = torch.randn(3, 4, 16, 12)
    operators = OPERATORS["roi_align_forward"], OPERATORS["roi_align_backward"]
    flat = roi_align(*operators, features, rois, *options)
    other = roi_align(*operators, features.to(memory_format=torch.channels_last), rois, *options)
    for one, two in zip(flat, other, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_roi_aligns_gradient_is_added_to_what_is_there():
    features, rois = torch.randn(3, 4, 16, 12), draw_rois("inside", 6, 0)
    none, grad, options = features.new_zeros(0), torch.randn(6, 4, 7, 7), (7, 7, 0.25, 2, 1, True)
    zeros, ones = torch.zeros_like(features), torch.ones_like(features)
    for grad_features in (zeros, ones):
        OPERATORS["roi_align_backward"](grad, rois, none, none, grad_features, *options)
    torch.testing.assert_close(ones, zeros + 1)


# --- oracles: focal loss ----------------------------------------------------------------------------------------------


def focal_loss(logits, target, gamma=2.0, alpha=0.25, weight=None):
    """Loss and gradient of each element, from the operators."""
    weight = logits.new_empty(0) if weight is None else weight
    loss, grad = torch.full_like(logits, math.nan), torch.full_like(logits, math.nan)
    OPERATORS["sigmoid_focal_loss_forward"](logits, target, weight, loss, gamma=gamma, alpha=alpha)
    OPERATORS["sigmoid_focal_loss_backward"](logits, target, weight, grad, gamma=gamma, alpha=alpha)
    return loss, grad


def draw_logits(dtype=torch.float64):
    """20 rows of 7 classes, with background among the targets: the class after the last, and negative ones."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 8, (20,), generator=generator)
    target[:4] = torch.tensor([7, -1, -100, 0])
    return logits.to(dtype), target


def one_hot(target, classes):
    return (target[:, None] == torch.arange(classes)).double()


@pytest.mark.parametrize("alpha", [0.25, 0.3, 0.75])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_focal_loss_and_its_gradient_are_torchvisions(use, reduction, gamma, alpha):
    import mmcv.ops

    logits, target = draw_logits()
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = mmcv.ops.sigmoid_focal_loss(mine, target, gamma, alpha, None, reduction)
    expected = torchvision.ops.sigmoid_focal_loss(theirs, one_hot(target, 7), alpha, gamma, "none")
    if reduction != "none":  # mmcv's mean is over the rows
        expected = expected.sum() / (len(target) if reduction == "mean" else 1)
    # the weight alpha is a float32, here and in the compiled operator
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-12)
    grad = torch.randn(loss.shape, dtype=torch.float64)
    loss.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_losss_gradient_is_that_of_finite_differences(use, weighted, gamma):
    import mmcv.ops

    logits, target = draw_logits()
    weight = torch.rand(7, dtype=torch.float64) if weighted else None
    assert torch.autograd.gradcheck(
        lambda x: mmcv.ops.sigmoid_focal_loss(x, target, gamma, 0.25, weight, "none"), logits.requires_grad_()
    )


@pytest.mark.parametrize("background", [7, -1, -100])
def test_background_is_of_no_class(background):
    logits, _ = draw_logits()
    loss, grad = focal_loss(logits, torch.full((20,), background))
    expected = torchvision.ops.sigmoid_focal_loss(logits, torch.zeros_like(logits), 0.25, 2.0, "none")
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    assert (grad > 0).all()


def test_the_weight_is_that_of_the_rows_target_and_1_for_background():
    logits, target = draw_logits()
    weight = torch.rand(7, dtype=torch.float64)
    factor = torch.tensor([float(weight[t]) if 0 <= t < 7 else 1.0 for t in target.tolist()], dtype=torch.float64)[:, None]
    for weighted, plain in zip(focal_loss(logits, target, weight=weight), focal_loss(logits, target), strict=True):
        torch.testing.assert_close(weighted, factor * plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_extreme_logits_give_the_limits(dtype, gamma):
    logits = torch.tensor([[-1e4, 1e4], [1e4, -1e4], [-1e4, 1e4]], dtype=dtype)
    loss, grad = focal_loss(logits, torch.tensor([0, 0, 2]), gamma=gamma)
    expected = torch.tensor([[2.5e3, 7.5e3], [0, 0], [0, 7.5e3]], dtype=dtype)
    torch.testing.assert_close(loss, expected, rtol=DTYPES.get(dtype, 1e-6), atol=0)
    expected = torch.tensor([[-0.25, 0.75], [0, 0], [0, 0.75]], dtype=dtype)
    torch.testing.assert_close(grad, expected, rtol=DTYPES.get(dtype, 1e-6), atol=0)


def test_focal_loss_of_no_rows_is_empty():
    loss, grad = focal_loss(torch.zeros(0, 7), torch.zeros(0, dtype=torch.long))
    assert loss.shape == grad.shape == (0, 7)


# --- half precision ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rois_dtype", [None, torch.float32])
def test_roi_align_in_half_precision_is_near_that_of_float32(use, rois_dtype, dtype):
    import mmcv.ops

    features = torch.rand(3, 4, 16, 12).to(dtype).requires_grad_()
    exact = features.detach().float().requires_grad_()
    rois = draw_rois("inside", 8, 0).to(rois_dtype or dtype)
    output, expected = (mmcv.ops.roi_align(x, rois.to(t), 7, 0.25) for x, t in [(features, rois.dtype), (exact, torch.float32)])
    grad = torch.rand(output.shape).to(dtype)
    output.backward(grad)
    expected.backward(grad.float())
    assert output.dtype == features.grad.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=DTYPES[dtype], atol=0)
    torch.testing.assert_close(features.grad.float(), exact.grad, rtol=DTYPES[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_in_half_precision_is_near_that_of_float32(weighted, dtype):
    logits, target = draw_logits(dtype)
    weight = torch.rand(7).to(dtype) if weighted else None
    exact = focal_loss(logits.float(), target, weight=None if weight is None else weight.float())
    for half, full in zip(focal_loss(logits, target, weight=weight), exact, strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(half.float(), full, rtol=DTYPES[dtype], atol=1e-6)


# --- the module -------------------------------------------------------------------------------------------------------


def test_an_operator_that_is_not_offered_names_itself_and_how_to_compile():
    extension = Extension(EXTENSION)
    with pytest.raises(NotImplementedError, match=r"'carafe_forward' is not offered(.|\n)*MMCV_WITH_OPS=1 pip install"):
        extension.carafe_forward(torch.zeros(1), up_kernel=5)
    with pytest.raises(AttributeError):
        _ = extension.__wrapped__


def test_every_operator_is_offered_under_its_name():
    extension = Extension(EXTENSION)
    assert {"nms", "softnms", "roi_align_forward", "roi_align_backward"} <= OPERATORS.keys()
    assert {"sigmoid_focal_loss_forward", "sigmoid_focal_loss_backward"} <= OPERATORS.keys()
    assert all(getattr(extension, name) is operator for name, operator in OPERATORS.items())
    assert isinstance(extension.get_compiler_version() + extension.get_compiling_cuda_version(), str)


def test_max_pooling_in_roi_align_is_not_offered(use):
    import mmcv.ops

    features, rois = torch.randn(1, 2, 8, 8), draw_rois("inside", 2, 0, images=1)
    with pytest.raises(NotImplementedError, match=r"roi_align_forward with pool_mode='max'(.|\n)*MMCV_WITH_OPS=1 pip install"):
        mmcv.ops.roi_align(features, rois, 7, 0.25, 2, "max")
    with pytest.raises(NotImplementedError, match=r"roi_align_backward with pool_mode='max'"):
        OPERATORS["roi_align_backward"](features, rois, features, features, features, 7, 7, 0.25, 2, 0, True)


def test_carafe_in_mmcv_ops_says_that_it_is_not_offered(use):
    import mmcv.ops

    with pytest.raises(NotImplementedError, match="carafe_forward"):
        mmcv.ops.carafe(torch.zeros(1, 1, 2, 2), torch.zeros(1, 9, 4, 4), 3, 1, 2)


def test_importing_gemnet_imports_nothing_of_openmmlab_and_mmdet_imports_after_it():
    code = "import sys, gemnet; print(*{name.split('.')[0] for name in sys.modules} & {'mmcv', 'mmengine', 'mmdet'})"
    there = importlib.util.find_spec("mmdet") is not None
    if there:
        code += "; import mmcv.ops, mmdet.models; print(mmdet.models.RetinaNet.__name__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "\n" + "RetinaNet\n" * there


@pytest.mark.parametrize("there", [True, False])
def test_the_stand_in_is_used_only_where_there_is_no_compiled_extension(tmp_path, monkeypatch, there):
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv/__init__.py").touch()
    if there:
        (tmp_path / "mmcv/_ext.py").write_text("nms = 'compiled'")
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.split(".")[0] == "mmcv"]:
            del sys.modules[name]
        monkeypatch.syspath_prepend(tmp_path)
        extension = importlib.import_module(EXTENSION)
    assert isinstance(extension, Extension) is not there
    assert extension.nms == ("compiled" if there else OPERATORS["nms"])


def test_a_second_install_adds_no_second_finder(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, Finder)])
    before = list(sys.meta_path)
    gemnet.mmcv_ops.install()
    gemnet.mmcv_ops.install()
    assert sys.meta_path[:-1] == before
    assert isinstance(sys.meta_path[-1], Finder)


def test_importing_gemnet_has_installed_the_finder_for_one_module():
    (finder,) = (finder for finder in sys.meta_path if isinstance(finder, Finder))
    assert finder.find_spec("mmcv.ops") is None
    assert finder.find_spec("_ext") is None
    assert finder.find_spec(EXTENSION).loader is finder


# --- GPU --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("parity of the GPU and the CPU: no GPU")
    return torch.device("cuda")


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


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
# not "pixels": their samples fall on the border, to either side of it with the rounding
@pytest.mark.parametrize("kind", ROI_KINDS[:-1])
def test_roi_align_on_a_gpu_is_that_of_the_cpu(gpu, kind, aligned, sampling_ratio):
    features = torch.randn(3, 4, 16, 12, dtype=torch.float64)
    for count in (0, 12):
        rois = draw_rois(kind, count, 0).double()
        operators = OPERATORS["roi_align_forward"], OPERATORS["roi_align_backward"]
        options = (7, 7), 0.25, sampling_ratio, aligned
        exact = roi_align(*operators, features, rois, *options)
        # a GPU adds in any order
        for dtype, tolerance in {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2}.items():
            told = roi_align(*operators, features.to(gpu, dtype), rois.to(gpu), *options)
            for one, two in zip(told, exact, strict=True):
                assert one.dtype == dtype
                torch.testing.assert_close(one.cpu().double(), two, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *DTYPES])
def test_focal_loss_on_a_gpu_is_that_of_the_cpu(gpu, dtype):
    logits, target = draw_logits(dtype)
    weight = torch.rand(7).to(dtype)
    for options in ({}, {"weight": weight}):
        exact = focal_loss(logits, target, **options)
        told = focal_loss(logits.to(gpu), target.to(gpu), **{name: value.to(gpu) for name, value in options.items()})
        for one, two in zip(told, exact, strict=True):
            torch.testing.assert_close(one.cpu(), two, rtol=DTYPES.get(dtype, 1e-5), atol=1e-6)
