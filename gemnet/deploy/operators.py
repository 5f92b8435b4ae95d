"""What of a detector depends on its own results, as operators of torch: suppression, and features at proposals.

Their outputs have shapes that follow from those of the inputs alone. So a whole detector can be exported with a free batch and
size, and each runtime needs but a form of these two; ONNX's is in `gemnet.deploy.detector_onnx`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor


@torch.library.custom_op("gemnet::suppressed", mutates_args=())
def suppressed(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, most: int) -> Tensor:
    """Scores with 0 in place of those that greedy suppression drops.

    Args:
        boxes: [B, N, 4], corners x1, y1, x2, y2.
        scores: [B, C, N], of each box for each class. A class knows nothing of the others.
        iou_threshold: A box goes where its IoU with a better kept one of its class is above it.
        score_threshold: A box goes where its score is not above it; at least 0.
        most: How many boxes of a class stay.

    Returns:
        [B, C, N].
    """
    kept = torch.zeros_like(scores)
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()  # .3 is below its float32
    for image in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            chosen = (scores[image, label] > score_threshold).nonzero()[:, 0]
            best = torchvision.ops.nms(boxes[image, chosen], scores[image, label, chosen], threshold)[:most]
            kept[image, label, chosen[best]] = scores[image, label, chosen[best]]
    return kept


@suppressed.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, most: int) -> Tensor:
    return torch.empty_like(scores)


@torch.library.custom_op("gemnet::roi_features", mutates_args=())
def roi_features(
    maps: Sequence[Tensor], rois: Tensor, levels: Tensor, scales: Sequence[float], size: int, sampling_ratio: int
) -> Tensor:
    """RoIAlign, each RoI from the map of its level.

    Args:
        maps: Of each level, [B, C, h, w].
        rois: [K, 5], index of the image, x1, y1, x2, y2.
        levels: [K], index of the map, int64.
        scales: Of each level, its size relative to the image's.
        size: Height and width of a RoI's features.
        sampling_ratio: Samples a bin and side; 0 for as many as the RoI is large.

    Returns:
        [K, C, size, size].
    """
    features = maps[0].new_zeros(len(rois), maps[0].shape[1], size, size)
    for level, (one, scale) in enumerate(zip(maps, scales)):
        chosen = (levels == level).nonzero()[:, 0]
        features[chosen] = torchvision.ops.roi_align(one, rois[chosen], size, scale, sampling_ratio, aligned=True)
    return features


@roi_features.register_fake
def _(maps: Sequence[Tensor], rois: Tensor, levels: Tensor, scales: Sequence[float], size: int, sampling_ratio: int) -> Tensor:
    return maps[0].new_empty(rois.shape[0], maps[0].shape[1], size, size)
