"""Features of regions of interest: RoIAlign, RoIPool and deformable RoI pooling."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gemnet.openmmlab.mmcv_ops.precision import full


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., ICCV 2017) of `input` [N, C, H, W] at `rois` [K, 5] (image, x1, y1, x2, y2) into `output`.

    pool_mode: 1 averages the samples of a bin, 0 takes their maximum. Then argmax_y and argmax_x, as large as `output`, say
    which sample of the bin it was: row and column, for `roi_align_backward`.
    """
    features, size = full(input), (aligned_height, aligned_width)
    rois = rois.to(features.dtype)
    if pool_mode == 1:
        output.copy_(torch.ops.torchvision.roi_align(features, rois, spatial_scale, *size, sampling_ratio, aligned))
        return
    output.zero_()
    for chosen, (rows, columns) in _by_samples(rois, size, spatial_scale, sampling_ratio, aligned):
        samples = torch.ops.torchvision.roi_align(
            features, rois[chosen], spatial_scale, size[0] * rows, size[1] * columns, 1, aligned
        )
        best, place = _bins(samples, size, rows, columns).max(-1)
        output[chosen] = best.to(output.dtype)
        argmax_y[chosen] = (place // columns).to(argmax_y.dtype)
        argmax_x[chosen] = (place % columns).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of `roi_align_forward` by its input, added to `grad_input` [N, C, H, W]."""
    grad, size = full(grad_output), (aligned_height, aligned_width)
    rois, shape = rois.to(grad.dtype), grad_input.shape
    if pool_mode == 1:
        grad_input += torch.ops.torchvision._roi_align_backward(
            grad, rois, spatial_scale, *size, *shape, sampling_ratio, aligned
        ).to(grad_input.dtype)
        return
    for chosen, (rows, columns) in _by_samples(rois, size, spatial_scale, sampling_ratio, aligned):
        place = (argmax_y[chosen] * columns + argmax_x[chosen]).long()[..., None]
        bins = grad.new_zeros(*place.shape[:-1], rows * columns).scatter_(-1, place, grad[chosen][..., None])
        samples = bins.unflatten(-1, (rows, columns)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        grad_input += torch.ops.torchvision._roi_align_backward(
            samples, rois[chosen], spatial_scale, *samples.shape[2:], *shape, 1, aligned
        ).to(grad_input.dtype)


def _bins(samples: Tensor, size: tuple[int, int], rows: int, columns: int) -> Tensor:
    """Samples [K, C, h * rows, w * columns] by bins: [K, C, h, w, rows * columns]."""
    return samples.unflatten(2, (size[0], rows)).unflatten(4, (size[1], columns)).transpose(3, 4).flatten(4)


def _by_samples(
    rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """The RoIs [K, 5] by how many samples a bin has: their indices, with rows and columns of samples. Those without a sample,
    for they have no area, are left out."""
    if sampling_ratio > 0:
        counts = rois.new_full((len(rois), 2), sampling_ratio)
    else:
        sides = (rois[:, [4, 3]] - rois[:, [2, 1]]) * scale
        sides = sides if aligned else sides.clamp(min=1)
        counts = (sides / sides.new_tensor(size)).ceil().clamp(min=0)
    for rows, columns in counts.long().unique(dim=0).tolist():
        if rows and columns:
            yield (counts == counts.new_tensor((rows, columns))).all(1).nonzero()[:, 0], (rows, columns)


def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, pooled_height: int, pooled_width: int, spatial_scale: float
) -> None:
    """RoIPool (Girshick, ICCV 2015) of `input` [N, C, H, W] at `rois` [K, 5] (image, x1, y1, x2, y2) into `output`.

    A bin's maximum is over all pixels that it touches; argmax tells which of H * W it was, -1 for an empty bin, which is 0.
    torchvision's operator rounds the bins otherwise.
    """
    (height, width), places = input.shape[2:], rois.float() * spatial_scale
    ends = (rois.float() + 1) * spatial_scale
    rows, columns = (
        list(zip(*_touched(places[:, axis], ends[:, axis + 2], count, side)))
        for axis, count, side in ((2, pooled_height, height), (1, pooled_width, width))
    )
    output.zero_()
    argmax.fill_(-1)
    real = (ends[:, 3:] > places[:, 1:3]).all(1)  # of the others all bins are empty
    for k in real.nonzero()[:, 0].tolist():
        image = int(rois[k, 0])
        for row, (top, bottom) in enumerate(zip(*rows[k])):
            for column, (left, right) in enumerate(zip(*columns[k])):
                if top < bottom and left < right:
                    best, place = input[image, :, top:bottom, left:right].flatten(1).max(1)
                    output[k, :, row, column] = best
                    y, x = place // (right - left) + top, place % (right - left) + left
                    argmax[k, :, row, column] = (y * width + x).to(argmax.dtype)


def _touched(start: Tensor, end: Tensor, bins: int, side: int) -> tuple[list[list[int]], list[list[int]]]:
    """The first pixel of each bin between start and end [K], and the one after the last: [K][bins] each, of `side` pixels."""
    edges = torch.arange(bins + 1, device=start.device) * ((end - start) / bins)[:, None] + start[:, None]
    return edges[:, :-1].floor().clamp(0, side).long().tolist(), edges[:, 1:].ceil().clamp(0, side).long().tolist()


def roi_pool_backward(
    grad_output: Tensor, rois: Tensor, argmax: Tensor, grad_input: Tensor,
    pooled_height: int, pooled_width: int, spatial_scale: float,
) -> None:  # fmt: skip
    """The gradient of `roi_pool_forward` by its input, added to `grad_input` [N, C, H, W]."""
    grad = torch.where(argmax >= 0, grad_output, 0).flatten(2)
    places = argmax.clamp(min=0).long().flatten(2)
    pixels = grad_input.flatten(2)  # a view: mmcv makes it contiguous
    for k, image in enumerate(rois[:, 0].long().tolist()):
        pixels[image].scatter_add_(1, places[k], grad[k])


def deform_roi_pool_forward(
    input: Tensor, rois: Tensor, offset: Tensor, output: Tensor,
    pooled_height: int, pooled_width: int, spatial_scale: float, sampling_ratio: int, gamma: float,
) -> None:  # fmt: skip
    """Deformable RoI pooling (Dai et al., ICCV 2017): RoIAlign whose bins are moved.

    offset: [K, 2, h, w], x and then y, in units of `gamma` times the RoI's width and height; empty for none.
    """
    size = output.shape[2], output.shape[3]
    output.copy_(_deform_roi_pool(full(input), rois, full(offset), size, spatial_scale, sampling_ratio, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor, input: Tensor, rois: Tensor, offset: Tensor, grad_input: Tensor, grad_offset: Tensor,
    pooled_height: int, pooled_width: int, spatial_scale: float, sampling_ratio: int, gamma: float,
) -> None:  # fmt: skip
    """The gradients of `deform_roi_pool_forward` by input and offsets, into `grad_input` and `grad_offset`.

    A sample beside the image has no gradient by its offset in the direction in which it is moved back to the edge.
    """
    features, moved = (full(x).detach().requires_grad_() for x in (input, offset))
    size = grad_output.shape[2], grad_output.shape[3]
    with torch.enable_grad():
        output = _deform_roi_pool(features, rois, moved, size, spatial_scale, sampling_ratio, gamma)
    grads = torch.autograd.grad(output, (features, moved), full(grad_output), allow_unused=True, materialize_grads=True)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[1])


def _deform_roi_pool(
    features: Tensor, rois: Tensor, offset: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, gamma: float
) -> Tensor:
    rois = rois.to(features.dtype)
    output = features.new_zeros(len(rois), features.shape[1], *size)
    low = rois[:, 1:3] * scale - 0.5  # x, y
    sides = (rois[:, 3:5] - rois[:, 1:3]) * scale
    start = low[:, :, None, None].expand(-1, 2, *size)
    if offset.numel():
        start = start + gamma * sides[:, :, None, None] * offset
    bins = sides / sides.new_tensor((size[1], size[0]))
    grid = torch.meshgrid(*(torch.arange(count, device=rois.device) for count in size), indexing="ij")
    for chosen, (rows, columns) in _by_samples(rois, size, scale, sampling_ratio, True):
        x, y = (
            (start[chosen, axis] + grid[1 - axis] * bins[chosen, axis, None, None])[..., None]
            + (torch.arange(count, device=rois.device) + 0.5) * (bins[chosen, axis, None, None, None] / count)
            for axis, count in ((0, columns), (1, rows))
        )
        samples = _bilinear(features, rois[chosen, 0].long(), y[..., :, None], x[..., None, :])
        output = output.index_copy(0, chosen, samples.mean((-2, -1)))
    return output


def _bilinear(features: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Features [N, C, H, W] of the images [K] at y and x [K, ...], as RoIAlign takes them: [K, C, ...].

    Up to a pixel beside the image it is the image's edge, further away 0.
    """
    y, x = torch.broadcast_tensors(y, x)
    inside, parts = torch.ones_like(y, dtype=torch.bool), []
    for place, side in ((y, features.shape[2]), (x, features.shape[3])):
        inside = inside & (place >= -1) & (place <= side)
        place = place.clamp(0, side - 1)
        low = place.detach().floor()
        parts.append((low.long(), (low.long() + 1).clamp(max=side - 1), place - low))
    (y1, y2, dy), (x1, x2, dx) = parts
    image = image.view(-1, *[1] * (y.ndim - 1))

    def at(row: Tensor, column: Tensor) -> Tensor:
        return features[image, :, row, column].movedim(-1, 1)

    dy, dx = dy[:, None], dx[:, None]
    upper = at(y1, x1) * (1 - dx) + at(y1, x2) * dx
    lower = at(y2, x1) * (1 - dx) + at(y2, x2) * dx
    return torch.where(inside[:, None], upper * (1 - dy) + lower * dy, 0)
