"""The sigmoid focal loss of the stand-in, against oracles: mmcv's compiled one runs on no CPU."""

import math

import pytest
import torch
import torchvision
from mmcv_ops_cases import DTYPES

from gemnet.openmmlab.mmcv_ops import OPERATORS


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_in_half_precision_is_near_that_of_float32(weighted, dtype):
    logits, target = draw_logits(dtype)
    weight = torch.rand(7).to(dtype) if weighted else None
    exact = focal_loss(logits.float(), target, weight=None if weight is None else weight.float())
    for half, full in zip(focal_loss(logits, target, weight=weight), exact, strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(half.float(), full, rtol=DTYPES[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *DTYPES])
def test_focal_loss_on_a_gpu_is_that_of_the_cpu(gpu, dtype):
    logits, target = draw_logits(dtype)
    weight = torch.rand(7).to(dtype)
    for options in ({}, {"weight": weight}):
        exact = focal_loss(logits, target, **options)
        told = focal_loss(logits.to(gpu), target.to(gpu), **{name: value.to(gpu) for name, value in options.items()})
        for one, two in zip(told, exact, strict=True):
            torch.testing.assert_close(one.cpu(), two, rtol=DTYPES.get(dtype, 1e-5), atol=1e-6)
