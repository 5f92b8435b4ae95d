"""RoIAlign of the stand-in, against mmcv's compiled one where it is there, and against an oracle everywhere."""

import itertools
import math

import numpy as np
import pytest
import torch
from mmcv_ops_cases import (
    DTYPES,
    ROI_KINDS,
    draw_rois,
    roi_align,
)

from gemnet.openmmlab.mmcv_ops import OPERATORS


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
