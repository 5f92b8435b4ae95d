"""Small detectors of each kind that can be exported: a config and a checkpoint, of random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from gemnet.cell import Cell
from gemnet.openmmlab import engine

ROOT = Path(__file__).parents[2]
CLASSES = ("red", "blue", "grün, hell")
CELL = Cell(("input", "conv3x3", "conv1x1"), ((0, 1), (0, 2)))
PARTS = {
    "rtmdet": {
        "model.neck.out_channels": 16, "model.bbox_head.in_channels": 16, "model.bbox_head.feat_channels": 16,
        "model.bbox_head.stacked_convs": 1, "model.test_cfg.max_per_img": 60,
    },
    "retinanet": {
        "model.neck.out_channels": 8, "model.neck.num_outs": 4, "model.bbox_head.in_channels": 8,
        "model.bbox_head.feat_channels": 8, "model.bbox_head.stacked_convs": 1, "model.test_cfg.nms_pre": 50,
        "model.bbox_head.anchor_generator.strides": [8, 16, 32, 64],
    },
    "faster_rcnn": {
        "model.neck.out_channels": 8, "model.rpn_head.in_channels": 8, "model.rpn_head.feat_channels": 8,
        "model.roi_head.bbox_roi_extractor.out_channels": 8, "model.roi_head.bbox_head.in_channels": 8,
        "model.roi_head.bbox_head.fc_out_channels": 16, "model.test_cfg.rpn.nms_pre": 80, "model.test_cfg.rpn.max_per_img": 40,
    },
}  # fmt: skip
"""What makes the paper's detectors, and RTMDet, small."""


def options(kind: str, cell: Path) -> dict[str, object]:
    outputs = (1, 2, 3, 4) if kind == "faster_rcnn" else (2, 3, 4)
    network = {
        "_delete_": True, "type": "gemnet.GEMNet", "cell": str(cell), "target_macs": 20e6, "out_indices": outputs,
        "norm_cfg": {"type": "BN"},
    }  # fmt: skip
    head = "roi_head.bbox_head" if kind == "faster_rcnn" else "bbox_head"
    sizes = {"image_size": 96} if kind == "rtmdet" else {"image_size": [96, 80]}
    return {"model.backbone": network, "model.neck.in_channels": None, f"model.{head}.num_classes": 3} | PARTS[kind] | sizes


def scale(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor, size: float) -> torch.Tensor:
    """Have a layer's outputs spread by `size`: scores that are all 1 would leave their order to chance."""
    factor = size / output.std()
    module.weight.mul_(factor)
    module.bias.mul_(factor)
    return output * factor


def write_detector(folder: Path, kind: str, settle: Callable[[nn.Module], nn.Module]) -> tuple[str, str]:
    """A config and a checkpoint of a small detector, of random weights with which scores differ from each other."""
    CELL.save(folder / "cell.json")
    settings = engine.load_config(str(ROOT / f"configs/{kind}_gemnet_a.py"))
    engine.merge(settings, options(kind, folder / "cell.json"))
    engine.complete(settings)
    settings.dump(folder / "detector.py")
    if not DefaultScope.check_instance_created("test_mmdet"):
        DefaultScope.get_instance("test_mmdet", scope_name="mmdet")
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = settle(MODELS.build(settings.model))
    hooks = []
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(module, (nn.Conv2d, nn.Linear)) and ("cls" in last or "reg" in last or "rtm_" in name):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            hooks.append(module.register_forward_hook(partial(scale, size=1.5 if "cls" in name else 0.3)))
    random = torch.Generator().manual_seed(0)
    sample = DetDataSample(metainfo={"img_shape": (96, 96), "ori_shape": (96, 96), "scale_factor": (1.0, 1.0)})
    with torch.no_grad():
        model.predict(torch.randn(1, 3, 96, 96, generator=random), [sample])
    for hook in hooks:
        hook.remove()
    meta = {"dataset_meta": {"classes": CLASSES}}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "best.pth")
    return str(folder / "detector.py"), str(folder / "best.pth")
