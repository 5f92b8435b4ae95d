"""Batch normalisation over processes, in the parts between mmcv's reductions. Statistics are float32."""

from __future__ import annotations

from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """The mean of each channel of `input` [B, C, n], into `mean` [C]."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """The mean squared distance of each channel of `input` [B, C, n] from `mean` [C], into `var` [C]."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
    norm: Tensor, std: Tensor, output: Tensor, eps: float, momentum: float | Tensor, group_size: int,
) -> None:  # fmt: skip
    """Normalise `input` [B, C, n] into `norm`, scale and shift it into `output`, and take the statistics in.

    group_size: how many processes; the running variance is the unbiased one of all of them.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    count = input.shape[0] * input.shape[2] * group_size
    running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
    running_var.copy_(momentum * var * (count / max(count - 1, 1)) + (1 - momentum) * running_var)


def sync_bn_backward_param(grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor) -> None:
    """The gradients of scale and shift, into `grad_weight` and `grad_bias` [C]."""
    grad = grad_output.float()
    grad_weight.copy_((grad * norm).sum((0, 2)))
    grad_bias.copy_(grad.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor, weight: Tensor, grad_weight: Tensor, grad_bias: Tensor, norm: Tensor, std: Tensor, grad_input: Tensor
) -> None:
    """The gradient of the input, into `grad_input` [B, C, n], from those of scale and shift."""
    count = norm.shape[0] * norm.shape[2]
    centred = grad_output.float() - (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_(centred * (weight / std)[:, None])
