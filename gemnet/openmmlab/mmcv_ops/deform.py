"""Deformable convolution, plain and modulated, and multi-scale deformable attention.

torchvision's operators compute what mmcv's do, with the same layout of offsets: (y, x) of each place of the kernel, one group
of channels after the other. Between pixels they are bilinear; what lies beside the image is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gemnet.openmmlab.mmcv_ops.precision import full

Geometry = tuple[int, int, int, int, int, int, int, int]
"""Strides, paddings and dilations (height, width each), groups of the weight, groups of the offsets."""


def _arguments(x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None) -> tuple[Tensor, ...]:
    """What torchvision's operators are called with: one dtype, and a tensor for what is not there."""
    x = full(x)
    mask = x.new_zeros(len(x), 1) if mask is None else mask
    bias = x.new_zeros(len(weight)) if bias is None else bias
    return x, weight.to(x.dtype), offset.to(x.dtype), mask.to(x.dtype), bias.to(x.dtype)


def _forward(x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: Geometry) -> Tensor:
    arguments = _arguments(x, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*arguments, *geometry, mask is not None)


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: Geometry
) -> tuple[Tensor, ...]:
    """The gradients of input, weight, offset, mask and bias."""
    arguments = _arguments(x, weight, offset, mask, bias)
    grad = grad.to(arguments[0].dtype)
    return torch.ops.torchvision._deform_conv2d_backward(grad, *arguments, *geometry, mask is not None)


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor,
    kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int, dilationH: int,
    group: int, deformable_group: int, im2col_step: int,
) -> None:  # fmt: skip
    """Deformable convolution (Dai et al., ICCV 2017) of `input` [B, C, H, W] into `output` [B, C', H', W'].

    offset: [B, 2 * deformable_group * kH * kW, H', W'], in pixels. im2col_step, columns and ones are the compiled operator's
    memory, which is not needed here.
    """
    output.copy_(
        _forward(input, weight, offset, None, None, (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group))
    )


def deform_conv_backward_input(
    input: Tensor, offset: Tensor, gradOutput: Tensor, gradInput: Tensor, gradOffset: Tensor, weight: Tensor, columns: Tensor,
    kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int, dilationH: int,
    group: int, deformable_group: int, im2col_step: int,
) -> None:  # fmt: skip
    """The gradients of `deform_conv_forward` by its input and by its offsets, into `gradInput` and `gradOffset`."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grad_input, _, grad_offset, _, _ = _backward(gradOutput, input, weight, offset, None, None, geometry)
    gradInput.copy_(grad_input)
    gradOffset.copy_(grad_offset)


def deform_conv_backward_parameters(
    input: Tensor, offset: Tensor, gradOutput: Tensor, gradWeight: Tensor, columns: Tensor, ones: Tensor,
    kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int, dilationH: int,
    group: int, deformable_group: int, scale: float, im2col_step: int,
) -> None:  # fmt: skip
    """`scale` times the gradient of `deform_conv_forward` by its weight, added to `gradWeight`."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    _, grad_weight, *_ = _backward(gradOutput, input, gradWeight, offset, None, None, geometry)
    gradWeight += scale * grad_weight.to(gradWeight.dtype)


def modulated_deform_conv_forward(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor, output: Tensor, columns: Tensor,
    kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int, dilation_w: int,
    group: int, deformable_group: int, with_bias: bool,
) -> None:  # fmt: skip
    """Modulated deformable convolution (Zhu et al., CVPR 2019): each sample is weighed by its `mask`.

    mask: [B, deformable_group * kernel_h * kernel_w, H', W']. The rest as of `deform_conv_forward`.
    """
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    offset, mask = (_as_output(parts, output.shape[2:]) for parts in (offset, mask))
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor, columns: Tensor,
    grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor,
    kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int, dilation_w: int,
    group: int, deformable_group: int, with_bias: bool,
) -> None:  # fmt: skip
    """The gradients of `modulated_deform_conv_forward`, into the tensors named so; `grad_bias` where there is a bias."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    offset, mask = (_as_output(parts, grad_output.shape[2:]) for parts in (offset, mask))
    grads = _backward(grad_output, input, weight, offset, mask, bias if with_bias else None, geometry)
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    for target, grad in ((grad_offset, grads[2]), (grad_mask, grads[3])):
        grad = grad.flatten(1)
        target.copy_(F.pad(grad, (0, target[0].numel() - grad.shape[1])).view(target.shape))
    if with_bias:
        grad_bias.copy_(grads[4])


def _as_output(parts: Tensor, size: torch.Size) -> Tensor:
    """Offsets or masks [B, n, h, w] of at least the output's `size`, as the compiled operator reads them: the first of an
    image's numbers as if they were [n, *size]. mmdet's DyHead, and the weights that it was published with, rely on that."""
    return (
        parts if parts.shape[2:] == size else parts.flatten(1)[:, : parts.shape[1] * size.numel()].view(*parts.shape[:2], *size)
    )


def _attention(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch  # mmcv's own, for the CPU

    return multi_scale_deformable_attn_pytorch(value, shapes.tolist(), locations, weights)


def ms_deform_attn_forward(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, sampling_locations: Tensor, attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:  # fmt: skip
    """Multi-scale deformable attention (Zhu et al., ICLR 2021) where mmcv asks for it, on GPUs: [B, queries, channels].

    value: [B, keys, heads, channels / heads], spatial_shapes: [levels, 2], sampling_locations: [B, queries, heads, levels,
    points, 2] as (x, y) between 0 and 1, attention_weights: the same without the last dimension.
    """
    parts = full(value), spatial_shapes, full(sampling_locations), full(attention_weights)
    return _attention(*parts).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, sampling_locations: Tensor, attention_weights: Tensor,
    grad_output: Tensor, grad_value: Tensor, grad_sampling_loc: Tensor, grad_attn_weight: Tensor, im2col_step: int,
) -> None:  # fmt: skip
    """The gradients of `ms_deform_attn_forward`, into the tensors named so."""
    value, locations, weights = (full(x).detach().requires_grad_() for x in (value, sampling_locations, attention_weights))
    with torch.enable_grad():
        output = _attention(value, spatial_shapes, locations, weights)
    grads = torch.autograd.grad(output, (value, locations, weights), grad_output.to(output.dtype))
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)
