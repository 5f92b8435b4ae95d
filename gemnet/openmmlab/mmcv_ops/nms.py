"""Suppression of overlapping boxes, and how much boxes overlap."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

from gemnet.openmmlab.mmcv_ops.precision import full


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices [K] of the boxes [N, 4] (x1, y1, x2, y2) that greedy suppression keeps, by falling score.

    offset: a box is x2 - x1 + offset wide. A box is dropped where its IoU with a better kept one is above the threshold.
    Of equal scores the first comes first; the compiled operator takes them in any order, for its sort is not stable.
    """
    boxes = full(boxes)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()  # 0.3 is below its float32, and boxes may overlap by that
    return torchvision.ops.nms(boxes, full(scores).to(boxes.dtype), threshold)


def softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017): the indices [K] in the order of their decayed scores; `dets` [N, 5] is filled.

    method: 0 drops overlapping boxes, 1 weighs their scores by 1 - IoU, 2 by exp(-IoU^2 / sigma). A box whose score
    falls below `min_score` is dropped. Equal scores are taken in the order of the compiled operator, which fills the places
    of taken and dropped boxes from elsewhere.
    """
    boxes, scores = full(boxes), full(scores).clone()
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = (high - low + offset).prod(1)
    left = torch.arange(len(boxes), device=boxes.device)
    taken: list[Tensor] = []
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


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Greedy suppression that tells who was suppressed: for each kept box its index and those of the boxes that it drops.

    dets: [N, 5], boxes and scores. A box is dropped where its IoU with a better kept one is at least the threshold.
    """
    boxes, order = full(dets[:, :4]), dets[:, 4].argsort(descending=True, stable=True)
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype)
    overlaps = boxes.new_zeros(len(boxes), len(boxes))
    bbox_overlaps(boxes, boxes, overlaps)  # 0 / 0, of two boxes without an area, is no overlap
    groups = []
    while len(order):
        best, rest = order[0], order[1:]
        dropped = overlaps[best, rest] >= threshold
        groups.append([int(best), *rest[dropped].tolist()])
        order = rest[~dropped]
    return groups


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int = 0, aligned: bool = False, offset: int = 0
) -> None:
    """How much boxes [M, 4] and [N, 4] overlap, into `ious` [M, N], or pair by pair into `ious` [M] where they are `aligned`.

    mode: 0 divides the common area by that of both (IoU), 1 by that of the first. offset: a box is x2 - x1 + offset wide.
    """
    one, two = full(bboxes1), full(bboxes2)
    areas = [(boxes[:, 2:] - boxes[:, :2] + offset).prod(1) for boxes in (one, two)]
    if not aligned:
        one, areas[0] = one[:, None], areas[0][:, None]
    common = (
        (torch.minimum(one[..., 2:], two[..., 2:]) - torch.maximum(one[..., :2], two[..., :2]) + offset).clamp(min=0).prod(-1)
    )
    whole = areas[0] + areas[1] - common if mode == 0 else areas[0].expand_as(common)
    ious.copy_((common / whole.clamp(min=offset)).nan_to_num(0))
