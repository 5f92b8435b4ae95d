"""What OpenMMLab's libraries are given when they are imported.

mmcv finds operators where it has none compiled, mmengine the configs that a `_base_` names by `gemnet::`. The data sets of
mmdet and mmpretrain leave out their note on a library that nobody asked for. mmpretrain leaves out its models of texts where
the release of transformers has not what they import: it, and mmdet with it, could not be imported otherwise.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from typing import Any

from gemnet.core.configs import offer_configs
from gemnet.core.importing import Context

UNASKED = "Could not import OneDL"
"""How the note begins that the forks of OpenMMLab print, though at the level DEBUG, where their sponsor's library is absent."""


@contextmanager
def _operators_before() -> Iterator[None]:
    from gemnet.openmmlab import mmcv_ops  # which imports torch

    mmcv_ops.install()
    yield


@contextmanager
def _missing_told_after() -> Iterator[None]:
    yield
    from gemnet.openmmlab import mmcv_ops

    mmcv_ops.refuse_missing()


@contextmanager
def _configs_after() -> Iterator[None]:
    yield
    offer_configs()


@contextmanager
def _without_unasked_note() -> Iterator[None]:
    told = io.StringIO()
    try:
        with redirect_stdout(told):
            yield
    finally:
        sys.stdout.writelines(line for line in told.getvalue().splitlines(True) if not line.startswith(UNASKED))


@contextmanager
def _without_broken_models_after() -> Iterator[None]:
    yield
    dependency: Any = sys.modules[DEPENDENCY]
    if dependency.WITH_MULTIMODAL and int(metadata.version("transformers").partition(".")[0]) >= TOO_NEW:
        dependency.WITH_MULTIMODAL = False


DEPENDENCY = "mmpretrain.utils.dependency"
TOO_NEW = 5
"""The first release of transformers without the functions that mmpretrain's models of texts import."""
AROUND: dict[str, Context] = {
    "mmcv": _operators_before,
    "mmcv.ops": _missing_told_after,
    "mmengine.config": _configs_after,
    DEPENDENCY: _without_broken_models_after,
    "mmdet.datasets": _without_unasked_note,
    "mmpretrain.datasets": _without_unasked_note,
}
