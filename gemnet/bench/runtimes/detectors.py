"""The detectors that are compared: backbone, neck, head and the corners of all boxes, normalisation folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from gemnet.deploy.detector_beside import network_of
from gemnet.deploy.detectors import exportable
from gemnet.openmmlab import engine


def detector(name: str, resolution: int, settle: Callable[[nn.Module, Callable[[torch.Tensor], object]], Any]) -> nn.Module:
    """The network of a detector's config, with random weights.

    Args:
        name: Of the config, as "gemnet::own_detector_small.py", or one of mmdet's.
        resolution: Width and height of the images in pixels.
        settle: Takes the detector and a pass of it over images, and gives normalisation its statistics.
    """
    settings = get_config(name) if name.startswith("mmdet::") else engine.load_config(name)
    engine.complete(settings)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(settings.model).eval().requires_grad_(False)
    settle(model, lambda images: model.bbox_head(model.neck(model.backbone(images))))
    return network_of(exportable(model, (resolution, resolution)), (resolution, resolution))
