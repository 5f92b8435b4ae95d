"""Checkpoints by the addresses that OpenMMLab knows: `torchvision://resnet50`, `open-mmlab://resnext101_32x4d`, `mmcls://...`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping

from mmengine.runner import checkpoint as mmengine_checkpoint

from gemnet.weights import WeightsError


def _torchvision() -> Mapping[str, str]:
    names = mmengine_checkpoint.get_torchvision_models()
    return {**{name.removesuffix(".default"): url for name, url in names.items()}, **names}


def _openmmlab() -> Mapping[str, str]:
    current, deprecated = mmengine_checkpoint.get_external_models(), mmengine_checkpoint.get_deprecated_model_names()
    return {**current, **{old: current[new] for old, new in deprecated.items() if new in current}}


SCHEMES: dict[str, Callable[[], Mapping[str, str]]] = {
    "torchvision": _torchvision,
    "modelzoo": _torchvision,
    "open-mmlab": _openmmlab,
    "openmmlab": _openmmlab,
    "mmcls": mmengine_checkpoint.get_mmcls_models,
}
"""Schemes, with mmengine's lists of names and where their files are."""


def resolve(checkpoint: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The file or http(s) address that a checkpoint's name stands for; a file and an http(s) address stand for themselves.

    Raises WeightsError where the scheme or the name is not known, with the nearest name.
    """
    match = re.match(r"([\w.+-]+)://(.*)", str(checkpoint), re.DOTALL)
    if match is None or match[1] in ("http", "https"):
        return checkpoint
    scheme, name = match.groups()
    if scheme == "file":
        return name
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in ("http", "https", *SCHEMES))
        hint = "; a library's own weights come with gemnet.FeatureBackbone's pretrained=True" if scheme == "timm" else ""
        raise WeightsError(f"{checkpoint}: {scheme}:// is not read here; expected a file or one of {known}{hint}")
    names = SCHEMES[scheme]()
    if name not in names:
        near = difflib.get_close_matches(name, names, 3)
        told = f"near are {', '.join(near)}" if near else f"there are {', '.join(sorted(names)[:8])}, ..."
        raise WeightsError(f"{checkpoint}: no such name; {told}")
    target = names[name]
    if re.match(r"https?://", target):
        return target
    return os.path.join(mmengine_checkpoint._get_mmengine_home(), target)  # as mmengine's own loader does
