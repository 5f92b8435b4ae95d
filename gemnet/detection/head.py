"""RetinaNet's head with one loss normaliser for all processes."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead as _RetinaHead
from mmdet.utils import reduce_mean

from gemnet.openmmlab.registry import MODELS


@MODELS.register_module()
class RetinaHead(_RetinaHead):
    """mmdet's RetinaHead, but the loss is divided by the mean number of positive anchors of a process.

    mmdet's divides by the number of its own process, so that k processes with batch n train otherwise than one process with
    batch k n. With the mean, the averaged gradient of k processes is that of one process (as in mmdet's ATSS and FCOS).
    """

    def get_targets(self, anchor_list: list[list[torch.Tensor]], *args: Any, **kwargs: Any) -> tuple:
        """As `mmdet.models.AnchorHead.get_targets`; the fifth element is the normaliser."""
        targets = super().get_targets(anchor_list, *args, **kwargs)
        positives = torch.tensor(float(targets[4]), device=anchor_list[0][0].device)
        return (*targets[:4], reduce_mean(positives).clamp(min=1).item(), *targets[5:])
