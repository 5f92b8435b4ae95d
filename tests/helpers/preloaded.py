"""What the server of `commands` has imported and read before its first command."""

import contextlib
import gc
import os
from importlib import import_module

for name in (
    "gemnet.openmmlab.engine", "gemnet.detection.predict", "mmdet.apis", "mmpretrain.models", "timm", "torchvision",
    "search.cli.command", "search.pipeline", "search.evaluation.executor", "search.evaluation.proxy", "sklearn.datasets",
    "matplotlib.figure", "read_once",
):  # fmt: skip
    with contextlib.suppress(ImportError):
        import_module(name)

with contextlib.suppress(ImportError):
    from mmengine.config import utils
    from mmengine.utils import get_installed_path

    for package in ("mmdet", "mmpretrain"):
        with contextlib.suppress(ValueError, ImportError):  # no config has that name
            utils._get_cfg_metainfo(get_installed_path(package), "")
with contextlib.suppress(ImportError):
    from search.core import processes
    from search.evaluation import executor

    watch = processes.end_with
    for module in (processes, executor):
        module.end_with = lambda parent: watch(os.getppid())  # of `commands.forked_workers`, whose parent is the server

gc.collect()
gc.freeze()  # a command does not look through all that was imported whenever mmengine calls for a collection
