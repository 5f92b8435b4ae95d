"""mmcv's compiled operators on torchvision, for an mmcv that was installed without a compiler.

mmdet imports `mmcv.ops`, and that imports the compiled module `mmcv._ext`. `install()` appends a finder to `sys.meta_path`
that offers a stand-in for `mmcv._ext`. A finder at the end is asked last: where the compiled module exists, it is used and
the stand-in never is. Nothing of mmcv is imported here.

The stand-in has what RetinaNet and Faster R-CNN use in training and testing, in mmcv's calling convention (outputs are
written into tensors that the caller made): nms, softnms, roi_align, sigmoid_focal_loss. On CPU and GPU, in any floating
dtype; what torchvision lacks in half precision is computed in float32. Every other operator raises NotImplementedError when
it is called, not when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

EXTENSION = "mmcv._ext"


class OperatorMissing:
    """Stands for an operator of mmcv that is not offered here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"mmcv's operator {self.name!r} is not offered: mmcv was installed without its compiled operators, and "
            "gemnet.mmcv_ops stands in for those of RetinaNet and Faster R-CNN only. To compile mmcv, unpack its source, set "
            "-std=c++20 in its setup.py where torch wants that, and there: MMCV_WITH_OPS=1 pip install --no-build-isolation "
            "--no-deps --force-reinstall . (all commands: README.md, 'No compiler is needed')"
        )


def _full(x: Tensor) -> Tensor:
    """Half precision as float32; the rest as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices [K] of the boxes [N, 4] (x1, y1, x2, y2) that greedy suppression keeps, by falling score.

    offset: a box is x2 - x1 + offset wide. A box is dropped where its IoU with a better kept one is above the threshold.
    Of equal scores the first comes first; the compiled operator takes them in any order, for its sort is not stable.
    """
    boxes = _full(boxes)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()  # 0.3 is below its float32, and boxes may overlap by that
    return torchvision.ops.nms(boxes, _full(scores).to(boxes.dtype), threshold)


def softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017): the indices [K] in the order of their decayed scores; `dets` [N, 5] is filled.

    method: 0 drops overlapping boxes, 1 weighs their scores by 1 - IoU, 2 by exp(-IoU^2 / sigma). A box whose score
    falls below `min_score` is dropped. Equal scores are taken in the order of the compiled operator, which fills the places
    of taken and dropped boxes from elsewhere.
    """
    boxes, scores = _full(boxes), _full(scores).clone()
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = (high - low + offset).prod(1)
    left, taken = torch.arange(len(boxes), device=boxes.device), []
    while len(left):
        place = int(scores[left].argmax())
        best = left[place].clone()
        left[place] = left[0]
        left = left[1:]
        dets[len(taken), :4] = boxes[best]
        dets[len(taken), 4] = scores[best]
        taken.append(best)

        overlap = (torch.minimum(high[best], high[left]) - torch.maximum(low[best], low[left]) + offset).clamp(min=0).prod(1)
        iou = (overlap / (areas[best] + areas[left] - overlap)).nan_to_num(0)  # neither box has an area
        if method == 2:
            weight = torch.exp(-(iou * iou) / sigma)
        else:
            weight = torch.where(iou >= iou_threshold, 1 - iou if method == 1 else torch.zeros_like(iou), 1.0)
        scores[left] *= weight
        stays = scores[left] >= min_score
        count = int(stays.sum())
        ends = left[count:][stays[count:]].flip(0)
        left = left[:count].masked_scatter(~stays[:count], ends)
    return torch.stack(taken) if taken else left


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

    pool_mode: 1 averages the samples of a bin; 0, their maximum, is not offered.
    """
    if pool_mode != 1:
        OperatorMissing("roi_align_forward with pool_mode='max'")()
    features = _full(input)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features, rois.to(features.dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


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
    if pool_mode != 1:
        OperatorMissing("roi_align_backward with pool_mode='max'")()
    grad = _full(grad_output)
    size = (aligned_height, aligned_width, *grad_input.shape)
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad, rois.to(grad.dtype), spatial_scale, *size, sampling_ratio, aligned
    ).to(grad_input.dtype)


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
    logits = _full(input)
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


def get_compiler_version() -> str:
    return "none, the operators are torchvision's"


def get_compiling_cuda_version() -> str:
    return "none"


OPERATORS: dict[str, Callable[..., Any]] = {
    operator.__name__: operator
    for operator in (
        nms, softnms, roi_align_forward, roi_align_backward, sigmoid_focal_loss_forward, sigmoid_focal_loss_backward,
        get_compiler_version, get_compiling_cuda_version,
    )
}  # fmt: skip


class Extension(ModuleType):
    """The stand-in for `mmcv._ext`."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):  # what the import system and pickle ask every module for
            raise AttributeError(name)
        return OPERATORS.get(name) or OperatorMissing(name)


class Finder(MetaPathFinder, Loader):
    """Finds the stand-in where nothing else finds the compiled module."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == EXTENSION else None

    def create_module(self, spec: ModuleSpec) -> Extension:
        return Extension(spec.name, __doc__)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Offer the stand-in from now on; a second call changes nothing."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())


install()
