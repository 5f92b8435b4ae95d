"""The focal losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gemnet.openmmlab.mmcv_ops.precision import full


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """The focal loss (Lin et al., ICCV 2017, Eq. 5) of logits `input` [N, C] for classes `target` [N], into `output` [N, C].

    A target of C, or a negative one, is background. weight: [C], or empty for none; a row is weighed by its target's, and
    background by 1 (the compiled operator reads beside the weights there).
    """
    loss, _ = _focal_loss(input, target, weight, gamma, alpha)
    output.copy_(loss)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """The gradient of each element of `sigmoid_focal_loss_forward` by its logit, into `grad_input` [N, C]."""
    _, grad = _focal_loss(input, target, weight, gamma, alpha)
    grad_input.copy_(grad)


def _focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient, [N, C] each.

    With z the logit where the class is right and its negative elsewhere, q = sigmoid(-z) and a its weight:
    loss = a q^gamma softplus(-z), and d loss / dz = -a q^gamma (q + gamma (1 - q) softplus(-z)).
    """
    logits = full(input)
    right = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    sign = torch.where(right, 1.0, -1.0).to(logits.dtype)
    balance = torch.where(right, alpha, 1 - alpha).to(logits.dtype)
    if weight.numel():
        of_target = weight.to(logits.dtype)[target.clamp(0, len(weight) - 1)]
        balance = balance * torch.where(right.any(1), of_target, 1.0)[:, None]
    z = sign * logits
    q = torch.sigmoid(-z)
    entropy = F.softplus(-z)
    scale = balance * q**gamma
    return scale * entropy, -sign * scale * (q + gamma * (1 - q) * entropy)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """The focal loss of probabilities `input` [N, C], a softmax, for classes `target` [N], into `output` [N].

    A row with a negative target costs nothing. weight: [C], or empty for none; a row is weighed by its target's.
    """
    right, scale = _of_target(input, target, weight, alpha)
    output.copy_(-scale * (1 - right) ** gamma * right.clamp(min=torch.finfo(torch.float32).tiny).log())


def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """The gradient of each row of `softmax_focal_loss_forward` by its logits, into `grad_input` [N, C].

    buff: takes the gradient by the logarithm of the target's probability, [N].
    """
    right, scale = _of_target(input, target, weight, alpha)
    log = right.clamp(min=torch.finfo(torch.float32).tiny).log()
    power = torch.where(right < 1, (1 - right) ** (gamma - 1), torch.zeros_like(right)) if gamma else torch.zeros_like(right)
    grad = scale * (gamma * power * right * log - (1 - right) ** gamma)
    buff.copy_(grad)
    classes = torch.arange(input.shape[1], device=input.device)
    grad_input.copy_(grad[:, None] * ((target[:, None] == classes).to(grad.dtype) - full(input)))


def _of_target(probabilities: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The probability of each row's target, and the factor of its loss, [N] each."""
    probabilities, label = full(probabilities), target.clamp(min=0)
    right = probabilities.gather(1, label[:, None])[:, 0]
    scale = torch.where(target >= 0, alpha, 0.0).to(right.dtype)
    return right, scale * weight.to(right.dtype)[label] if weight.numel() else scale
