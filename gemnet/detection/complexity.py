"""What a detector costs: parameters and multiply-accumulates of its parts, counted on shapes alone (no data, no memory)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from gemnet.cost import Cost
from gemnet.counting import counted
from gemnet.openmmlab.engine import ConfigError, check_parts, complete

INPUT_SIZE = (800, 1333)


def detector_cost(config: Config, input_size: tuple[int, int] = INPUT_SIZE) -> dict[str, Cost]:
    """Cost of `backbone`, `neck` and heads of one image of height x width `input_size`, in the order of computation.

    As in the paper's Table 2: MACs of convolutions and linear layers. A second stage is counted for the number of proposals
    that the test configuration lets through (1,000), whatever the image. Neither activations nor memory are told.
    """
    config = copy.deepcopy(config)
    complete(config)
    settings = config.model
    model = MODELS.build(settings).eval().to("meta")
    check_parts(model)
    image = torch.empty(1, 3, *input_size, device="meta")
    costs = {}

    def run(name: str, module: nn.Module, *inputs: Any) -> Any:
        outputs, costs[name] = counted(module, *inputs)
        return outputs

    features = run("backbone", model.backbone, image)
    if model.with_neck:
        features = run("neck", model.neck, features)
    if hasattr(model, "roi_head"):
        run("rpn_head", model.rpn_head, features)
        proposals = settings.test_cfg.rpn.max_per_img
        extractor, head = model.roi_head.bbox_roi_extractor, model.roi_head.bbox_head
        if isinstance(head, nn.ModuleList):
            raise ConfigError(f"{settings.type}: a cascade of heads cannot be counted, only one- and two-stage detectors")
        size = extractor.roi_layers[0].output_size
        run("roi_head", head, torch.empty(proposals, extractor.out_channels, *size, device="meta"))
    else:
        run("bbox_head", model.bbox_head, features)
    if total(costs).params != sum(parameter.numel() for parameter in model.parameters()):
        raise ConfigError(f"{settings.type} has more parts than {', '.join(costs)}: only such detectors can be counted")
    return costs


def total(costs: dict[str, Cost]) -> Cost:
    return sum(costs.values(), Cost())
