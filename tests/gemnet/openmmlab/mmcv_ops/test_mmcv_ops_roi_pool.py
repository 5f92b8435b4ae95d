"""RoIAlign's maximum, RoIPool and deformable RoI pooling through mmcv.ops on the stand-in."""

import math

import numpy as np
import pytest
import torch
from mmcv_ops_cases import ROI_KINDS, draw_rois, gradcheck

from gemnet.openmmlab.mmcv_ops import OPERATORS

SIZE, SCALE = (3, 2), 0.25


def features(dtype=torch.float64):
    return torch.randn(3, 2, 16, 16, dtype=dtype)


def sample(image, y, x):
    """Bilinear, the edge up to a pixel beside the image, 0 further away."""
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = 0.0
    for row in {math.floor(y), min(math.floor(y) + 1, height - 1)}:
        for column in {math.floor(x), min(math.floor(x) + 1, width - 1)}:
            total += float(image[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def samples_of(maps, roi, ratio, aligned, moved=None, gamma=0.0):
    """For each channel and bin the values that RoIAlign samples."""
    image, *corners = roi.tolist()
    left, top, right, bottom = (corner * SCALE - 0.5 * aligned for corner in corners)
    width, height = right - left, bottom - top
    if not aligned:
        width, height = max(width, 1), max(height, 1)
    rows = ratio or math.ceil(height / SIZE[0])
    columns = ratio or math.ceil(width / SIZE[1])
    for c, i, j in np.ndindex(maps.shape[1], *SIZE):
        y0, x0 = top, left
        if moved is not None:
            x0, y0 = x0 + gamma * width * float(moved[0, i, j]), y0 + gamma * height * float(moved[1, i, j])
        yield (
            (c, i, j),
            [
                sample(
                    maps[int(image), c],
                    y0 + (i + (a + 0.5) / rows) * height / SIZE[0],
                    x0 + (j + (b + 0.5) / columns) * width / SIZE[1],
                )
                for a in range(rows)
                for b in range(columns)
            ],
        )


@pytest.mark.parametrize("kind", ROI_KINDS)
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_aligns_maximum_is_that_of_its_samples(use, kind, ratio, aligned):
    import mmcv.ops

    maps, rois = features(), draw_rois(kind, 4, 0).double()
    found = mmcv.ops.roi_align(maps, rois, SIZE, SCALE, ratio, "max", aligned)
    for k, roi in enumerate(rois):
        for place, values in samples_of(maps, roi, ratio, aligned):
            assert float(found[(k, *place)]) == pytest.approx(max(values, default=0.0), abs=1e-9)


@pytest.mark.parametrize("ratio", [0, 2])
def test_its_gradient_is_that_of_finite_differences(use, ratio):
    import mmcv.ops

    rois = draw_rois("across the edge", 4, 0).double()
    assert gradcheck(lambda maps: mmcv.ops.roi_align(maps, rois, SIZE, SCALE, ratio, "max"), features().requires_grad_())


@pytest.mark.parametrize("kind", ROI_KINDS)
def test_roi_pool_is_the_maximum_of_the_pixels_that_a_bin_touches(use, kind):
    import mmcv.ops

    maps, rois = features(), draw_rois(kind, 4, 1).double()
    found = mmcv.ops.roi_pool(maps, rois, SIZE, SCALE)
    for k, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = corners[0] * SCALE, corners[1] * SCALE, (corners[2] + 1) * SCALE, (corners[3] + 1) * SCALE
        for c, i, j in np.ndindex(2, *SIZE):
            rows = range(max(math.floor(y1 + i * (y2 - y1) / 3), 0), min(math.ceil(y1 + (i + 1) * (y2 - y1) / 3), 16))
            columns = range(max(math.floor(x1 + j * (x2 - x1) / 2), 0), min(math.ceil(x1 + (j + 1) * (x2 - x1) / 2), 16))
            values = [float(maps[int(image), c, y, x]) for y in rows for x in columns]
            assert float(found[k, c, i, j]) == pytest.approx(max(values, default=0.0))


def test_roi_pools_gradient_is_that_of_finite_differences(use):
    import mmcv.ops

    rois = draw_rois("across the edge", 4, 1).double()
    assert gradcheck(lambda maps: mmcv.ops.roi_pool(maps, rois, SIZE, SCALE), features().requires_grad_())


@pytest.mark.parametrize("kind", ["inside", "across the edge", "larger"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_deformable_pooling_is_the_mean_of_the_moved_bins(use, kind, ratio):
    import mmcv.ops

    maps, rois = features(), draw_rois(kind, 3, 2).double()
    offset = torch.randn(3, 2, *SIZE, dtype=torch.float64)
    found = mmcv.ops.deform_roi_pool(maps, rois, offset, SIZE, SCALE, ratio, 0.3)
    for k, roi in enumerate(rois):
        for place, values in samples_of(maps, roi, ratio, True, offset[k], 0.3):
            assert float(found[(k, *place)]) == pytest.approx(np.mean(values), abs=1e-9)


def test_without_offsets_it_is_roi_align(use):
    import mmcv.ops

    maps, rois = features(), draw_rois("inside", 5, 3).double()
    expected = mmcv.ops.roi_align(maps, rois, SIZE, SCALE, 2, "avg", True)
    torch.testing.assert_close(mmcv.ops.deform_roi_pool(maps, rois, None, SIZE, SCALE, 2), expected)


def test_its_gradients_by_input_and_offset_are_those_of_finite_differences(use):
    import mmcv.ops

    rois, offset = draw_rois("inside", 3, 4).double(), torch.randn(3, 2, *SIZE, dtype=torch.float64)
    assert gradcheck(
        lambda maps, moved: mmcv.ops.deform_roi_pool(maps, rois, moved, SIZE, SCALE, 2, 0.2),
        (features().requires_grad_(), offset.requires_grad_()),
    )


@pytest.mark.parametrize("operator", ["roi_pool_forward", "deform_roi_pool_forward", "roi_align_forward"])
def test_no_rois_give_no_features(operator):
    maps, none, output = features(), torch.zeros(0, 5, dtype=torch.float64), torch.zeros(0, 2, *SIZE, dtype=torch.float64)
    size = {"pooled_height": 3, "pooled_width": 2, "spatial_scale": SCALE}
    if operator == "roi_pool_forward":
        OPERATORS[operator](maps, none, output, output.int(), **size)
    elif operator == "deform_roi_pool_forward":
        OPERATORS[operator](maps, none, torch.zeros(0, dtype=torch.float64), output, **size, sampling_ratio=0, gamma=0.1)
    else:
        OPERATORS[operator](maps, none, output, output, output, 3, 2, SCALE, 0, 0, True)
    assert output.shape == (0, 2, 3, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_pooling_on_a_gpu_is_that_of_the_cpu(use, gpu, dtype):
    import mmcv.ops

    maps, rois, offset = features(dtype), draw_rois("across the edge", 6, 5).to(dtype), torch.randn(6, 2, *SIZE).to(dtype)

    def run(device):
        x, at, moved = maps.to(device).requires_grad_(), rois.to(device), offset.to(device).requires_grad_()
        outputs = [
            mmcv.ops.roi_align(x, at, SIZE, SCALE, 0, "max"),
            mmcv.ops.roi_pool(x, at, SIZE, SCALE),
            mmcv.ops.deform_roi_pool(x, at, moved, SIZE, SCALE, 0, 0.2),
        ]
        return [*outputs, *torch.autograd.grad(sum(output.float().sum() for output in outputs), (x, moved))]

    for one, other in zip(run(gpu), run("cpu"), strict=True):
        torch.testing.assert_close(
            one.cpu(), other, rtol=1e-2 if dtype == torch.float16 else 1e-5, atol=2e-2 if dtype == torch.float16 else 1e-5
        )
