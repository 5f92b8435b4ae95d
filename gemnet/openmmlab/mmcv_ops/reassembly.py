"""CARAFE's upsampling, and convolution at marked places alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from gemnet.openmmlab.mmcv_ops.precision import full


def _places(features: Tensor, masks: Tensor, kernel_size: int, groups: int, scale: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each place of the kernel, the neighbours there [B, G, C / G, H, 1, W, 1] and their weights [B, G, 1, H, s, W, s]."""
    (batch, channels, height, width), radius = features.shape, kernel_size // 2
    padded = F.pad(features, (radius,) * 4).view(batch, groups, channels // groups, height + 2 * radius, width + 2 * radius)
    weights = masks.view(batch, groups, kernel_size**2, 1, height, scale, width, scale)
    for place in range(kernel_size**2):
        y, x = divmod(place, kernel_size)
        neighbours = padded[..., y : y + height, x : x + width]
        yield neighbours[:, :, :, :, None, :, None], weights[:, :, place]


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """CARAFE (Wang et al., ICCV 2019) of `features` [B, C, H, W] into `output` [B, C, s H, s W].

    masks: [B, group_size * kernel_size^2, s H, s W], for each pixel of the output the weights of the neighbours that it is the
    sum of.
    """
    features_, masks_ = full(features), full(masks)
    products = (n * w for n, w in _places(features_, masks_, kernel_size, group_size, scale_factor))
    output.copy_(reduce(torch.add, products).reshape(output.shape))


def carafe_naive_backward(
    top_grad: Tensor, features: Tensor, masks: Tensor, bottom_grad: Tensor, mask_grad: Tensor,
    kernel_size: int, group_size: int, scale_factor: int,
) -> None:  # fmt: skip
    """The gradients of `carafe_naive_forward` by features and masks, into `bottom_grad` and `mask_grad`."""
    features_, masks_ = full(features), full(masks)
    (batch, channels, height, width), radius = features.shape, kernel_size // 2
    grad = full(top_grad).reshape(batch, group_size, channels // group_size, height, scale_factor, width, scale_factor)
    padded = features_.new_zeros(*grad.shape[:3], height + 2 * radius, width + 2 * radius)
    of_masks = []
    for place, (neighbours, weights) in enumerate(_places(features_, masks_, kernel_size, group_size, scale_factor)):
        y, x = divmod(place, kernel_size)
        padded[..., y : y + height, x : x + width] += (grad * weights).sum((4, 6))
        of_masks.append((grad * neighbours).sum(2))
    inner = padded[..., radius : radius + height, radius : radius + width]
    bottom_grad.copy_(inner.reshape(features.shape))
    mask_grad.copy_(torch.stack(of_masks, 2).reshape(masks.shape))


def carafe_forward(
    features: Tensor, masks: Tensor, rfeatures: Tensor, routput: Tensor, rmasks: Tensor, output: Tensor,
    kernel_size: int, group_size: int, scale_factor: int,
) -> None:  # fmt: skip
    """As `carafe_naive_forward`; `rfeatures`, which mmcv keeps for the backward pass, takes the features."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor, rfeatures: Tensor, masks: Tensor, rtop_grad: Tensor, rbottom_grad_hs: Tensor, rbottom_grad: Tensor,
    rmask_grad: Tensor, bottom_grad: Tensor, mask_grad: Tensor, kernel_size: int, group_size: int, scale_factor: int,
) -> None:  # fmt: skip
    """As `carafe_naive_backward`."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor)


def masked_im2col_forward(
    im: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, col: Tensor, kernel_h: int, kernel_w: int, pad_h: int, pad_w: int
) -> None:
    """What a convolution reads at the places (mask_h_idx, mask_w_idx) [M] of its output, into `col` [C * kH * kW, M]."""
    padded = F.pad(im[0], (pad_w, pad_w + kernel_w, pad_h, pad_h + kernel_h))
    read = [padded[:, mask_h_idx + y, mask_w_idx + x] for y in range(kernel_h) for x in range(kernel_w)]
    col.copy_(torch.stack(read, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Put the columns of `col` [C, M] to their places in `im` [1, C, height, width]."""
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)
