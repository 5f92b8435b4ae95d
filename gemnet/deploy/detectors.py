"""MMDetection's detectors as modules that can be exported: images of a batch -> the boxes that are left after suppression.

They compute what mmdet's `predict` does, but on a whole batch and with outputs whose shapes do not depend on what is on the
images. One-stage detectors with anchors or points (RetinaNet, RTMDet) and Faster R-CNN are taken; others are refused.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import gemnet.openmmlab  # noqa: F401  # offers mmcv's operators, which mmdet imports

# isort: split
import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads.bbox_head import BBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from gemnet.core.errors import UserError
from gemnet.deploy.operators import roi_features, suppressed
from gemnet.deploy.proof import Limits
from gemnet.fusion import fused

TAKEN = "expected a detector like RetinaNet, RTMDet or Faster R-CNN"


class Exportable(nn.Module):
    """A detector of mmdet in evaluation mode, normalisation folded; the model itself is left as it is.

    The batch, and height and width in steps of 32 pixels, are free. `limits` decide which boxes are kept.
    """

    limits: Limits

    def __init__(self, model: Any, largest: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.neck = _folded(model.backbone), _folded(model.neck)
        self.largest = largest

    def forward(self, images: Tensor, limit: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Find what is on a batch of images that were resized and padded alike.

        Args:
            images: [B, 3, H, W], normalised.
            limit: [2], width and height that boxes are cut to: the images' before `preprocessing` filled up the batch.
            factor: [2], width and height of the photos relative to those of the resized images.

        Returns:
            Boxes with scores [B, K, 5], corners x1, y1, x2, y2 in pixels of the photos, by falling score, and labels [B, K];
            where fewer than K are found, 0 and the label -1.
        """
        raise NotImplementedError

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The feature maps [B, C, h, w] that the heads take."""
        return tuple(self.neck(self.backbone(images)))


class OneStage(Exportable):
    """A dense head with anchors or points on all maps, suppressed class by class."""

    head: Any  # mmdet's modules have no types

    def __init__(self, model: Any, largest: tuple[int, int]) -> None:
        super().__init__(model, largest)
        self.head = _folded(model.bbox_head)
        self.test = _test_settings(model.bbox_head, "model.bbox_head")
        self.limits = _limits(self.test)

    def forward(self, images: Tensor, limit: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """As `Exportable.forward`."""
        levels = _candidates(self.head, self.maps(images), self.test.get("nms_pre", -1), limit, self.largest)
        boxes = torch.cat([boxes for boxes, _ in levels], 1) * torch.cat([factor, factor])
        scores = torch.cat([scores for _, scores in levels], 1) * _large_enough(boxes, self.test)[..., None]
        limits = self.limits
        kept = suppressed(boxes, scores.transpose(1, 2).contiguous(), limits.overlap, limits.score, limits.most)
        return _best(boxes, kept, limits.most)


class TwoStage(Exportable):
    """Faster R-CNN: proposals of an RPN, suppressed level by level, and a head that scores and moves each of them."""

    rpn: Any  # mmdet's modules have no types
    roi_head: Any

    def __init__(self, model: Any, largest: tuple[int, int]) -> None:
        super().__init__(model, largest)
        self.rpn, self.roi_head = _folded(model.rpn_head), _folded(model.roi_head)
        self.rpn_test = _test_settings(model.rpn_head, "model.rpn_head")
        self.test = _test_settings(model.roi_head, "model.roi_head")
        self.limits = _limits(self.test)

    def forward(self, images: Tensor, limit: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """As `Exportable.forward`."""
        maps = self.maps(images)
        proposals, valid = self._proposals(maps, limit)
        count, most = proposals.shape[:2]
        images_of = torch.arange(count, dtype=proposals.dtype)[:, None, None].expand(-1, most, 1)
        rois = torch.cat([images_of, proposals], 2).flatten(0, 1)
        extractor, head = self.roi_head.bbox_roi_extractor, self.roi_head.bbox_head
        layers = extractor.roi_layers
        features = roi_features(
            maps[: len(layers)], rois, extractor.map_roi_levels(rois, len(layers)), [one.spatial_scale for one in layers],
            layers[0].output_size[0], layers[0].sampling_ratio,
        )  # fmt: skip
        logits, deltas = head(features)
        scores = logits.softmax(-1)[:, :-1].unflatten(0, (count, most)) * valid[..., None]
        classes = 1 if head.reg_class_agnostic else head.num_classes
        boxes = _decoded(head.bbox_coder, rois[:, None, 1:].expand(-1, classes, 4), deltas.view(-1, classes, 4), limit)
        boxes = boxes.unflatten(0, (count, most)).transpose(1, 2).expand(-1, head.num_classes, -1, 4)
        boxes = boxes * torch.cat([factor, factor])
        # Each class has boxes of its own: to the suppression it is an image.
        limits, of_classes = self.limits, scores.transpose(1, 2).flatten(0, 1)[:, None]
        kept = suppressed(boxes.flatten(0, 1), of_classes, limits.overlap, limits.score, limits.most)
        return _best(boxes, kept.view(count, head.num_classes, -1), limits.most)

    def _proposals(self, maps: Sequence[Tensor], limit: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals [B, P, 4], and which of them there are [B, P]: 1 or 0."""
        most = self.rpn_test["max_per_img"]
        levels = _candidates(self.rpn, maps, self.rpn_test.get("nms_pre", -1), limit, self.largest)
        boxes = _with_zeros(torch.cat([boxes for boxes, _ in levels], 1), most)
        apart = [
            torch.cat([scores if level == other else torch.zeros_like(scores) for other, (_, scores) in enumerate(levels)], 1)
            for level in range(len(levels))
        ]
        scores = _with_zeros(torch.cat(apart, 2), most).transpose(1, 2)  # [B, levels, N]
        scores = (scores * _large_enough(boxes, self.rpn_test)[:, None]).contiguous()
        kept = suppressed(boxes, scores, self.rpn_test["nms"]["iou_threshold"], 0.0, most).amax(1)
        best, index = kept.topk(most)
        return _taken(boxes, index), (best > 0).to(boxes.dtype)


def exportable(model: Any, largest: tuple[int, int]) -> Exportable:
    """A detector of mmdet as a module that can be exported.

    Args:
        model: The detector.
        largest: Width and height in pixels that no image of a batch exceeds.

    Raises:
        UserError: It has a part that cannot be exported; the message names it.
    """
    if getattr(model, "neck", None) is None:
        raise UserError(f"{type(model).__name__}: has no neck; {TAKEN}")
    with torch.no_grad():
        maps = tuple(model.neck(model.backbone(torch.zeros(1, 3, 64, 64))))
    if hasattr(model, "roi_head"):
        _check_two_stage(model, maps)
        return TwoStage(model, largest).eval()
    _check_dense(getattr(model, "bbox_head", None), BaseDenseHead, "model.bbox_head", maps)
    return OneStage(model, largest).eval()


def _check_dense(head: Any, kind: type[BaseDenseHead], where: str, maps: tuple[Tensor, ...]) -> None:
    if not isinstance(head, kind):
        raise UserError(f"{where} is a {type(head).__name__}, which cannot be exported; {TAKEN}")
    own = ("predict", "predict_by_feat", "_predict_by_feat_single", "_bbox_post_process")
    changed = [name for name in own if getattr(type(head), name) is not getattr(kind, name)]
    if changed or not hasattr(head, "prior_generator") or not hasattr(head, "bbox_coder"):
        raise UserError(f"{where}: {type(head).__name__} finds boxes in a way of its own; {TAKEN}")
    with torch.no_grad():
        outputs = head(maps)
    if len(outputs) != 2:
        raise UserError(f"{where}: {type(head).__name__} has more than scores and boxes, as centerness; {TAKEN}")
    if getattr(head.loss_cls, "custom_cls_channels", False):
        raise UserError(f"{where}.loss_cls: {type(head.loss_cls).__name__} has scores of its own; {TAKEN}")


def _check_two_stage(model: Any, maps: tuple[Tensor, ...]) -> None:
    _check_dense(model.rpn_head, RPNHead, "model.rpn_head", maps)
    roi_head = model.roi_head
    if type(roi_head) is not StandardRoIHead or roi_head.with_mask or roi_head.with_shared_head:
        raise UserError(f"model.roi_head: {type(roi_head).__name__}, masks or a shared head cannot be exported; {TAKEN}")
    head, extractor = roi_head.bbox_head, roi_head.bbox_roi_extractor
    same = isinstance(head, BBoxHead) and all(
        getattr(type(head), name) is getattr(BBoxHead, name) for name in ("predict_by_feat", "_predict_by_feat_single")
    )
    if not same or head.custom_cls_channels:
        raise UserError(f"model.roi_head.bbox_head: {type(head).__name__} finds boxes in a way of its own; {TAKEN}")
    layers = list(extractor.roi_layers) if type(extractor) is SingleRoIExtractor else []
    if not layers or not all(type(one).__name__ == "RoIAlign" and one.aligned and one.pool_mode == "avg" for one in layers):
        raise UserError(f"model.roi_head.bbox_roi_extractor: {type(extractor).__name__} is not RoIAlign's; {TAKEN}")


def _test_settings(head: Any, where: str) -> dict[str, Any]:
    """The settings of a head's tests, as plain values. Raises UserError for another suppression than greedy, class by class."""
    found = head.test_cfg
    nms = dict(found.get("nms") or {})
    if nms.get("type", "nms") != "nms" or nms.get("class_agnostic") or "iou_threshold" not in nms or nms.get("offset"):
        raise UserError(f"{where}: nms={nms} cannot be exported; expected nms=dict(type='nms', iou_threshold=...)")
    if found.get("max_per_img", 0) < 1:
        raise UserError(f"{where}: max_per_img={found.get('max_per_img')} cannot be exported; expected 1 or more")
    return {**found, "nms": nms}


def _limits(test: dict[str, Any]) -> Limits:
    return Limits(test.get("score_thr", 0.0), test["nms"]["iou_threshold"], test["max_per_img"])


def _folded(module: nn.Module) -> Any:
    """A copy in evaluation mode with each batch normalisation in the convolution before it, as `gemnet.fusion.fused` does."""
    module = copy.deepcopy(module).cpu().double()
    module.eval()  # which returns nothing in some of mmdet's backbones
    for unit in module.modules():
        if isinstance(unit, ConvModule):  # RTMDet's heads share convolutions, each with a normalisation of its own
            unit.conv = copy.deepcopy(unit.conv)
    folded = fused(fuse_conv_bn(module)).float()
    for parameter in folded.parameters():
        parameter.requires_grad_(False)
    return folded


def _candidates(
    head: Any, maps: Sequence[Tensor], most: int, limit: Tensor, largest: tuple[int, int]
) -> list[tuple[Tensor, Tensor]]:
    """Of each level, boxes [B, n, 4] and scores [B, n, C]: at most `most` of a level are not 0, those with the best scores.

    largest: width and height of the images at most; where no level can have more than `most`, nothing is looked for.
    """
    logits, deltas = head(maps)[:2]
    generator = head.prior_generator
    priors = generator.grid_priors([one.shape[-2:] for one in logits], logits[0].dtype, logits[0].device)
    levels = []
    for level in range(len(logits)):
        positions = math.prod(math.ceil(side / stride) for side, stride in zip(largest, generator.strides[level]))
        count = positions * generator.num_base_priors[level]
        levels.append(_level(head, logits[level], deltas[level], priors[level], most if most > 0 else count, count, limit))
    return levels


def _level(
    head: Any, logits: Tensor, deltas: Tensor, priors: Tensor, most: int, count: int, limit: Tensor
) -> tuple[Tensor, Tensor]:
    """As `_candidates`, of one level that has `count` boxes at most."""
    scores, deltas = scores_and_deltas(head, logits, deltas)
    priors = priors.expand(deltas.shape[0], -1, -1)
    classes = scores.shape[2]
    if count > most:  # the best pairs of box and class are of the boxes with the best classes
        scores, deltas, priors = (_with_zeros(values, most) for values in (scores, deltas, priors))
        index = scores.amax(-1).topk(most).indices
        scores, deltas, priors = _taken(scores, index), _taken(deltas, index), _taken(priors, index)
    if classes > 1 and count * classes > most:
        least = _with_zeros(scores.flatten(1)[..., None], 0 if count > most else most)[..., 0].topk(most).values[:, -1]
        scores = torch.where(scores >= least[:, None, None], scores, 0)
    return _decoded(head.bbox_coder, priors, deltas, limit), scores


def scores_and_deltas(head: Any, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """Of a level's maps [B, ., h, w] the scores [B, n, C] and what moves the priors [B, n, d]."""
    logits = logits.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, head.cls_out_channels))
    deltas = deltas.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, head.bbox_coder.encode_size))
    return logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1], deltas


def _with_zeros(values: Tensor, count: int) -> Tensor:
    """[B, n + count, d] of [B, n, d], so that `count` can be taken of however few."""
    return torch.cat([values, values.new_zeros(1, count, 1).expand(values.shape[0], -1, values.shape[2])], 1)


def _decoded(coder: Any, priors: Tensor, deltas: Tensor, limit: Tensor) -> Tensor:
    """Boxes [B, n, 4], cut to the image unless the coder does not."""
    boxes = coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1)).view(deltas.shape[0], -1, 4)
    return torch.minimum(boxes.clamp(min=0), torch.cat([limit, limit])) if coder.clip_border else boxes


def _large_enough(boxes: Tensor, test: dict[str, Any]) -> Tensor:
    """1 for boxes that are wider and higher than the settings' smallest, 0 for others: [B, N] of [B, N, 4]."""
    least = test.get("min_bbox_size", -1)
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides.amin(-1) > least).to(boxes.dtype) if least >= 0 else torch.ones_like(sides[..., 0])


def _best(boxes: Tensor, kept: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """What `Exportable.forward` returns of scores [B, C, N] and boxes, [B, N, 4] or of each class [B, C, N, 4]."""
    count = kept.shape[2]
    scores, index = _with_zeros(kept.flatten(1)[..., None], most)[..., 0].topk(most)
    there = scores > 0
    index = torch.where(there, index, 0)
    labels = index // count
    boxes = _taken(boxes, index - labels * count) if boxes.ndim == 3 else _taken(boxes.flatten(1, 2), index)
    return torch.where(there[..., None], torch.cat([boxes, scores[..., None]], 2), 0), torch.where(there, labels, -1)


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """[B, k, d] at the places [B, k] of [B, n, d]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
