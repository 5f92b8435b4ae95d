"""Random models of a config as checkpoints that predictions take."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope

from gemnet.openmmlab import engine

ROOT = Path(__file__).parents[2]
RETINANET, FOLDER = str(ROOT / "configs/retinanet_gemnet_a.py"), str(ROOT / "configs/gemnet_a_image_folder.py")
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (96, 96), "model.test_cfg.score_thr": 0.0}
"""Options of the first: small images, every box."""


def write_checkpoint(
    path: Path,
    config: str,
    options: dict[str, object],
    classes: tuple[str, ...] | None = None,
    palette: list[tuple[int, int, int]] | None = None,
) -> str:
    """A random model of the config, with the names of its classes as mmengine writes them."""
    settings = engine.load_config(config, options)
    engine.complete(settings)
    scope = settings.default_scope
    if not DefaultScope.check_instance_created(f"test_{scope}"):
        DefaultScope.get_instance(f"test_{scope}", scope_name=scope)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(settings.model)
    if "head" in settings.model:
        torch.nn.init.normal_(model.head.fc.bias)
        model.head.fc.weight.data.mul_(0.01)  # no two scores alike, none 0
    names = {} if classes is None else {"dataset_meta": {"classes": classes, "palette": palette}}
    torch.save({"meta": names, "state_dict": model.state_dict()}, path)
    return str(path)
