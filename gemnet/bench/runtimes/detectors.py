"""The detectors that are compared, with random weights: backbone, neck, head and the corners of all boxes."""

from __future__ import annotations

import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gemnet.deploy.detector_beside import network_of
from gemnet.deploy.detectors import exportable
from gemnet.openmmlab import engine


def detector(name: str, resolution: int, seed: int, settled_on: int) -> nn.Module:
    """The network of a config of the package, normalisation folded: the same weights in each process.

    Args:
        name: Of the config, as "gemnet::own_detector_small.py", or one of mmdet's.
        resolution: Width and height of the images in pixels.
        seed: Of weights and images.
        settled_on: Random images that normalisation takes its statistics from.
    """
    settings = get_config(name) if name.startswith("mmdet::") else engine.load_config(name)
    engine.complete(settings)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(settings.model).eval().requires_grad_(False)
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    images = torch.randn(settled_on, 3, resolution, resolution)
    model.bbox_head(model.neck(model.backbone(images)))
    return network_of(exportable(model.eval(), (resolution, resolution)), (resolution, resolution))
